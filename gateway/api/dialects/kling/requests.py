"""Reads a create of Kling's API, of a relay or of new-api: the fields of the one create request. Pure.

Sources: Kling's pages "Text to Video" and "Image to Video"; the relay's page; new-api `relay/channel/task/kling`.
"""

from collections.abc import Iterator, Mapping
from typing import Literal

from gateway.api.generations.create_request import Given
from gateway.api.generations.image_parameters import PARAMETERS_OF
from gateway.api.generations.public_ids import parse_id
from gateway.domain.errors import InvalidParameter
from gateway.domain.parameters import spellings

Service = Literal["text2video", "image2video"]
EXTERNAL_TASK_ID = "external_task_id"
EXTERNAL_TASK_ID_MAX = 512  # characters, those of a value of `metadata`
DEFAULT_MODEL = "kling-v1"  # Kling's page: what a missing `model_name` means
# Kling's page: what a missing `cfg_scale` means. Models since v2 do not take one, and Kling ignores this value there.
# new-api sends it with every model.
DEFAULT_CFG_SCALE = 0.5
_OWN = {"model_name": "model", "sound": "generate_audio", "image_tail": "last_image", "callback_url": "webhook_url"}
# Fields of Kling that the create of the gateway does not have. Their empty values and defaults ask for nothing.
_OPTION = (
    "is {what}, an option that only a Kling relay takes: send it as `"
    '"provider_options": {{"kling_relay": {{"{name}": …}}}}`, with a model of the relay, such as'
    " `kling_relay/kling-v1`."
)
_NO_FIELD = "is not a field of the gateway's create."
_BRUSH = "Kling's motion brush"
_ELSEWHERE: Mapping[str, str] = {
    "camera_control": _OPTION.format(what="Kling's movement of the camera", name="camera_control"),
    "static_mask": _OPTION.format(what=_BRUSH, name="static_mask"),
    "dynamic_masks": _OPTION.format(what=_BRUSH, name="dynamic_masks"),
    "multi_shot": f"{_NO_FIELD} The gateway makes videos of one shot; leave it out.",
    "shot_type": f"{_NO_FIELD} The gateway makes videos of one shot; leave it out.",
    "multi_prompt": f"{_NO_FIELD} The gateway makes videos of one shot; send `prompt`.",
    "voice_list": f"{_NO_FIELD} The gateway cannot choose voices; leave it out.",
    "element_list": f"{_NO_FIELD} Send `reference_images`, if the model takes any.",
    "watermark_info": f"{_NO_FIELD} The gateway adds no watermark; leave it out.",
}
# In `metadata` new-api takes Kling's own fields, under Kling's names. Any other name there is a pair of the client's.
_IN_METADATA = frozenset(
    {"model", "prompt", "image", "negative_prompt", "cfg_scale", "mode", "aspect_ratio", "duration", EXTERNAL_TASK_ID}
    | _OWN.keys()
    | _ELSEWHERE.keys()
)
_IMAGES = frozenset({"image", "last_image", "reference_images"})


def fields_of(service: Service) -> "Reader":
    """The reader of the bodies of one of Kling's services."""
    return Reader(service)


class Reader:
    """Reads a body; raises `InvalidParameter` in Kling's words.

    `service` is None for new-api's universal route, where the presence of an image decides. On Kling's paths the path
    has to agree with it, because versions of new-api disagree about which of the two counts.
    """

    def __init__(self, service: Service | None) -> None:
        self._service = service

    def __call__(self, body: Mapping[str, object]) -> list[Given]:
        """The fields of a create request."""
        pairs: dict[str, object] = {}
        given = [field for name, value in body.items() for field in _fields(name, value, name, pairs)]
        if pairs:
            given.append(Given("metadata", pairs))
        if not any(_field_of(field) == "model" for field in given):
            given.append(Given("model_name", DEFAULT_MODEL, "model"))
        self._check_service(given)
        return given

    def _check_service(self, given: list[Given]) -> None:
        image = next(
            (field for field in given if _field_of(field) in _IMAGES and not spellings.is_empty(field.value)), None
        )
        if self._service == "text2video" and image is not None:
            message = (
                f"`{image.name}` needs the path /v1/videos/image2video; text2video makes a video of a prompt alone."
            )
            raise InvalidParameter(message, param=image.name)
        if self._service == "image2video" and image is None:
            message = (
                "`image` is required here: a URL, or base64. /v1/videos/text2video makes a video of a prompt alone."
            )
            raise InvalidParameter(message, param="image")


