"""What the models of Keevx accept."""

from dataclasses import replace

from gateway.domain.adapter.contract import (
    Capability,
    ImageLimits,
    ImageTransport,
)
from gateway.domain.adapter.request import InputKind

IMAGE_BYTES = 20 * 1024 * 1024

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
    images=ImageLimits(formats=frozenset({"image/jpeg", "image/png", "image/webp"}), max_bytes=IMAGE_BYTES),
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
# Skill page "image-generate": the parameters, their values and what Keevx fills in. Its own names are `module` (mode),
# `image_quality` and `image_ratio`. Of more than five references Keevx drops the rest silently, so a sixth is refused.
IMAGE = Capability(
    kind="image",
    inputs=frozenset({InputKind.TEXT, InputKind.REFERENCES}),
    prompt_max=1000,
    qualities=frozenset({"1K", "2K", "4K"}),
    aspect_ratios=frozenset({"1:1", "3:2", "2:3", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"}),
    references_max=5,
    modes={"std": None, "pro": None},
    count_max=8,
    assumes={"quality": "2K", "mode": "std", "aspect_ratio": "9:16"},
    images=ImageLimits(
        formats=frozenset({"image/jpeg", "image/png", "image/webp", "image/bmp", "image/gif"}), max_bytes=IMAGE_BYTES
    ),
    image_transports=V.image_transports,
)
IMAGE_MODEL = "image"  # Keevx has one image model and no name for it: the field `model` does not exist there
CAPABILITIES = {"V": (V, V_REFERENCES), "KL": (KL,), IMAGE_MODEL: (IMAGE,)}
