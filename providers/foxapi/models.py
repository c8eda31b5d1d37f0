"""What the models of FoxAPI accept."""

from dataclasses import replace

from gateway.domain.adapter.contract import (
    Capability,
    ImageLimits,
    ImageTransport,
)
from gateway.domain.adapter.decoding import http_url, items, mapping, number, text
from gateway.domain.adapter.options import Fields, Flag, ListOf, Number, Option, Text, Url, Word
from gateway.domain.adapter.request import InputKind, ReferencesInput, UpstreamRequest
from gateway.domain.adapter.shown_value import shown

DEFAULT_SECONDS = 5  # for every Kling model that has a duration
VOICES_MAX = 2
REFERENCES_MAX = 4  # image_urls and elements together, if one of the inputs is a video
# The limits for which no page has a number. They are so large that the provider decides.
UNSTATED_TEXT = 10_000  # characters
UNSTATED_IMAGES = 100
# docs.foxapi.cc, pages of the Kling models. A shot has whole seconds and a video at most 15, so there are 15 shots.
OPTIONS: dict[str, Option] = {
    "voice_ids": ListOf(of=Text(most=128), most=VOICES_MAX, least=0),
    "multi_prompt": ListOf(
        of=Fields(
            fields={"prompt": Text(most=2500), "duration": Number(least=1, most=15, whole=True)},
            required=frozenset({"prompt", "duration"}),
        ),
        most=15,
    ),
    "shot_type": Word(words=("customize",)),
    "elements": ListOf(
        of=Fields(
            fields={
                "frontal_image_url": Url(),
                "reference_image_urls": ListOf(of=Url(), most=UNSTATED_IMAGES),
                "video_url": Url(),
            }
        ),
        most=UNSTATED_IMAGES,
    ),
    "video_url": Url(),
    "keep_audio": Flag(),
    "character_orientation": Word(words=("image", "video")),
    "keep_original_sound": Word(words=("yes", "no"), flags=("no", "yes")),
}


def _only(*names: str) -> dict[str, Option]:
    return {name: OPTIONS[name] for name in names}


def _voices(request: UpstreamRequest) -> str | None:
    if "voice_ids" not in request.options:
        return None
    voices = request.options["voice_ids"]
    if not isinstance(voices, list) or len(voices) > VOICES_MAX:
        return f"voice_ids takes a list of at most {VOICES_MAX} voices"
    return "voice_ids needs generate_audio" if voices and request.settings.generate_audio is not True else None


def _shots(request: UpstreamRequest) -> str | None:
    if "multi_prompt" not in request.options:
        return None
    shots = [mapping(shot) for shot in items(request.options["multi_prompt"])]
    seconds = [number(shot.get("duration")) or 0.0 for shot in shots if text(shot.get("prompt"))]
    if not shots or len(seconds) != len(shots) or min(seconds) <= 0:
        return "multi_prompt takes a list of {prompt, duration}"
    duration = request.settings.duration_seconds
    wanted = DEFAULT_SECONDS if duration is None else duration
    total = sum(seconds)
    return None if total == wanted else f"the durations in multi_prompt add up to {total:g}, not to {wanted}"


def _video_url(request: UpstreamRequest) -> str | None:
    if "video_url" not in request.options:
        return "requires the option video_url, the http(s) URL of a video"
    video_url = request.options["video_url"]
    return None if http_url(video_url) else f"video_url must be an http(s) URL, got {shown(video_url)}"


def _some_reference(request: UpstreamRequest) -> str | None:
    elements = request.options.get("elements")
    if elements is not None and not isinstance(elements, list):
        return f"elements must be a list, got {shown(elements)}"
    return None if _references(request) else "requires `reference_images` or the option elements"


def _few_references(request: UpstreamRequest) -> str | None:
    message = f"the model takes at most {REFERENCES_MAX} reference images and elements beside a video"
    return None if _references(request) <= REFERENCES_MAX else message