UNIVERSAL = Reader(None)


def _field_of(given: Given) -> str:
    """Our name of a field; its own name, if no create has it."""
    name = given.name if given.field is None else given.field
    parameter = PARAMETERS_OF["video"].by_name.get(name)
    return name if parameter is None else parameter.name


def _fields(name: str, value: object, shown: str, pairs: dict[str, object]) -> Iterator[Given]:
    """The fields that one field means; pairs of `metadata` are added to `pairs`.

    `shown` is the path of the field in the body.
    """
    match name:
        case "metadata" if isinstance(value, Mapping) and shown == name:
            for key, member in value.items():
                if key in _IN_METADATA:
                    yield from _fields(key, member, f"metadata.{key}", pairs)
                elif member is not None:
                    pairs[key] = member
        case "external_task_id":
            external = _external_task_id(value, shown)
            if external is not None and pairs.setdefault(EXTERNAL_TASK_ID, external) != external:
                message = f"`{shown}` is given twice, with different values."
                raise InvalidParameter(message, param=shown)
        case "model" | "model_name" if spellings.is_empty(value):  # Kling's page: the same as a missing one
            return
        case "sound":
            sound = _sound(value, shown)
            if sound is not None:
                yield Given(shown, sound, "generate_audio")
        case "cfg_scale" if spellings.number(value) == DEFAULT_CFG_SCALE:
            return
        case "images":
            yield from _images(value, shown)
        case _ if name in _ELSEWHERE:
            if not _asks_for_nothing(value):
                raise InvalidParameter(f"`{shown}` {_ELSEWHERE[name]}", param=shown)
        case _:
            yield Given(shown, value, _OWN.get(name, name))


def _external_task_id(value: object, shown: str) -> str | None:
    """The client's own id of a task. It must not look like one of ours, because a read takes both."""
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > EXTERNAL_TASK_ID_MAX:
        raise InvalidParameter(f"`{shown}` must be a string of at most {EXTERNAL_TASK_ID_MAX} characters.", param=shown)
    if parse_id(value) is not None:
        raise InvalidParameter(f"`{shown}` has the form of the gateway's own ids; choose another one.", param=shown)
    return value


def _sound(value: object, shown: str) -> bool | None:
    if value is None or value == "":
        return None
    word = spellings.choice(value) if isinstance(value, str) else ""
    if word not in {"on", "off"}:
        raise InvalidParameter(f"`{shown}` must be `on` or `off`.", param=shown)
    return word == "on"


def _images(value: object, shown: str) -> Iterator[Given]:
    """new-api's list of images. Its providers give several of them different meanings, so one is all that is clear."""
    if spellings.is_empty(value):
        return
    if not isinstance(value, list) or len(value) != 1:
        message = (
            f"`{shown}` must be a list of one image, the first frame. Send a last frame as `metadata.image_tail`,"
            " and references as `reference_images`."
        )
        raise InvalidParameter(message, param=shown)
    yield Given(f"{shown}[0]", value[0], "image")


def _asks_for_nothing(value: object) -> bool:
    """Whether a value is empty, or switches something off: `false`, `{"enabled": false}`."""
    if isinstance(value, Mapping):
        return all(map(_asks_for_nothing, value.values()))
    return value is False or value == [] or spellings.is_empty(value)
