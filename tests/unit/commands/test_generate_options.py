"""`video-gateway generate` has an option for each usual field of a create."""

from typing import Any

import pytest
from click.testing import CliRunner

from gateway import cli


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ("--size 1280x720", {"size": "1280x720"}),
        ("--seed 7 --fps 24", {"seed": 7, "fps": 24}),
        ("--cfg-scale 0.5 --mode pro", {"cfg_scale": 0.5, "mode": "pro"}),
        ("--no-fallback --max-cost 1.5", {"fallback": False, "max_cost": 1.5}),
        (
            "--deadline 600 --webhook-url https://a.example/h",
            {"deadline_seconds": 600, "webhook_url": "https://a.example/h"},
        ),
        ("", {}),
    ],
)
def test_an_option_becomes_its_field(monkeypatch: pytest.MonkeyPatch, options: str, fields: dict[str, Any]) -> None:
    bodies: list[dict[str, Any]] = []

    def run(body: dict[str, Any], *_: object, **__: object) -> int:
        bodies.append(body)
        return 0

    monkeypatch.setattr(cli, "run_generate", run)
    done = CliRunner().invoke(cli.cli, ["generate", "Waves", "--model", "kling", *options.split()])

    assert done.exit_code == 0, done.output
    assert bodies == [{"prompt": "Waves", "model": "kling", **fields}]
