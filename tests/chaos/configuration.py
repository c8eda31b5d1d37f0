"""The configuration of every gateway in a chaos run."""

from collections.abc import Sequence
from pathlib import Path

from .audit import POLL_MAX_SECONDS
from .money import PRICES
from .receiver import SECRET

SUBMIT_SECONDS = 2.0
CLIENT_KEY = "chaos-client"
SECRETS = {"KEY": "sandbox", "WEBHOOK_SECRET": SECRET, "CLIENT_KEY": CLIENT_KEY}
ROUTES = ("keevx/V", "kling_relay/kling-v1", "foxapi/kling-v3-image-to-video")
MODELS = {
    "m0": (ROUTES, "fall_back"),
    "m1": ((ROUTES[1], ROUTES[2], ROUTES[0]), "fall_back"),
    "m2": ((ROUTES[2], ROUTES[0], ROUTES[1]), "fall_back"),
    "m3": ((ROUTES[2], ROUTES[1]), "fail"),
    "held": (ROUTES, "hold"),
    "alone": ((ROUTES[0],), "fall_back"),  # after a refusal that asks to wait, the same route is tried again
}


def configuration(
    *,
    port: int,
    public_url: str,
    database_url: str,
    artifacts: Path,
    sandbox_url: str,
    attempt_seconds: float,
    submit_seconds: float = SUBMIT_SECONDS,
    first_poll_seconds: float = 0.3,
    server: Sequence[str] = (),
    is_shared: bool = False,
    narrow: str | None = None,
) -> str:
    """The text of a file. `server` are further lines of the table `[server]`; `is_shared`: others have the folder.

    The provider `narrow` takes one submit at a time.
    """
    lines = ["[server]", f"port = {port}", *server, f'public_url = "{public_url}"']
    lines += ['api_keys = ["env:CLIENT_KEY"]', 'log_format = "json"', "[database]", f'url = "{database_url}"']
    lines += ["[artifacts]", f'url = "file:{artifacts}"', "thumbnails = false"]
    lines += ["shared = true"] if is_shared else []
    lines += ["[fetch]", 'allow = ["127.0.0.0/8"]']
    # A delivery that a kill interrupted is tried again ten seconds after its time-out.
    lines += ["[webhooks]", 'secret = "env:WEBHOOK_SECRET"', "timeout_seconds = 3"]
    for provider, base in (("keevx", "keevx/v1"), ("kling_relay", "kling_relay"), ("foxapi", "foxapi")):
        lines += [f"[providers.{provider}]", 'api_key = "env:KEY"', f'base_url = "{sandbox_url}/{base}"']
        lines += [f"first_poll_seconds = {first_poll_seconds}", "poll_seconds = 0.4", "grace_seconds = 2"]
        lines += [f"poll_max_seconds = {POLL_MAX_SECONDS}", f"concurrency = {1 if provider == narrow else 64}"]
        lines += [f"submit_timeout_seconds = {submit_seconds}"]
        lines += [f"attempt_timeout_seconds = {attempt_seconds}"]
    for route, price in PRICES.items():
        provider, _, model = route.partition("/")
        lines += [f'[providers.{provider}.models."{model}"]', f"prices = [{{ per_clip = {price} }}]"]
    lines += ["[budgets]", "total = 1_000_000"]  # checked at each create, and never reached
    for model, (routes, policy) in MODELS.items():
        named = ", ".join(f'"{route}"' for route in routes)
        lines += [f"[models.{model}]", f"routes = [{named}]", 'adapt = "nearest"', f'on_ambiguous = "{policy}"']
    return "\n".join(lines) + "\n"
