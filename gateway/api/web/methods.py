"""Answers `OPTIONS` with all methods of a path."""

from litestar import Litestar
from litestar.enums import HttpMethod
from litestar.routes import HTTPRoute


def answer_options(app: Litestar) -> None:
    """Replace the framework's handlers for `OPTIONS` by ones that name all methods of their paths in `Allow`.

    The framework makes such a handler for the first handler of a path, and does not renew it for later ones.
    """
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            continue
        before, _ = route.route_handler_map[HttpMethod.OPTIONS]
        handler = route.create_options_handler(route.path)
        handler.owner = before.owner
        handler.on_registration(app)
        model = handler.create_kwargs_model(path_parameters=route.path_parameters)
        route.route_handler_map[HttpMethod.OPTIONS] = (handler, model)
