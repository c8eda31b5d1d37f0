"""What the models of Keevx accept."""

from dataclasses import replace

from gateway.domain.adapter.contract import (
    Capability,
    ImageLimits,
    ImageTransport,
)
from gateway.domain.adapter.request import InputKind

V = Capability(
    inputs=frozenset({InputKind.IMAGE}),
    durations=frozenset({4, 6, 8}),
    resolutions=frozenset({"720p", "1080p", "4k"}),
    aspect_ratios=frozenset({"16:9", "9:16"}),
    prompt_max=1000,
    last_frame=True,
    generate_audio=True,
    count_max=4,
    defaults={"resolution": "720p", "duration_seconds": 4},  # Keevx requires both
    assumes={"generate_audio": False},
    images=ImageLimits(formats=frozenset({"image/jpeg", "image/png", "image/webp"}), max_bytes=20 * 1024 * 1024),
    image_transports=(ImageTransport.UPLOAD, ImageTransport.URL),  # a URL is sent as it is; bytes are uploaded first
)
V_REFERENCES = replace(
    V,
    inputs=frozenset({InputKind.REFERENCES}),
    durations=frozenset({8}),
    last_frame=False,
    references_max=3,
    defaults={"resolution": "720p", "duration_seconds": 8},
)
KL = replace(
    V_REFERENCES,
    durations=frozenset({5, 10}),
    resolutions=frozenset({"720p", "1080p"}),
    references_max=7,  # in the tables of both pages; only the schema of the .cn page says 5
    generate_audio=False,
    defaults={"resolution": "720p", "duration_seconds": 5},
)
CAPABILITIES = {"V": (V, V_REFERENCES), "KL": (KL,)}
