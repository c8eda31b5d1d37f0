"""`/v1/admin/configuration`: operators see which configuration counts, and reload it. No answer has a value of it."""

from typing import Any, Literal

from litestar import Controller, Request, post, route
from litestar.datastructures import State
from litestar.response.base import ASGIResponse
from msgspec import Struct

from gateway.api.web.answers import GET, json_answer
from gateway.api.web.context import admin_context_of
from gateway.api.web.moments import unix
from gateway.api.web.operation import Operation
from gateway.api.web.query import Params
from gateway.api.web.small_body import BODY_ERRORS, Nothing, read_object
from gateway.configuration.reloader import State as Loaded
from gateway.domain.errors import ConfigurationError, GatewayError

Call = Request[Any, Any, State]


class ConfigurationRefused(GatewayError):
    """The configuration that was to be reloaded has faults, so nothing has changed."""

    code, status, type = "configuration_refused", 422, "invalid_request_error"
    title = "The configuration was not reloaded."
    remedy = "Mend what each line names, then reload; `video-gateway check` shows the same. The old values go on."


class AdminConfiguration(Struct, frozen=True, kw_only=True):
    """The configuration that counts. A key is named by its path in the file, such as `server.api_keys`."""

    generation: int  # 1 at the start; each reload that changed something adds 1
    loaded_at: int  # Unix seconds
    file: str | None  # the file that was read; null: the environment alone
    sha256: str | None  # of the file as it was read, in hex; null without a file
    changed: tuple[str, ...]  # the keys that this generation of the configuration has changed
    changed_since_start: tuple[str, ...]  # the keys whose values differ from those of the start
    faults: tuple[str, ...]  # why the last reload was refused; empty if it was not
    refused_at: int | None  # Unix seconds; null: the last reload was not refused
    warnings: tuple[str, ...]  # what is probably a mistake
    object: Literal["configuration"] = "configuration"  # the kind of this object


class Reloaded(Struct, frozen=True, kw_only=True):
    """What a reload has changed."""

    generation: int  # of the configuration that counts now
    changed: tuple[str, ...]  # the keys that this reload has changed; empty if all values are the same
    object: Literal["configuration.reload"] = "configuration.reload"  # the kind of this object


class ConfigurationController(Controller):
    """Handlers of `/v1/admin/configuration`."""

    path = "/v1/admin/configuration"

    @route(
        http_method=GET,
        operation=Operation(
            id="readConfiguration",
            summary="Read which configuration counts, and how the last reload went; needs an admin key",
            answer=AdminConfiguration,
            errors=(400,),
        ),
    )
    async def read(self, request: Call) -> ASGIResponse:
        """Show the generation of the configuration, without any of its values."""
        context = admin_context_of(request)
        Params.of(request).done()
        return json_answer(configuration_view(context.reloader.state))

    @post(
        "/reload",
        status_code=200,
        operation=Operation(
            id="reloadConfiguration",
            summary="Read the configuration again and put it in place, or refuse it as a whole; needs an admin key",
            answer=Reloaded,
            body=Nothing,
            body_required=False,
            errors=(*BODY_ERRORS, 422),
        ),
    )
    async def reload(self, request: Call) -> ASGIResponse:
        """Reload the configuration; the error for a refusal has every fault on a line of its own."""
        context = admin_context_of(request)
        await read_object(request, context, Nothing, required=False)
        try:
            changed = await context.reloader.reload("request")
        except ConfigurationError as error:
            raise ConfigurationRefused(f"{ConfigurationRefused.title}\n{error}") from error
        return json_answer(Reloaded(generation=context.reloader.state.generation, changed=changed))


def configuration_view(state: Loaded) -> AdminConfiguration:
    """The configuration as an operator sees it."""
    settings = state.settings
    return AdminConfiguration(
        generation=state.generation,
        loaded_at=unix(state.loaded_at),
        file=None if settings.file is None else str(settings.file),
        sha256=settings.sha256,
        changed=state.changed,
        changed_since_start=state.changed_since_start,
        faults=state.faults,
        refused_at=unix(state.refused_at),
        warnings=settings.warnings,
    )
