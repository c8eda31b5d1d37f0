"""Turns the body of a create request into a `GenerationRequest`.

Bodies that mean the same give equal requests, whatever names and spellings they use: equality decides whether a request
repeats an earlier one, so a difference would buy a second video.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import msgspec

from gateway.api.generations.image_parameters import PARAMETERS_OF
from gateway.api.generations.option_values import Shapes, read_options
from gateway.api.generations.parameter import Holder, Parameters, read_field
from gateway.api.generations.quote import left_out_view
from gateway.api.generations.readers import read_provider_options
from gateway.api.generations.sizes import expand_size, meaning_text, of_size
from gateway.api.generations.unknown_field import unknown_field
from gateway.api.generations.webhook_url import check_webhook_url
from gateway.domain.adapter.request import FramesInput, Input, Kind, ReferencesInput, Settings, TextInput
from gateway.domain.clients import SIGHTS, Sight
from gateway.domain.errors import InvalidImage, InvalidParameter
from gateway.domain.generation.model import GenerationRequest, WebhookFormat
from gateway.domain.money.budgets import BudgetExceeded
from gateway.domain.parameters.spellings import Size
from gateway.domain.public_addresses import Network
from gateway.generations.no_route import NoSuitableRoute, name_of
from gateway.generations.repeats import InlineFile
from gateway.media.image_header import inspect

ANY_MODEL = "auto"  # any model that can do what is asked: OpenAI's create of images does not require a model
OPTIONS = "provider_options."  # the path of an option begins with it


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalised:
    """A request, and the images that came with it as bytes, by the `file_…` names that `request` has for them."""

    request: GenerationRequest
    files: dict[str, InlineFile]  # emptied when they are stored and the request goes on
    names: Mapping[str, str] = field(default_factory=dict, compare=False)  # field → the client's name of it
    answer: Mapping[str, Any] = field(default_factory=dict, compare=False)  # how to write the answer
    size: Size | None = field(default=None, compare=False)  # what `of_size` of its kind was read from
    sees: tuple[Sight, ...] = field(default=SIGHTS, compare=False)  # what errors about it may name

    def calling_back(self, words: WebhookFormat | None) -> "Normalised":
        """The request with a webhook in these words, if the client named the URL as the dialect does.

        A client that sends our own name, `webhook_url`, in a body of a dialect gets the gateway's own webhook.
        """
        if words is None or self.names.get("webhook_url", "webhook_url") == "webhook_url":
            return self
        return replace(self, request=msgspec.structs.replace(self.request, webhook_format=words))

    @contextmanager
    def named(self) -> Iterator[None]:
        """Add to an error what only the body knows: the client's own name of the field, and how its size was read."""
        try:
            yield
        except NoSuitableRoute as error:
            kind, size = self.request.kind, self.size
            about_size = any(reason.param in of_size(kind) for route in error.left_out for reason in route.reasons)
            renamed = error.in_words(self.names)
            if size is not None and about_size:
                renamed.detail += f" The size {size.width}x{size.height} was read as {meaning_text(size, kind)}."
            if "provider" not in self.sees:
                for route in renamed.left_out:
                    renamed.detail = renamed.detail.replace(f"{route.provider}/{route.model}", "The route")
            renamed.members = {"routes": [left_out_view(route, self.sees) for route in renamed.left_out]}
            raise renamed from error
        except BudgetExceeded as error:
            hidden = error if "costs" in self.sees else error.without_amounts()
            hidden.param = name_of("max_cost", self.names)
            raise hidden from error
        except (InvalidImage, InvalidParameter) as error:
            if (param := error.param) is not None:
                error.param = name_of(param, self.names)
                if param.startswith(OPTIONS):
                    error.detail = error.detail.replace(f"`{param}`", f"`{error.param}`")
            error.detail = error.detail.replace(f"`{OPTIONS}", f"`{name_of(OPTIONS, self.names)}")
            raise


class Given(NamedTuple):
    """A field of a body in the words of a dialect. None as its value says only what the dialect calls the field."""

    name: str  # as the client wrote it, for errors: `image_tail`, `frame_images[1].image_url`
    value: object
    # Our name of it, where that differs: a field, or an option such as `provider_options.foxapi.elements`.
    field: str | None = None


