"""Reading a request's headers from where the server put them: the framework's mapping costs more than all it is for."""

from typing import Any

from litestar import Request


def header(request: Request[Any, Any, Any], name: str) -> str | None:
    """The first header of this name (in lower case), `None` without one."""
    wanted = name.encode()
    for key, value in request.scope["headers"]:
        if key == wanted:
            return value.decode("latin-1")
    return None
