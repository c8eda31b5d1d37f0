"""JWTs of clients that have an access key and a secret key, as the clients of Kling's API do.

Kling, "General Information": the client signs with HS256 for each call, `iss` is its access key, `exp` is 30 minutes
ahead, and `nbf` is 5 seconds ago.
"""

import re
from collections.abc import Mapping
from secrets import token_hex
from typing import Any, TypeGuard

import jwt
from jwt.types import Options

from gateway.clock import Clock
from gateway.domain.errors import InvalidJwt, JwtExpired, JwtNotYetValid

JWT_MAX = 4096  # characters; one of Kling's clients has about 200
LEEWAY_SECONDS = 30.0  # how far the clocks of the client and of the gateway may differ
_JWT = re.compile(r"[A-Za-z0-9_=-]+\.[A-Za-z0-9_=-]+\.[A-Za-z0-9_=-]*")
_SIGNATURE_ALONE: Options = {
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}
_REMEDY = "Sign it with HS256 and the secret key of `iss`, which is an access key in server.kling_keys."


def is_jwt(token: str) -> bool:
    """Whether a bearer token has the three parts of a JWT, so that it can be nothing but a JWT or an unknown key."""
    return _JWT.fullmatch(token) is not None


class AccessKeys:
    """The configured access keys with their secret keys."""

    def __init__(self, secrets: Mapping[str, str], clock: Clock) -> None:
        """`secrets` has the secret key of each access key."""
        self._secrets = dict(secrets)
        self._clock = clock
        self._nobody = token_hex(32)  # checks the signature of an unknown `iss`, so that it takes as long as any other

    def __bool__(self) -> bool:
        return bool(self._secrets)

    def signer_of(self, token: str) -> str:
        """The access key that signed this JWT; raises `InvalidJwt`, `JwtNotYetValid` or `JwtExpired`.

        The claims are read before the signature is checked only to choose the secret. They count after the check.
        """
        if len(token) > JWT_MAX:
            raise InvalidJwt(f"The JWT has over {JWT_MAX:,} characters. {_REMEDY}")
        try:
            issuer = jwt.decode(token, options={"verify_signature": False}).get("iss")
            signer = issuer if isinstance(issuer, str) and issuer in self._secrets else None
            secret = self._nobody if signer is None else self._secrets[signer]
            claims: dict[str, Any] = jwt.decode(token, secret, algorithms=["HS256"], options=_SIGNATURE_ALONE)
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise InvalidJwt(f"The JWT in `Authorization` is not valid. {_REMEDY}") from error
        if signer is None:  # its signature cannot have been valid; this line keeps that true if the above changes
            raise InvalidJwt(f"The JWT in `Authorization` is not valid. {_REMEDY}")
        self._check_times(claims)
        return signer

    def _check_times(self, claims: Mapping[str, object]) -> None:
        """The library compares with the system clock; the gateway's own clock does not jump."""
        now = self._clock.now().timestamp()
        expires, begins = claims.get("exp"), claims.get("nbf", 0)
        if not (_is_number(expires) and _is_number(begins)):
            raise InvalidJwt("The JWT needs `exp`, and `nbf` if it has one, as numbers of Unix seconds.")
        if not now - LEEWAY_SECONDS < expires:
            raise JwtExpired("The JWT in `Authorization` has expired (`exp`). Sign a new one; check your clock.")
        if not begins <= now + LEEWAY_SECONDS:
            raise JwtNotYetValid("The JWT in `Authorization` is not valid yet (`nbf`). Check your clock.")


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
