"""Runs the lines of a provider's pages by `bash` and `curl`: `curl_calls.py FILE` with a file of `curl/`.

A block of the file is a comment with the name of the call, and a command. Replaced are the base URL, the key, the path
of the file to upload, and `{task_id}` by the id that the answer before gave. A name that ends with `refused` expects
an error in the provider's form; `until WORD` repeats the command until the answer has this status.
"""

import functools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from calls import IMAGE, KEY, URL, call, until

BASES = {
    "https://api.keevx.com/v1": f"{URL}/keevx/v1",
    "https://api.foxapi.cc/v1": f"{URL}/foxapi/v1",
    "https://api.xiexus.cn/kling/v1": f"{URL}/kling/v1",
}
KEYS = ("$KEEVX_API_KEY", "<token>")


def commands(path: Path) -> dict[str, str]:
    """The commands of a file by their names."""
    blocks = re.split(r"\n\n(?=# )", path.read_text())[1:]
    return {name.removeprefix("# "): command for name, _, command in (block.partition("\n") for block in blocks)}


def run(command: str, task: str) -> dict[str, Any]:
    """The answer of one command."""
    for printed, ours in BASES.items():
        command = command.replace(printed, ours)
    for printed in KEYS:
        command = command.replace(printed, KEY)
    command = command.replace("{task_id}", task).replace("/path/to/local/image.png", str(IMAGE))
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)  # noqa: S603, S607
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def is_refused(answer: dict[str, Any]) -> bool:
    """Whether an answer is an error in one of the providers' forms."""
    return bool(answer.get("error")) or answer.get("code", 0) not in (0, "success")


def statuses(answer: dict[str, Any]) -> set[str]:
    """The words of a status in an answer to a query: the relay's page has one beside Kling's."""
    data = answer["data"] if isinstance(answer.get("data"), dict) else {}
    return {str(holder[name]) for holder in (answer, data) for name in ("status", "task_status") if name in holder}


def task_of(answer: dict[str, Any]) -> str | None:
    """The id that the answer to a submit gives."""
    data = answer.get("data") if isinstance(answer.get("data"), dict) else answer
    task: str | None = (data.get("task_ids") or [data.get("task_id") or data.get("id")])[0]
    return task


def main() -> None:
    task = ""
    for name, command in commands(Path(sys.argv[1])).items():
        with call(name):
            wanted = name.partition("until ")[2]
            if wanted:
                # A query that is refused is not repeated: the assertion below reports it.
                read = functools.partial(run, command, task)
                answer = until(read, lambda each, word=wanted: is_refused(each) or word in statuses(each))
            else:
                answer = run(command, task)
            assert is_refused(answer) == name.endswith("refused"), json.dumps(answer, ensure_ascii=False)
            task = task_of(answer) or task


main()
