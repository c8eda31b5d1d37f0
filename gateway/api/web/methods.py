"""Which methods a path takes: one answer for `OPTIONS`, made from all of the handlers of the path."""

from litestar import Litestar
from litestar.enums import HttpMethod
from litestar.routes import HTTPRoute


def answer_options(app: Litestar) -> None:
    """Answer `OPTIONS` of every path with all of its methods.

    The framework makes an answer for the first handler of a path and keeps it when others join, so that its `Allow`
    lacks their methods.
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
