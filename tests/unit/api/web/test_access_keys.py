"""Which JWTs are those of an access key, and when they count."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.web.access_keys import JWT_MAX, AccessKeys, is_jwt
from gateway.domain.errors import InvalidJwt, JwtExpired, JwtNotYetValid

from ....cases import every

ACCESS, SECRET = "an-access-key", "s" * 64
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


class StoppedClock:
    def now(self) -> datetime:
        return NOW

    def call_later(self, seconds: float, callback: Any) -> Any:
        raise NotImplementedError  # nothing here waits


KEYS = AccessKeys({ACCESS: SECRET, "another-access-key": "t" * 40}, StoppedClock())


def claims(**changes: Any) -> dict[str, Any]:
    """The claims as Kling's page has them; the value `...` leaves one out."""
    now = int(NOW.timestamp())
    every = {"iss": ACCESS, "exp": now + 1800, "nbf": now - 5, **changes}
    return {name: value for name, value in every.items() if value is not ...}


def signed(content: dict[str, Any], secret: str = SECRET, algorithm: str = "HS256") -> str:
    return jwt.encode(content, secret, algorithm=algorithm, headers={"alg": algorithm, "typ": "JWT"})


def ahead(seconds: float) -> float:
    return (NOW + timedelta(seconds=seconds)).timestamp()


@pytest.mark.parametrize(
    "content",
    [
        claims(),
        claims(nbf=...),
        claims(iat=int(NOW.timestamp())),  # the npm package `kling-api` sends one
        claims(exp=ahead(-29)),
        claims(nbf=ahead(29)),
        claims(exp=10**400),
        claims(aud="somebody", sub="somebody", jti="1"),  # claims that mean nothing here
    ],
)
def test_a_signed_jwt_names_its_access_key(content: dict[str, Any]) -> None:
    assert is_jwt(signed(content))
    assert KEYS.signer_of(signed(content)) == ACCESS


@every(
    ("token", "error"),
    [
        (signed(claims(exp=ahead(-31))), JwtExpired),
        (signed(claims(exp=0)), JwtExpired),
        (signed(claims(nbf=ahead(31))), JwtNotYetValid),
        (signed(claims(exp=...)), InvalidJwt),
        (signed(claims(exp="soon")), InvalidJwt),
        (signed(claims(exp=True)), InvalidJwt),
        (signed(claims(nbf=None)), InvalidJwt),
        (signed(claims(iss=...)), InvalidJwt),
        (signed(claims(iss="nobody")), InvalidJwt),
        (signed(claims(iss="another-access-key")), InvalidJwt),  # signed with the secret of another one
        (signed(claims(), "x" * 40), InvalidJwt),
        (signed(claims(exp=ahead(-31)), "x" * 40), InvalidJwt),  # a forged token learns nothing about times
        (signed(claims(), "s" * 64, "HS512"), InvalidJwt),
        (signed(claims(), SECRET, "HS384"), InvalidJwt),
        (signed(claims(note="x" * JWT_MAX)), InvalidJwt),
        (signed(claims())[:-1], InvalidJwt),
    ],
)
def test_any_other_jwt_is_refused(token: str, error: type[Exception]) -> None:
    with pytest.raises(InvalidJwt if error is InvalidJwt else error) as refused:
        KEYS.signer_of(token)
    assert type(refused.value) is error


def test_a_jwt_without_an_algorithm_is_refused() -> None:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    for header in ({"alg": "none"}, {"alg": "None"}, {}):
        token = f"{part(header)}.{part(claims())}."
        assert is_jwt(token)
        with pytest.raises(InvalidJwt):
            KEYS.signer_of(token)


_PART = st.binary(max_size=200).map(lambda raw: base64.urlsafe_b64encode(raw).rstrip(b"=").decode())
_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)


@given(st.lists(_PART, min_size=3, max_size=3).map(".".join))
def test_no_bytes_end_in_another_error(token: str) -> None:
    with pytest.raises(InvalidJwt):
        KEYS.signer_of(token)


@given(st.dictionaries(st.sampled_from(["iss", "exp", "nbf", "iat"]), _JSON))
def test_no_claims_end_in_another_error(content: dict[str, Any]) -> None:
    payload = base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()
    head = signed(claims()).partition(".")[0]
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(
        f"{head}.{payload}".encode(), SECRET.encode()
    )
    token = f"{head}.{payload}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    with pytest.raises((InvalidJwt, JwtExpired, JwtNotYetValid)):
        KEYS.signer_of(token)


def test_a_deeply_nested_payload_is_refused() -> None:
    payload = base64.urlsafe_b64encode(b"[" * 2900).decode()
    with pytest.raises(InvalidJwt):
        KEYS.signer_of(f"{signed(claims()).partition('.')[0]}.{payload}.AAAA")
