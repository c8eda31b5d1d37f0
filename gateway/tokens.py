"""Signed, expiring tokens for URLs. Stateless: the holder of a token may do the one thing that it was signed for."""

import base64
import math
from datetime import datetime
from hashlib import sha256
from hmac import compare_digest, digest

TOKEN_MAX = 128  # characters


class Signer:
    """Signs tokens for the gateway's own URLs, and checks them."""

    def __init__(self, secret: bytes) -> None:
        """`secret`: 32 random bytes, which must be the same at every start."""
        self._secret = secret

    def sign(self, purpose: str, *subject: str, until: datetime | None = None) -> str:
        """The token for a purpose and its subject, safe in a URL. It expires at `until`, rounded up, or never."""
        expires = "" if until is None else str(math.ceil(until.timestamp()))
        return f"{expires}.{self._signature(purpose, subject, expires)}"

    def admits(self, token: str, purpose: str, *subject: str, now: datetime) -> bool:
        """Whether the token was signed for exactly this purpose and subject, and has not expired."""
        expires, dot, signature = token.partition(".")
        if not dot or len(token) > TOKEN_MAX or not token.isascii() or any("\0" in part for part in subject):
            return False
        if not compare_digest(signature, self._signature(purpose, subject, expires)):
            return False
        return not expires or now.timestamp() < int(expires)

    def _signature(self, purpose: str, subject: tuple[str, ...], expires: str) -> str:
        message = "\0".join((purpose, *subject, expires)).encode(errors="surrogatepass")
        return base64.urlsafe_b64encode(digest(self._secret, message, sha256)[:24]).decode()
