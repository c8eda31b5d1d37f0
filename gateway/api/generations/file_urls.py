"""The URLs at which a client gets the file of an output, in every API."""

from gateway.api.web.links import Links
from gateway.domain.generation.model import Generation
from gateway.domain.generation.summary import FileSource, OutputSummary


def file_url(generation: Generation, output: OutputSummary, links: Links) -> str | None:
    """The URL at which anybody can fetch the file of an output; None while there is no file.

    It is the provider's own while only the provider has the file, unless that needs the provider's key, or the client
    may not see the provider.
    """
    is_shown = output.source is FileSource.PROVIDER and links.shows(generation, "provider")
    return output.provider_url if is_shown else own_url(generation, output, links)


def own_url(generation: Generation, output: OutputSummary, links: Links) -> str | None:
    """The gateway's own URL of the file of an output, with a token; None while there is no file.

    It gives the archived file. Without one it passes the provider's file through, or redirects to the provider's URL.
    """
    if output.source is None:
        return None
    kept_until = output.expires_at or generation.deadline_at
    until = kept_until if output.archived is None else output.archived.kept_until
    return links.opened(generation, output.index, generation.kind, until)
