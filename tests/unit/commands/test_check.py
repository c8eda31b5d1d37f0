"""`check` on a ledger: whether the clock fits it, and whether its open generations can be followed."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import cli
from gateway.domain.adapter.request import TextInput
from gateway.domain.adapter.task import Status, TaskRef
from gateway.domain.generation.model import (
    Attempt,
    AttemptState,
    Generation,
    GenerationRequest,
    Output,
    Plan,
    Route,
    Task,
)
from gateway.store.sqlite.open import open_sqlite


@pytest.fixture(autouse=True)
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("KEEVX", "KLING_RELAY", "FOXAPI", "VIDEO_GATEWAY"):
        for ending in ("API_KEY", "BASE_URL", "CONFIG", "DATABASE_URL", "ARTIFACTS", "HOST", "PORT"):
            monkeypatch.delenv(f"{name}_{ending}", raising=False)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


async def write_ledger(at: datetime, provider: str) -> str:
    """Write a ledger with an open generation that has a task; the id of the generation."""
    store = open_sqlite(Path("video-gateway.db"), at)
    sent = Attempt(
        id="att_01JDKQ00000000000000000000_1",
        number=1,
        route=0,
        slots=(0,),
        state=AttemptState.ACCEPTED,
        reserved_at=at,
        tasks=(Task(ref=TaskRef(id="t-1"), slot=0),),
    )
    made = Generation(
        id="gen_01JDKQ00000000000000000000",
        owner="alice",
        kind="video",
        request=GenerationRequest(model="hero", input=TextInput(), prompt="a fox"),
        plan=Plan(routes=(Route(provider=provider, model="k3", capability_name="k3"),)),
        status=Status.IN_PROGRESS,
        created_at=at,
        deadline_at=at,
        outputs=(Output(index=0),),
        attempts=(sent,),
        fence=1,
    )
    await store.create(made)
    await store.close()
    return made.id


def test_it_names_the_open_generations_that_no_start_could_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEVX_API_KEY", "a-key")
    name = asyncio.run(write_ledger(datetime.now(UTC), "foxapi"))

    without = run("check")
    monkeypatch.setenv("FOX", "fox-key")
    Path("video-gateway.toml").write_text("[providers.foxapi]\nenabled = false\napi_key = 'env:FOX'\n")
    followed = run("check")

    assert (without.exit_code, followed.exit_code) == (0, 0)
    warning = rf"^warning +providers\.foxapi: 1 open generation\(s\) .* without its key: {name}$"
    assert re.search(warning, without.output, re.MULTILINE), without.output
    assert re.search(r"^clock +fits the ledger, ", without.output, re.MULTILINE)
    assert "without its key" not in followed.output
    assert re.search(
        r"^foxapi +off: enabled = false, the tasks that it runs are followed", followed.output, re.MULTILINE
    )


@pytest.mark.parametrize(("days", "code"), [(-3653, 2), (-31, 2), (-29, 0), (0.04, 0), (2, 2), (3653, 2)])
def test_it_judges_the_clock_as_a_start_does(monkeypatch: pytest.MonkeyPatch, days: float, code: int) -> None:
    monkeypatch.setenv("FOXAPI_API_KEY", "a-key")
    asyncio.run(write_ledger(datetime.now(UTC) + timedelta(days=days), "foxapi"))

    done = run("check")

    assert done.exit_code == code, done.output
    assert bool(re.search(r"^clock +ERROR clock: .*serve --accept-clock", done.output, re.MULTILINE)) == (code == 2)
    warning = r"^warning +clock: 3,\d+ s earlier than the newest time in the ledger; "
    assert bool(re.search(warning, done.output, re.MULTILINE)) == (days == 0.04)


def test_it_warns_about_a_short_secret_as_a_start_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOXAPI_API_KEY", "a-key")

    done = run("check")

    assert done.exit_code == 0, done.output
    assert re.search(r"^warning +providers\.foxapi\.api_key has under 8 characters", done.output, re.MULTILINE)


def test_it_warns_that_images_would_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOXAPI_API_KEY", "fox-key-1234")
    Path("video-gateway.toml").write_text(f"[artifacts]\nmin_free_bytes = {2**50}\n")

    done = run("check")

    assert done.exit_code == 0, done.output
    assert re.search(r"^warning +artifacts\.min_free_bytes: less of the disk is free", done.output, re.MULTILINE)


def test_it_warns_that_only_disabled_providers_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOX", "fox-key")
    Path("video-gateway.toml").write_text("[providers.foxapi]\nenabled = false\napi_key = 'env:FOX'\n")

    done = run("check")

    assert done.exit_code == 0, done.output
    assert re.search(r"^warning +providers: none is enabled; no generation can be made", done.output, re.MULTILINE)
