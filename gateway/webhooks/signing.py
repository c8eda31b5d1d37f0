"""Signs webhooks as Standard Webhooks say: https://github.com/standard-webhooks/standard-webhooks."""

import base64
import os
from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import sha256
from hmac import digest

from standardwebhooks import Webhook

from gateway.settings.load import WebhookSettings

SECRET_BYTES = 32
_ADOPTED_MAX = 20  # further signatures of one delivery: each is 50 bytes of a header


class SigningKeys:
    """The secrets that sign the deliveries to a generation's own `webhook_url`."""

    def __init__(
        self, configured: Sequence[str], root: bytes, adopted_by: Callable[[str], Sequence[str]] = lambda _: ()
    ) -> None:
        """`configured` are the operator's secrets, the newest first.

        Without any, each owner id gets a secret of its own, derived from `root`. One secret for all would let a client,
        who may read it, sign webhooks to the receivers of the others. `adopted_by` gives the owner ids whose things an
        owner id has now: their receivers know the secrets of those.
        """
        self._configured = tuple(configured)
        self._root = root
        self._adopted_by = adopted_by

    def of(self, key: str) -> tuple[str, ...]:
        """The secrets for the generations of an owner id, the newest first."""
        owners = (key, *self._adopted_by(key)[:_ADOPTED_MAX])
        return self._configured or tuple(whsec(digest(self._root, owner.encode(), sha256)) for owner in owners)

    def shown(self, key: str) -> str | None:
        """The secret that the client of an API key may read; None if the operator has configured one for all."""
        return None if self._configured else self.of(key)[0]


def signing_keys(settings: WebhookSettings, root: bytes, owners_before: Callable[[str], Sequence[str]]) -> SigningKeys:
    """The keys that sign webhooks, with the secrets that are configured."""
    configured = (settings.secret, settings.previous_secret)
    return SigningKeys([key.reveal() for key in configured if key is not None], root, owners_before)


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
