"""What the answers about a generation depend on besides it: the gateway's own URLs, and what its client may see."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.domain.clients import Sight
from gateway.domain.generation.model import Generation
from gateway.tokens import Signer

CONTENT = "content"  # the purpose of a token for (id of a generation, index of an output, variant of its file)
# A token still verifies for this long after its file has expired: the client gets 410 artifact_expired, not 401.
TOKEN_GRACE = timedelta(days=30)


def everything(_owner: str, _what: Sight) -> bool:
    """What an owner sees without a limit of its own."""
    return True


@dataclass(frozen=True, slots=True)
class Links:
    """Makes the gateway's own URLs of results, and knows what the owner of a generation may see of it."""

    base: str  # the URLs begin with it
    signer: Signer
    sees: Callable[[str, Sight], bool] = everything

    def shows(self, generation: Generation, what: Sight) -> bool:
        """Whether answers, events and webhooks about the generation may have this."""
        return self.sees(generation.owner, what)

    def opened(self, generation: Generation, index: int, variant: str, until: datetime) -> str:
        """The URL of an archived file with a token: anybody who has it can read the file until `until`.

        `variant` is the kind of the generation for the result itself, or "thumbnail".
        """
        path = f"/v1/{generation.kind}s/generations/{generation.id}/content?index={index}"
        parameter = "" if variant == generation.kind else f"&variant={variant}"
        token = self.signer.sign(CONTENT, generation.id, str(index), variant, until=until + TOKEN_GRACE)
        return f"{self.base}{path}{parameter}&token={token}"
