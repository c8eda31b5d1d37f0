"""The fields that FoxAPI's clients send beside ours: options of its models, at the top of the body.

Source: FoxAPI's pages of its Kling models. Its clients have our path for a create (`POST /v1/videos/generations`), so
the fields are read there too, as `provider_options.foxapi`.
"""

from collections.abc import Mapping

from gateway.domain.errors import InvalidParameter

PROVIDER = "foxapi"
OPTIONS = (
    "voice_ids",
    "multi_prompt",
    "shot_type",
    "elements",
    "character_orientation",
    "keep_original_sound",
    "keep_audio",
    "video_url",
)


def with_options(body: Mapping[str, object]) -> Mapping[str, object]:
    """Return the body with FoxAPI's options in `provider_options.foxapi`; `null` is the same as an absent field.

    Raises `InvalidParameter` where the body already has another value there.
    """
    options = {name: body[name] for name in OPTIONS if body.get(name) is not None}
    rest = {name: value for name, value in body.items() if name not in OPTIONS}
    if not options:
        return rest if len(rest) < len(body) else body
    given = rest.get("provider_options")
    if given is not None and not isinstance(given, Mapping):
        return body  # the reader of `provider_options` says what is wrong with it
    own = (given or {}).get(PROVIDER)
    if own is not None and not isinstance(own, Mapping):
        return body
    for name, value in options.items():
        if name in (own or {}) and own is not None and own[name] != value:
            path = f"provider_options.{PROVIDER}.{name}"
            raise InvalidParameter(f"`{name}` and `{path}` have different values; send one of them.", param=name)
    rest["provider_options"] = {**(given or {}), PROVIDER: {**(own or {}), **options}}
    return rest
