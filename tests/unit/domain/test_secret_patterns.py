"""One table says what a secret looks like; the log and the messages to clients both follow it."""

import pytest

from gateway import log
from gateway.domain.adapter import messages
from gateway.domain.secret_patterns import HIDDEN, SECRET_PATTERNS, SecretPattern

EXAMPLES = {  # a text with each kind of secret, and the secret in it
    "query of a URL": ("https://files.example/a.mp4?sig=hunter2", "hunter2"),
    "authorization header": ("Authorization: Bearer abc.def", "abc.def"),
    "bearer and basic credentials": ("basic dXNlcjpwYXNzd29yZA==", "dXNlcjpwYXNzd29yZA=="),
    "value after the name of a secret": ("credential=hunter2", "hunter2"),
    "key with a prefix": ("rk_live_51Habc", "live_51Habc"),
    "JSON web token": ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sig", "sig"),
    "password in a URL": ("https://user:hunter2@relay.example", "hunter2"),
    "data URL": ("data:image/png;base64,iVBORw0KGgo1", "iVBORw0KGgo1"),
    "long run of letters": ("Zm9v" * 60, "Zm9v"),
}
# A provider does not repeat the image in its message, and a client may see the whole link to its own result.
ONLY_IN_LOG = {"data URL", "query of a URL"}


@pytest.mark.parametrize("row", SECRET_PATTERNS, ids=lambda row: row.name)
def test_each_kind_of_secret_is_hidden_in_the_log_and_in_messages(row: SecretPattern) -> None:
    text, secret = EXAMPLES[row.name]
    cleaned = [log.clean(f"refused {text} today")]
    cleaned += [messages.clean(f"refused {text} today")] if row.name not in ONLY_IN_LOG else []
    for shown in cleaned:
        assert shown.startswith("refused ")
        assert shown.endswith(" today")
        assert secret not in shown


@pytest.mark.parametrize("prefix", ["sk", "pk", "rk", "ak", "vg", "whsec"])
def test_a_key_of_any_prefix_is_hidden_in_both(prefix: str) -> None:
    key = f"{prefix}_51Habc"
    assert log.clean(f"key {key}") == f"key {HIDDEN}"
    assert log.clean(key) == HIDDEN  # alone, it looks like one of the names that are not searched
    assert messages.clean(f"refused {key}") == "refused …"


@pytest.mark.parametrize("name", ["cookie", "credential", "passwort", "tokens", "api-key", "signature"])
def test_a_value_after_the_name_of_a_secret_is_hidden_in_both(name: str) -> None:
    assert "hunter2" not in log.clean(f"{name}: hunter2")
    assert "hunter2" not in messages.clean(f"{name}: hunter2")
