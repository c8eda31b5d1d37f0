"""The URLs under which the gateway itself hands out results."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.domain.generation.model import Generation
from gateway.tokens import Signer

CONTENT = "content"  # the purpose of a token: the id of a generation, the index of an output, the variant of its file
TOLD_LIFE = timedelta(days=30)  # in which who has a URL is told that its file has gone, not that the token is wrong


@dataclass(frozen=True, slots=True)
class Links:
    """The gateway's own URLs of results, with the tokens that open them."""

    base: str  # what they begin with
    signer: Signer

    def content(self, generation: Generation, index: int) -> str:
        """Where the gateway hands over an output to its key."""
        return f"{self.base}/v1/{generation.kind}s/generations/{generation.id}/content?index={index}"

    def opened(self, generation: Generation, index: int, variant: str, until: datetime) -> str:
        """Where it hands over a file that it keeps to anybody; behind its end it says so for a while."""
        named = "" if variant == "video" else f"&variant={variant}"
        token = self.signer.sign(CONTENT, generation.id, str(index), variant, until=until + TOLD_LIFE)
        return f"{self.content(generation, index)}{named}&token={token}"
