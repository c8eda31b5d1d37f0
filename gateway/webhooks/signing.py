"""Signs webhooks as Standard Webhooks say: https://github.com/standard-webhooks/standard-webhooks."""

import base64
import os
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from hmac import digest

from standardwebhooks import Webhook

SECRET_BYTES = 32


class SigningKeys:
    """The secrets that sign the deliveries to a generation's own `webhook_url`."""

    def __init__(self, configured: Sequence[str], root: bytes) -> None:
        """`configured` are the operator's secrets, the newest first.

        Without any, each API key gets a secret of its own, derived from `root`. One secret for all keys would let a
        client, who may read it, sign webhooks to the receivers of the others.
        """
        self._configured = tuple(configured)
        self._root = root

    def of(self, key: str) -> tuple[str, ...]:
        """The secrets for the generations of an API key, the newest first."""
        return self._configured or (whsec(digest(self._root, key.encode(), sha256)),)

    def shown(self, key: str) -> str | None:
        """The secret that the client of an API key may read; None if the operator has configured one for all."""
        return None if self._configured else self.of(key)[0]


def new_secret() -> str:
    """A new random secret for an endpoint."""
    return whsec(os.urandom(SECRET_BYTES))


def whsec(value: bytes) -> str:
    """A secret as Standard Webhooks write it: `whsec_` and base64."""
    return "whsec_" + base64.b64encode(value).decode()


def signed(event_id: str, body: str, secrets: tuple[str, ...], now: datetime) -> dict[str, str]:
    """The headers of a delivery, with one signature for each secret."""
    return {
        "content-type": "application/json",
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(event_id, now, body) for secret in secrets),
    }
