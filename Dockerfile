# Two stages: the first builds the wheel and an environment from the pinned requirements with hashes. The second runs
# it, without a compiler and without root.
#
# The digest is that of the index of all platforms, so that the same commit always gives the same base. `make base-image`
# says when the tag has a newer one, with which the fixes of Debian and Python come.
ARG PYTHON=python:3.11-slim@sha256:db3ff2e1800a8581e2c48a27c3995339d47bdf046da21c7627accd3d51053a93

FROM ${PYTHON} AS build
# requirements-demo.lock makes the larger variant: with PyAV and FFmpeg, which draw thumbnails of videos.
ARG REQUIREMENTS=requirements.lock
WORKDIR /src
COPY requirements.lock requirements-demo.lock requirements-dev.lock pyproject.toml README.md ./
COPY gateway ./gateway
COPY providers ./providers
RUN python -m venv /opt/build && python -m venv /opt/video-gateway \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes --requirement requirements-dev.lock \
    && /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/video-gateway/bin/pip install --no-cache-dir --require-hashes --requirement "$REQUIREMENTS" \
    && /opt/video-gateway/bin/pip install --no-cache-dir --no-deps /wheels/*.whl

FROM ${PYTHON}
RUN useradd --system --uid 10001 --home-dir /data --create-home gateway
COPY --from=build /opt/video-gateway /opt/video-gateway
USER gateway
WORKDIR /data
VOLUME /data
# The container listens on all addresses, so the gateway demands client keys: VIDEO_GATEWAY_API_KEY, or api_keys in a file.
ENV PATH=/opt/video-gateway/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    VIDEO_GATEWAY_HOST=0.0.0.0 \
    VIDEO_GATEWAY_PORT=8080
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['VIDEO_GATEWAY_PORT'] + '/health/ready', timeout=2)"]
ENTRYPOINT ["video-gateway"]
CMD ["serve"]
