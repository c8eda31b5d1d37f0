"""The groups of operations: what a reader of the reference sees as chapters, and a generator as modules.

An operation belongs to the group whose path is the longest beginning of its own, unless it names another (`tag=`).
"""

from collections.abc import Iterable
from typing import NamedTuple

from gateway.api.web.operation import Described


class Tag(NamedTuple):
    """A group of operations."""

    name: str
    description: str
    paths: tuple[str, ...]  # the beginnings of the paths of its operations


EVENTS_TAG = "Webhook events"
TAGS: tuple[Tag, ...] = (  # the order is that of the document
    Tag("Videos", "Create videos, follow them, and get their files.", ("/v1/videos/generations",)),
    Tag("Images", "Create images, and edit images.", ("/v1/images",)),
    Tag("Files", "Upload images once, and name them in requests by their ids.", ("/v1/files",)),
    Tag("Models", "What can be asked for: models, their routes, capabilities and prices.", ("/v1/models",)),
    Tag(
        "Webhooks",
        "URLs that get an event when a generation ends, what was sent to them, and the secrets that sign it.",
        ("/v1/webhook_",),
    ),
    Tag("Usage", "What was made and bought, added up by day, model and provider.", ("/v1/usage",)),
    # Not in the group above: generators make one module of each group, and another of its webhooks.
    Tag(EVENTS_TAG, "What a receiver of webhooks gets.", ()),
    Tag(
        "Operators",
        "The generations and deliveries of all clients, clients and their keys, usage, the state of providers, submits"
        " without a clear answer and their remedies, purchases of deleted generations, and what a restored ledger does"
        " not buy by itself. The operations need an admin key.",
        ("/v1/admin/",),
    ),
    Tag(
        "Health", "Whether the process is alive, and whether it should get traffic; metrics.", ("/health/", "/metrics")
    ),
    Tag("Callbacks", "What providers call. Clients do not need it.", ("/callbacks/",)),
    Tag("OpenAI videos", "The calls of OpenAI's video API: `client.videos.*`.", ("/v1/videos",)),
    Tag("OpenRouter", "The calls of OpenRouter's video API.", ("/api/v1/", "/openrouter/", "/v1/videos/models")),
    Tag("xAI", "The calls of xAI's video API.", ("/xai/",)),
    Tag(
        "Kling",
        "The calls of Kling's own API, and of the relay that has its shape.",
        ("/kling/", "/v1/videos/text2video", "/v1/videos/image2video", "/account/costs"),
    ),
    Tag("new-api", "The calls of new-api's route for all providers.", ("/v1/video/",)),
    Tag("Keevx", "The calls of Keevx's API.", ("/keevx/",)),
    Tag("FoxAPI", "The calls of FoxAPI.", ("/foxapi/", "/v1/tasks", "/v1/files/upload/")),
    Tag("MCP", "The Model Context Protocol: tools for language models.", ("/mcp",)),
)
_NAMES = frozenset(tag.name for tag in TAGS)


def tag_of(described: Described) -> str | None:
    """Return the name of the group of an operation; None if no group has its path.

    Raises `LookupError` if the operation names a group that is not in the table.
    """
    named = described.operation.tag
    if named is not None:
        if named not in _NAMES:
            raise LookupError(f"{described.operation.id} has the tag {named!r}, which is not in `TAGS`.")
        return named
    fitting = [(len(path), tag.name) for tag in TAGS for path in tag.paths if described.path.startswith(path)]
    return max(fitting)[1] if fitting else None


def tags_of(used: Iterable[str | None]) -> list[dict[str, str]]:
    """Return the section `tags` of the document: the groups that have operations."""
    names = set(used)
    return [{"name": tag.name, "description": tag.description} for tag in TAGS if tag.name in names]
