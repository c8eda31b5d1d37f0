"""Whether a model can honour the requested settings, and how `adapt` changes those that it cannot. Pure.

This is the place for a new field of `Settings`. `Capability` says which values a model supports; a setting with a set
of them gets one line in `fit_settings`, one that a model simply has or lacks gets one in `_check_switches`.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from gateway.domain.adapter.contract import Capability
from gateway.domain.adapter.request import FramesInput, Settings
from gateway.domain.generation.model import Adaptation, GenerationRequest
from gateway.domain.parameters.dimensions import (
    equal_ratio,
    equal_resolution,
    has_ratio,
    image_ratio_name,
    nearest_duration,
    nearest_quality,
    nearest_ratio,
    nearest_resolution,
    short_side,
)
from gateway.domain.parameters.spellings import equal_mode
from gateway.domain.routing.image_limits import ImageFacts

_Match = Callable[[Any, Any], Any]  # (requested value, supported values) → the supported value to send, or None


class Reason(Struct, frozen=True, kw_only=True):
    """Why a route cannot do what was requested."""

    param: str
    message: str  # continues a sentence that begins with the name of the route: "takes 5, 10, not 7"


def fit_settings(
    request: GenerationRequest, capability: Capability, images: Mapping[str, ImageFacts]
) -> tuple[Settings, list[Adaptation], list[Reason]]:
    """The settings to send to a model, what was changed in them, and why it cannot honour others.

    If there is any reason, the settings must not be used. `images` are those whose bytes the gateway has, by name.
    """
    requested = request.settings
    reasons: list[Reason] = []
    adaptations: list[Adaptation] = []
    changes: dict[str, Any] = {}

    def fit(setting: str, param: str, supported: Collection[Any], equal: _Match, nearest: _Match) -> None:
        value = getattr(requested, setting)
        if value is None:
            return
        given = equal(value, supported)
        if given is None:
            given = nearest(value, supported)
            if given is None or request.adapt != "nearest":
                reasons.append(Reason(param=param, message=_unsupported(value, supported, given)))
                return
            adaptations.append(Adaptation(param=param, asked=value, given=given))
        changes[setting] = given

    fit("duration_seconds", "duration", capability.durations, _same, nearest_duration)
    fit("resolution", "resolution", frozenset(capability.resolutions), equal_resolution, nearest_resolution)
    if requested.aspect_ratio is not None and isinstance(request.input, FramesInput) and not capability.aspect_ratios:
        changes["aspect_ratio"] = None  # the model has no such parameter: its video has the ratio of the image
        unlike = _ratio_beside_image(requested.aspect_ratio, images.get(request.input.first_frame), request.adapt)
        if isinstance(unlike, Adaptation):
            adaptations.append(unlike)
        elif unlike is not None:
            reasons.append(unlike)
    else:
        fit("aspect_ratio", "aspect_ratio", frozenset(capability.aspect_ratios), equal_ratio, nearest_ratio)
    fit("quality", "quality", capability.qualities, _same, nearest_quality)
    fit("output_format", "output_format", capability.output_formats, _same, _never_near)
    fit("fps", "fps", capability.fps, _same, _never_near)
    fit("mode", "mode", capability.modes, equal_mode, _never_near)
    reasons += _check_switches(requested, capability)
    mode, resolution = changes.get("mode"), changes.get("resolution")
    made = None if mode is None else capability.modes[mode]
    if not reasons and made is not None and resolution not in {None, made}:
        message = f"`{mode}` means {made} here, `resolution` says {requested.resolution}"
        reasons.append(Reason(param="mode", message=message))
    defaults = {name: value for name, value in capability.defaults.items() if getattr(requested, name) is None}
    return replace(requested, **{**defaults, **changes}), adaptations, reasons


def _same(requested: Any, supported: Collection[Any]) -> Any:  # a number or a word
    return requested if requested in supported else None


def _never_near(requested: object, supported: Collection[Any]) -> None:  # the same signature as the others
    """For a setting whose values have no order, so that no value is nearer than another."""


def _ratio_beside_image(requested: str, image: ImageFacts | None, adapt: str | None) -> Adaptation | Reason | None:
    """What happens to an aspect ratio if the model gives its video the ratio of the image.

    `None` if the image has the requested ratio anyway. Otherwise only `"adapt": "nearest"` lets the image decide. The
    ratio of an image that came as a URL is not known before it is fetched.
    """
    if image is not None and has_ratio(image.width, image.height, requested):
        return None
    if adapt == "nearest":
        given = None if image is None else image_ratio_name(image.width, image.height)
        return Adaptation(param="aspect_ratio", asked=requested, given=given)
    size = "whose size is not known before it is fetched" if image is None else f"which is {image.width}x{image.height}"
    remedy = 'leave `aspect_ratio` out, or send `"adapt": "nearest"` to have it left out here'
    message = f"follows the image, {size}, so {requested} cannot be asked for: {remedy}"
    return Reason(param="aspect_ratio", message=message)


def _check_switches(requested: Settings, capability: Capability) -> list[Reason]:
    """The settings that a model either honours or does not have: no other value could replace theirs."""
    reasons: list[Reason] = []
    if requested.generate_audio and not capability.generate_audio:
        reasons.append(Reason(param="generate_audio", message="cannot make sound"))
    if requested.negative_prompt is not None:
        limit = capability.negative_prompt_max
        if limit == 0:
            reasons.append(Reason(param="negative_prompt", message="takes no negative prompt"))
        elif len(requested.negative_prompt) > limit:
            message = f"takes a negative prompt of at most {limit} characters, not {len(requested.negative_prompt)}"
            reasons.append(Reason(param="negative_prompt", message=message))
    if requested.seed is not None and not capability.seed:
        reasons.append(Reason(param="seed", message="does not honour a seed"))
    if requested.cfg_scale is not None:
        if capability.cfg_scale is None:
            reasons.append(Reason(param="cfg_scale", message="does not honour cfg_scale"))
        elif not capability.cfg_scale[0] <= requested.cfg_scale <= capability.cfg_scale[1]:
            low, high = capability.cfg_scale
            takes = f"{low:g}" if low == high else f"{low:g} to {high:g}"
            message = f"takes {takes}, not {requested.cfg_scale:g}"
            reasons.append(Reason(param="cfg_scale", message=message))
    return reasons


def _unsupported(value: object, supported: Collection[Any], nearest: object) -> str:
    """Which values a model takes instead, and which of them `adapt` would choose."""
    if not supported:
        return "does not take it"
    ordered = sorted(supported, key=lambda candidate: (_rank(candidate), str(candidate)))
    takes = ", ".join(map(str, ordered))
    if (
        all(isinstance(number, int) for number in ordered)
        and len(ordered) > 2
        and ordered[-1] - ordered[0] == len(ordered) - 1
    ):
        takes = f"{ordered[0]} to {ordered[-1]}"
    hint = "" if nearest is None else f'; `"adapt": "nearest"` would take {nearest}'
    return f"takes {takes}, not {value}{hint}"


def _rank(value: object) -> float:
    return value if isinstance(value, int) else short_side(str(value)) or 0
