"""Opens the bucket that the settings name, and says why it does not work."""

import re
from datetime import timedelta
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store, from_url

from gateway.domain.errors import ConfigurationError
from gateway.settings.sections import ArtifactSettings
from gateway.settings.toml import Secret

# A client may read slowly, so a read ends only when the server is silent. Callers try again, so few retries are enough.
_CLIENT: dict[str, Any] = {"connect_timeout": "5s", "read_timeout": "30s", "timeout": "12h"}
_RETRIES: dict[str, Any] = {"max_retries": 2, "retry_timeout": timedelta(seconds=20)}

NO_BUCKET = "the bucket does not exist; check artifacts.url"
# A pattern in the text of an error → the reason and the remedy. The first match counts: it is the innermost cause.
_REASONS: tuple[tuple[str, str], ...] = (
    (
        r"computeMetadata",
        "no credentials (GOOGLE_APPLICATION_CREDENTIALS; the machine's role was asked and gave none)",
    ),
    (r"/metadata/identity", "no credentials (AZURE_STORAGE_ACCOUNT_KEY; the machine's role was asked and gave none)"),
    (
        r"/latest/(api/token|meta-data)|169\.254\.17[0-9]\.",
        "no credentials (artifacts.access_key_id or AWS_ACCESS_KEY_ID; the machine's role was asked and gave none)",
    ),
    (r"\bNoSuchBucket\b|\bContainerNotFound\b", NO_BUCKET),
    (
        r"\bInvalidAccessKeyId\b",
        "the access key is not known to the server; check artifacts.access_key_id or AWS_ACCESS_KEY_ID",
    ),
    (
        r"\bSignatureDoesNotMatch\b",
        "the secret key is wrong; check artifacts.secret_access_key or AWS_SECRET_ACCESS_KEY",
    ),
    (r"\bRequestTimeTooSkewed\b", "the clock of this machine is wrong"),
    (
        r"\bAuthorizationHeaderMalformed\b|\bPermanentRedirect\b|incorrectly configured region",
        "the bucket is in another region; check artifacts.region",
    ),
    (r"status code: 401\b", "the credentials are not accepted"),
    (
        r"status code: 403\b",
        "access is forbidden; the credentials must allow to list the bucket and to get, put and delete in it",
    ),
    (r"\bInvalidCertificate\(", "its TLS certificate is not trusted; check artifacts.endpoint"),
    (r"\bInvalidContentType\b", "it does not speak TLS; check the https of artifacts.endpoint"),
    (r"Generic S3 error: [^\n]*HTTP error", "no connection; check artifacts.endpoint"),
    (r"HTTP error", "no connection"),
)

Bucket = S3Store | GCSStore | AzureStore


def bucket_of(
    settings: ArtifactSettings, *, client: dict[str, Any] = _CLIENT, retries: dict[str, Any] = _RETRIES
) -> Bucket:
    """The bucket that the settings name. Raises `ConfigurationError` when they are incomplete. Nothing is sent.

    Credentials are looked for where the cloud's own programs look, unless the settings have those of an S3 service.
    """
    config: Any = {"endpoint": settings.endpoint, "region": settings.region}
    for name in ("access_key_id", "secret_access_key"):
        secret: Secret | None = getattr(settings, name)
        config[name] = secret and secret.reveal()
    config = {name: value for name, value in config.items() if value is not None}
    options: Any = {**client, "allow_http": True} if (settings.endpoint or "").startswith("http:") else client
    make: Any = from_url  # its overloads have the options of one cloud each; here they are data
    try:
        bucket: Bucket = make(settings.url, config=config, client_options=options, retry_config=retries)
    except (BaseError, ValueError) as error:
        raise ConfigurationError(f"artifacts.url: {settings.url}: {_first_line(error)}") from None
    return bucket


async def probe(bucket: Bucket) -> str | None:
    """Read an object that does not exist. Returns `None` if the bucket says so, else what is wrong and the remedy."""
    try:
        await obstore.get_async(bucket, "probe")
    except FileNotFoundError as error:
        return NO_BUCKET if reason_of(error) == NO_BUCKET else None
    except (BaseError, OSError) as error:
        return reason_of(error)
    return None


def reason_of(error: Exception) -> str:
    """The reason of an error in the gateway's own words: the error's text may have addresses, and whole HTML pages."""
    text = str(error)
    for pattern, reason in _REASONS:
        if re.search(pattern, text):
            return reason
    if status := re.search(r"status code: (\d{3})", text):
        return f"it answers with HTTP {status[1]}"
    return getattr(error, "strerror", None) or "it does not answer as an object store does"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].strip().rstrip(":")