def _few_references_with_video(request: UpstreamRequest) -> str | None:
    elements = map(mapping, items(request.options.get("elements")))
    with_video = any("video" in name for element in elements for name in element)
    return _few_references(request) if with_video else None


def _references(request: UpstreamRequest) -> int:
    images = request.input.references if isinstance(request.input, ReferencesInput) else ()
    return len(images) + len(items(request.options.get("elements")))


TEXT, IMAGE = frozenset({InputKind.TEXT}), frozenset({InputKind.IMAGE})
RATIOS, NONE = frozenset({"16:9", "9:16", "1:1"}), frozenset[str]()
V3 = Capability(
    inputs=TEXT,
    durations=frozenset({5, 10}),
    resolutions=frozenset({"720p", "1080p", "4k"}),  # the headline of the pages omits 4k, their tables have it
    aspect_ratios=RATIOS,
    prompt_max=2500,
    generate_audio=True,
    assumes={"resolution": "720p", "duration_seconds": DEFAULT_SECONDS, "generate_audio": False},
    negative_prompt_max=UNSTATED_TEXT,
    options=_only("voice_ids", "multi_prompt"),
    # Kling's own limits; FoxAPI states none.
    images=ImageLimits(max_bytes=10 * 1024 * 1024, min_side=300, max_ratio=2.5),
    image_transports=(ImageTransport.UPLOAD, ImageTransport.URL),
    rules=(_voices, _shots),
)
O3 = replace(
    V3,
    durations=frozenset(range(3, 16)),
    prompt_or="multi_prompt",
    negative_prompt_max=0,
    options=_only("multi_prompt", "shot_type"),
    rules=(_shots,),
)
O3_REFERENCE = replace(
    O3,
    inputs=frozenset(InputKind),  # without images, `elements` are the references
    last_frame=True,
    frames_with_references=True,
    references_max=UNSTATED_IMAGES,
    options=_only("multi_prompt", "elements"),
    rules=(_shots, _some_reference, _few_references_with_video),
)
EDIT = Capability(
    inputs=frozenset({InputKind.TEXT, InputKind.REFERENCES}),
    durations=frozenset(),
    resolutions=frozenset({"720p", "1080p"}),
    aspect_ratios=NONE,
    prompt_max=UNSTATED_TEXT,
    references_max=REFERENCES_MAX,
    options=_only("video_url", "keep_audio", "elements"),
    images=V3.images,
    image_transports=V3.image_transports,
    rules=(_video_url, _few_references),
)
MOTION = Capability(
    inputs=IMAGE,
    durations=frozenset(),
    resolutions=NONE,
    aspect_ratios=NONE,
    prompt_max=0,
    prompt_or="video_url",  # required; the model accepts no prompt
    modes={"std": "720p", "pro": "1080p"},
    options=_only("video_url", "character_orientation", "keep_original_sound"),
    images=V3.images,
    image_transports=V3.image_transports,
    rules=(_video_url,),
)
CAPABILITIES = {
    "kling-v3-image-to-video": (replace(V3, inputs=IMAGE, aspect_ratios=NONE, last_frame=True),),
    "kling-v3-text-to-video": (V3,),
    "kling-o3-image-to-video": (replace(O3, inputs=IMAGE, aspect_ratios=NONE, last_frame=True),),
    "kling-o3-text-to-video": (O3,),
    "kling-o3-reference-to-video": (O3_REFERENCE,),
    "kling-o3-video-to-video-edit": (EDIT,),
    # FoxAPI also accepts the ratio `auto`. It is left out: `adapt: nearest` could not choose it for a client.
    "kling-o3-video-to-video-reference": (replace(EDIT, durations=O3.durations, aspect_ratios=RATIOS),),
    "kling-v3-motion-control": (MOTION,),
    "kling-v2-6-motion-control": (MOTION,),
}
