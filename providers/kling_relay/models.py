"""What the models of the Kling relay accept."""

from dataclasses import replace

from gateway.domain.adapter.contract import Capability, ImageForm, ImageLimits
from gateway.domain.adapter.request import ImageToVideo, InputKind, Settings, UpstreamRequest

MODES = {"std": "720p", "pro": "1080p"}
DEFAULT_SECONDS = 5
MASKS = frozenset({"static_mask", "dynamic_masks"})


def _options_fit_the_images(request: UpstreamRequest) -> str | None:
    frames = request.input if isinstance(request.input, ImageToVideo) else None
    clash = sorted((MASKS | {"camera_control"}) & set(request.options))
    if clash and frames is not None and frames.last_frame is not None:
        return f"A last image cannot be used with {clash[0]}."
    masks = sorted(MASKS & set(request.options))
    return f"{masks[0]} needs an image." if masks and frames is None else None


def _mode_makes_the_resolution(request: UpstreamRequest) -> str | None:
    made, asked = MODES.get(request.settings.mode or ""), request.settings.resolution
    if made is None:  # a configured model may have more resolutions than there are modes to ask for them
        return None if asked is None or asked in MODES.values() else f"No mode makes {asked}."
    return None if asked in {None, made} else f"Mode {request.settings.mode} makes {made}, not {asked}."


def _sound_needs_mode_pro(request: UpstreamRequest) -> str | None:
    settings = request.settings
    if not settings.generate_audio or "pro" in {settings.mode, mode_of(settings)}:
        return None
    return f"Sound needs mode pro, which makes {MODES['pro']}."


# Seed, fps, width, height and n are documented and have no effect; audio is in no stock version. Where the
# configuration says that a model has sound, Kling makes it in mode `pro` alone.
STD_OR_PRO = Capability(
    inputs=frozenset({InputKind.TEXT, InputKind.IMAGE}),
    durations=frozenset({5, 10}),
    resolutions=frozenset(MODES.values()),
    aspect_ratios=frozenset({"16:9", "9:16", "1:1"}),
    prompt_max=2500,
    negative_prompt_max=2500,
    modes=MODES,
    assumes={"mode": "std", "duration_seconds": DEFAULT_SECONDS},
    # `callback_url` is left out: Kling would send its own task id, which the relay does not know.
    options=MASKS | {"camera_control", "external_task_id"},
    images=ImageLimits(max_bytes=10_000_000, min_side=300, max_ratio=2.5),
    image_forms=(ImageForm.BASE64, ImageForm.URL),
    rules=(_options_fit_the_images, _mode_makes_the_resolution, _sound_needs_mode_pro),
)
# Kling takes a last frame in mode `pro` alone (vercel/ai, packages/klingai, `imageTail`). Nothing that was asked for is
# dropped for it: this row says `pro` where no mode and no resolution was asked for, which the client reads as
# `defaulted`, and a request for `std` or 720p is left out.
PRO = replace(
    STD_OR_PRO,
    resolutions=frozenset({MODES["pro"]}),
    modes={"pro": MODES["pro"]},
    last_frame=True,
    defaults={"mode": "pro"},
    assumes={**STD_OR_PRO.assumes, "mode": "pro"},
)
V1 = (replace(STD_OR_PRO, cfg_scale=(0, 1)), replace(PRO, cfg_scale=(0, 1)))
# The relay's task plug-in (1.0.2) refuses `std` for `kling-v2-master` and makes `pro` of no mode at all; older versions
# make `std` of it. `pro` is taken by all of them.
CAPABILITIES = {"kling-v1": V1, "kling-v1-6": V1, "kling-v2-master": (PRO,)}
# Models that only some relays have: they are asked for only where the configuration names them. From v2 on Kling takes
# no `cfg_scale`; `kling-v2-1-master` and v2-5 are made in mode `pro` alone; of v3 nothing says that a last
# frame needs it (vercel/ai, packages/klingai).
CONFIGURABLE = {
    "kling-v2-1": (STD_OR_PRO, PRO),
    "kling-v2-1-master": (PRO,),
    "kling-v2-5": (PRO,),
    "kling-v2-5-turbo": (PRO,),
    "kling-v2-6": (STD_OR_PRO, PRO),
    "kling-v3": tuple(replace(row, durations=frozenset(range(3, 16)), last_frame=True) for row in (STD_OR_PRO, PRO)),
}


def mode_of(settings: Settings) -> str | None:
    """The mode that makes the resolution which was asked for."""
    return next((mode for mode, made in MODES.items() if made == settings.resolution), None)
