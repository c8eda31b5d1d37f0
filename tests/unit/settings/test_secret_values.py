"""Every secret of the configuration is in the list of what is hidden; nothing else is."""

from base64 import b64decode

from gateway.log import clean
from gateway.settings.load import (
    ArtifactSettings,
    ProviderSettings,
    Secret,
    ServerSettings,
    Settings,
    WebhookSettings,
)
from gateway.settings.secret_values import secret_values, too_short
from gateway.settings.sections import KlingKey
from gateway.settings.toml import Identifier

WEBHOOK = "c2lnbmluZy1rZXktd2l0aC1lbm91Z2gtYnl0ZXM="


def test_the_secrets_of_every_section_are_listed() -> None:
    settings = Settings(
        server=ServerSettings(
            api_keys=(Secret.of("client-key-0001"),),
            admin_keys=(Secret.of("admin-key-0001"),),
            kling_keys=(
                KlingKey(access_key=Identifier.of("shown in every JWT"), secret_key=Secret.of("kling-secret")),
            ),
        ),
        providers={
            "keevx": ProviderSettings(
                api_key=Secret.of("provider-key"),
                headers={
                    "X-Api-Key": Secret.of("named-secret"),
                    "X-Team": Secret.of("zone Zk39fQ77pLm20aBcXy"),
                    "Accept-Language": Secret.of("en"),
                },
            )
        },
        artifacts=ArtifactSettings(
            url="s3://b",
            access_key_id=Identifier.of("shown in every link"),
            secret_access_key=Secret.of("s3-secret"),
        ),
        webhooks=WebhookSettings(secret=Secret.of(f"whsec_{WEBHOOK}")),
    )
    assert set(secret_values(settings)) == {
        *("client-key-0001", "admin-key-0001", "kling-secret", "provider-key", "named-secret", "Zk39fQ77pLm20aBcXy"),
        *("s3-secret", WEBHOOK, b64decode(WEBHOOK)),
    }
    assert too_short(settings) == []


def test_a_short_secret_is_a_warning_that_names_its_place() -> None:
    short = {"keevx": ProviderSettings(api_key=Secret.of("k3y"), headers={"X-Team": Secret.of("a")})}
    [warning] = too_short(Settings(providers=short))
    assert warning.startswith("providers.keevx.api_key has under 8 characters")
    assert "k3y" not in warning
    assert clean(warning) == warning, "the log would hide a part of it"
