"""What the models of the Kling relay accept.

Source for Kling's own rules: vercel/ai, packages/klingai.
"""

from dataclasses import replace

from gateway.domain.adapter.contract import Capability, ImageLimits, ImageTransport
from gateway.domain.adapter.options import Fields, ListOf, Number, Option, Text, Url, Word
from gateway.domain.adapter.request import FramesInput, InputKind, Settings, UpstreamRequest

MODES = {"std": "720p", "pro": "1080p"}
DEFAULT_SECONDS = 5
MASKS = frozenset({"static_mask", "dynamic_masks"})
# Kling's pages of text2video and image2video. A mask is an image, as a URL or in base64.
_MASK = Url(or_base64=True, most=16_384)
_STEP, _PIXEL = Number(least=-10, most=10), Number(least=0, most=100_000, whole=True)
OPTIONS: dict[str, Option] = {
    "camera_control": Fields(
        fields={
            "type": Word(
                words=("simple", "down_back", "forward_up", "right_turn_forward", "left_turn_forward"),
            ),
            "config": Fields(
                fields=dict.fromkeys(("horizontal", "vertical", "pan", "tilt", "roll", "zoom"), _STEP),
            ),
        },
    ),
    "static_mask": _MASK,
    "dynamic_masks": ListOf(
        of=Fields(
            fields={
                "mask": _MASK,
                "trajectories": ListOf(
                    of=Fields(fields={"x": _PIXEL, "y": _PIXEL}, required=frozenset({"x", "y"})), least=2, most=77
                ),
            },
            required=frozenset({"mask", "trajectories"}),
        ),
        most=6,
    ),
    "external_task_id": Text(most=200),
}


def _options_fit_the_images(request: UpstreamRequest) -> str | None:
    frames = request.input if isinstance(request.input, FramesInput) else None
    clash = sorted((MASKS | {"camera_control"}) & set(request.options))
    if clash and frames is not None and frames.last_frame is not None:
        return f"A last image cannot be used with {clash[0]}."
    masks = sorted(MASKS & set(request.options))
    return f"{masks[0]} needs an image." if masks and frames is None else None


def _mode_makes_the_resolution(request: UpstreamRequest) -> str | None:
    made, wanted = MODES.get(request.settings.mode or ""), request.settings.resolution
    if made is None:  # a configured model may list resolutions that no mode makes
        return None if wanted is None or wanted in MODES.values() else f"No mode makes {wanted}."
    return None if wanted in {None, made} else f"Mode {request.settings.mode} makes {made}, not {wanted}."


def _sound_needs_mode_pro(request: UpstreamRequest) -> str | None:
    settings = request.settings
    if not settings.generate_audio or "pro" in {settings.mode, mode_of(settings)}:
        return None
    return f"Sound needs mode pro, which makes {MODES['pro']}."


# The relay documents seed, fps, width, height and n, but they have no effect. No stock version has sound; for a model
# that has it by configuration, Kling makes it only in mode `pro`.
STD_OR_PRO = Capability(
    inputs=frozenset({InputKind.TEXT, InputKind.IMAGE}),
    durations=frozenset({5, 10}),
    resolutions=frozenset(MODES.values()),
    aspect_ratios=frozenset({"16:9", "9:16", "1:1"}),
    prompt_max=2500,
    negative_prompt_max=2500,
    modes=MODES,
    assumes={"mode": "std", "duration_seconds": DEFAULT_SECONDS},
    # Without `callback_url`: Kling would call back with its own task id, which the relay does not give to clients.
    options=OPTIONS,
    images=ImageLimits(max_bytes=10_000_000, min_side=300, max_ratio=2.5),
    image_transports=(ImageTransport.BASE64, ImageTransport.URL),
    rules=(_options_fit_the_images, _mode_makes_the_resolution, _sound_needs_mode_pro),
)
# Kling accepts a last frame only in mode `pro` (packages/klingai, `imageTail`). This row sends `pro` if the client gave
# neither a mode nor a resolution, and the client gets the warning `defaulted`. For a client that asked for `std` or
# 720p this route is left out, because it would make a different video.
PRO = replace(
    STD_OR_PRO,
    resolutions=frozenset({MODES["pro"]}),
    modes={"pro": MODES["pro"]},
    last_frame=True,
    defaults={"mode": "pro"},
    assumes={**STD_OR_PRO.assumes, "mode": "pro"},
)
V1 = (replace(STD_OR_PRO, cfg_scale=(0, 1)), replace(PRO, cfg_scale=(0, 1)))
# For `kling-v2-master` the task plug-in (1.0.2) refuses `std` and takes a missing mode as `pro`; older versions take
# a missing mode as `std`. All of them accept `pro`, so `pro` is always sent.
CAPABILITIES = {"kling-v1": V1, "kling-v1-6": V1, "kling-v2-master": (PRO,)}
# Models that only some relays have: they are offered only if the configuration names them. Since v2 Kling accepts no
# `cfg_scale`. `kling-v2-1-master` and v2-5 exist only in mode `pro`. For v3 no source says that a last frame needs
# `pro`.
CONFIGURABLE = {
    "kling-v2-1": (STD_OR_PRO, PRO),
    "kling-v2-1-master": (PRO,),
    "kling-v2-5": (PRO,),
    "kling-v2-5-turbo": (PRO,),
    "kling-v2-6": (STD_OR_PRO, PRO),
    "kling-v3": tuple(replace(row, durations=frozenset(range(3, 16)), last_frame=True) for row in (STD_OR_PRO, PRO)),
}


def mode_of(settings: Settings) -> str | None:
    """The mode that makes the requested resolution, None if no mode makes it."""
    return next((mode for mode, made in MODES.items() if made == settings.resolution), None)
