"""Tokens that let whoever has one do one thing, until they expire: signed, and nowhere stored."""

import base64
import math
from datetime import datetime
from hashlib import sha256
from hmac import compare_digest, digest

TOKEN_MAX = 128  # characters


class Signer:
    """Signs what a URL of the gateway's own may be used for."""

    def __init__(self, secret: bytes) -> None:
        """`secret` is 32 random bytes, the same at every start."""
        self._secret = secret

    def sign(self, purpose: str, *subject: str, until: datetime | None = None) -> str:
        """The token for a purpose and its subject, fit for a URL; it expires with the second of `until`, or never."""
        expires = "" if until is None else str(math.ceil(until.timestamp()))
        return f"{expires}.{self._signature(purpose, subject, expires)}"

    def admits(self, token: str, purpose: str, *subject: str, now: datetime) -> bool:
        """Whether the token was signed for exactly this, and has not expired."""
        expires, dot, signature = token.partition(".")
        if not dot or len(token) > TOKEN_MAX or not token.isascii() or any("\0" in part for part in subject):
            return False
        if not compare_digest(signature, self._signature(purpose, subject, expires)):
            return False
        return not expires or now.timestamp() < int(expires)

    def _signature(self, purpose: str, subject: tuple[str, ...], expires: str) -> str:
        said = "\0".join((purpose, *subject, expires)).encode(errors="surrogatepass")
        return base64.urlsafe_b64encode(digest(self._secret, said, sha256)[:24]).decode()