def normalise(
    body: Mapping[str, object] | Sequence[Given],
    name_file: Callable[[bytes], str],
    fetch_allow: Sequence[Network] = (),
    kind: Kind = "video",
    *,
    option_shapes: Shapes | None = None,
    sees: tuple[Sight, ...] = SIGHTS,
) -> Normalised:
    """Return what a decoded body asks for; raise a 400 that names the field at fault.

    `body` has our names of the fields, or is a list of the fields that a dialect has read from its own body.
    `name_file` gives the `file_…` name of an image's bytes, the same for equal bytes. `fetch_allow` are the networks
    that a webhook may be in besides the public ones. `option_shapes` are those of the options of providers; `sees`
    is what errors may name. Whether a model and a named file exist is checked later.
    """
    table = PARAMETERS_OF[kind]
    fields = [Given(name, value) for name, value in body.items()] if isinstance(body, Mapping) else body
    values, names, absent = _read(fields, table)
    if "model" not in values:
        if table.by_name["model"].required:
            raise InvalidParameter("`model` is required: the name of the model to use.", param="model")
        values["model"], names["model"] = ANY_MODEL, "model"
    if "webhook_url" in values:
        check_webhook_url(values["webhook_url"], names["webhook_url"], fetch_allow)
    size, plain_quality = expand_size(values, names, kind)
    names = absent | names
    if "provider_options" in values:
        options = values["provider_options"]
        values["provider_options"] = read_options(options, option_shapes or {}, names, fetch_allow)
    files: dict[str, InlineFile] = {}
    request = GenerationRequest(
        input=_input(values, names, _Files(files, name_file)),
        kind=kind,
        settings=Settings(**_held(values, table, Holder.SETTINGS)),
        size=f"{size.width}x{size.height}" if size is not None and kind == "image" else None,
        plain_quality=plain_quality,
        **_held(values, table, Holder.REQUEST),
    )
    answer = _held(values, table, Holder.ANSWER)
    return Normalised(request=request, files=files, names=names, answer=answer, size=size, sees=sees)


def _held(values: Mapping[str, Any], table: Parameters, holder: Holder) -> dict[str, Any]:
    """Return the fields of a holder. A field that is not asked for keeps the default of the holder."""
    fields = table.held[holder]
    return {fields[name]: value for name, value in values.items() if name in fields}


def _read(fields: Iterable[Given], table: Parameters) -> tuple[dict[str, Any], dict[str, str], dict[str, str]]:
    """Return the value of each field that is asked for, the client's name of it, and a dialect's names of others."""
    values: dict[str, Any] = {}
    names: dict[str, str] = {}
    absent: dict[str, str] = {}
    options: list[Given] = []
    for name, given, own_name in fields:
        if own_name is not None and own_name.startswith(OPTIONS):
            options.append(Given(name, given, own_name))
            continue
        parameter = table.by_name.get(name if own_name is None else own_name)
        if parameter is None:
            if given is None:
                continue
            raise unknown_field(name, table)
        value = read_field(parameter, given, name)
        key = parameter.name
        if value is None:
            if own_name is not None:
                absent.setdefault(key, name)
            continue
        if key in values and values[key] != value:
            first = names[key]
            message = f"`{first}` and `{name}` are two names of one field and have different values."
            raise InvalidParameter(message, param=name)
        values[key] = value
        names.setdefault(key, name)
    if options:
        values["provider_options"] = _with_options(values.get("provider_options", {}), options, names)
    return values, names, absent


def _with_options(given: Mapping[str, Any], options: Iterable[Given], names: dict[str, str]) -> Mapping[str, Any]:
    """Return `provider_options` with further options, which the client gave as fields of their own.

    `names` gets the client's name of each. Raises `InvalidParameter` for an option that has another value in `given`.
    """
    merged = {provider: dict(own) for provider, own in given.items()}
    for name, value, path in options:
        _, provider, option = (path or "").split(".", 2)
        own = merged.setdefault(provider, {})
        if own.setdefault(option, value) != value:
            raise InvalidParameter(f"`{name}` and `{path}` have different values; send one of them.", param=name)
        names.setdefault(path or "", name)
        if provider not in given:
            names.setdefault(f"{OPTIONS}{provider}", name)
    return read_provider_options(merged, "provider_options")


class _Files:
    """Collects the images that came as bytes, each content once."""

    def __init__(self, files: dict[str, InlineFile], name_file: Callable[[bytes], str]) -> None:
        self._files = files
        self._name_file = name_file

    def name(self, image: str | bytes, param: str) -> str:
        """Return an image as the request has it: a URL as it is, bytes as the `file_…` name under which they are kept.

        Raises `InvalidImage` for bytes that are not a usable image.
        """
        if isinstance(image, str):
            return image
        name = self._name_file(image)
        if name not in self._files:
            try:
                facts = inspect(image)
            except InvalidImage as error:
                raise InvalidImage(f"`{param}`: {error.detail}", param=param) from error
            self._files[name] = InlineFile(content=image, facts=facts)
        return name


def _input(values: Mapping[str, Any], names: Mapping[str, str], files: _Files) -> Input:
    """Return the kind of input that the given images make."""

    def frame(key: str) -> str | None:
        return files.name(values[key], names[key]) if key in values else None

    first, last = frame("image"), frame("last_image")
    if "reference_images" in values:
        param = names["reference_images"]
        references = tuple(
            files.name(image, f"{param}[{index}]") for index, image in enumerate(values["reference_images"])
        )
        return ReferencesInput(references=references, first_frame=first, last_frame=last)
    if first is not None:
        return FramesInput(first_frame=first, last_frame=last)
    if last is not None:
        param, missing = names["last_image"], names.get("image", "image")
        message = f"`{param}` is a last frame: it needs `{missing}`, the first one, beside it."
        raise InvalidParameter(message, param=param)
    return TextInput()
