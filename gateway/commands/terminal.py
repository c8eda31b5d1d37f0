"""Output for a person: a progress bar if standard output is a terminal, plain lines otherwise."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

import rich_click as click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from gateway.commands.client import Generation


def say(text: str) -> None:
    """Print one line on standard output, without buffering."""
    with suppress(BrokenPipeError):
        click.echo(plain(text))
        sys.stdout.flush()


def line(name: str, text: str) -> None:
    """Print one line of a report: what it is about, and what there is to say."""
    say(f"{name:<14} {text}")


def warn(text: str) -> None:
    """Print one line on standard error."""
    with suppress(BrokenPipeError):
        click.echo(plain(text), err=True)


def plain(text: str) -> str:
    """The text on one line, without control characters: a text from a provider must not control the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


class Show(Protocol):
    """Shows the progress of a generation."""

    def generation(self, generation: Generation) -> None:
        """Show the generation as it is now."""
        ...

    def note(self, text: str) -> None:
        """Show a message that is not about the generation."""
        ...


@contextmanager
def progress(*, on_stderr: bool = False) -> Iterator[Show]:
    """A progress bar if the stream is a terminal, else lines."""
    stream = sys.stderr if on_stderr else sys.stdout
    if stream.isatty() and os.environ.get("TERM") != "dumb":
        with _bar(Console(file=stream)) as bar:
            yield _Bar(bar)
    else:
        yield _Lines(on_stderr=on_stderr)


class _Attempts:
    """Reports each failed attempt once."""

    def __init__(self) -> None:
        self._reported: set[int] = set()

    def new(self, generation: Generation) -> Iterator[str]:
        for attempt in generation.attempts:
            if attempt.failure is not None and attempt.number not in self._reported:
                self._reported.add(attempt.number)
                yield attempt.summary()


class _Lines:
    def __init__(self, *, on_stderr: bool) -> None:
        self._say = warn if on_stderr else say
        self._attempts = _Attempts()
        self._last = ""

    def generation(self, generation: Generation) -> None:
        """Print a line if something has changed."""
        for attempt in self._attempts.new(generation):
            self._stamped(attempt)
        line = " ".join(filter(None, (generation.status, f"{generation.progress}%", generation.route)))
        if line != self._last:
            self._last = line
            self._stamped(line)

    def note(self, text: str) -> None:
        warn(text)

    def _stamped(self, text: str) -> None:
        self._say(f"{time.strftime('%H:%M:%S')} {text}")


def _bar(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[route]}", markup=False),
        TimeElapsedColumn(),
        console=console,
    )


class _Bar:
    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._attempts = _Attempts()
        self._task: TaskID = bar.add_task("queued", total=100, route="")

    def generation(self, generation: Generation) -> None:
        """Update the bar."""
        for attempt in self._attempts.new(generation):
            self.note(attempt)
        # Some providers report no progress: the bar then stays at 0 until the end, and only the spinner moves.
        self._bar.update(
            self._task,
            description=plain(generation.status),
            completed=generation.progress,
            route=plain(generation.route),
        )

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(plain(text), markup=False, highlight=False, soft_wrap=True)
