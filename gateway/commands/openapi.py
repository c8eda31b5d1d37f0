"""`openapi`: prints the OpenAPI document, writes it to a file, or compares it with one."""

import json
from pathlib import Path

import rich_click as click

from gateway.api.openapi.document import document
from gateway.commands.terminal import warn


def openapi(output: Path | None, check: Path | None) -> int:
    """Print the document, write it to `output`, or compare it with `check`. Returns the exit code: 1 if they differ."""
    text = json.dumps(document(), indent=2, ensure_ascii=False) + "\n"
    if check is not None:
        if check.is_file() and check.read_text("utf-8") == text:
            return 0
        warn(f"{check} is out of date; renew it: video-gateway openapi --output {check}")
        return 1
    if output is None:
        click.echo(text, nl=False)
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, "utf-8")
    return 0
