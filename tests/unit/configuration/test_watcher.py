"""The files of the configuration are watched: when a change counts, and when it does not."""

from pathlib import Path

import pytest

from gateway.clock import SystemClock
from gateway.configuration.bound import Bound, Source, bound, settings_of
from gateway.configuration.reloader import Reloader, fingerprint
from gateway.configuration.watcher import Watcher
from gateway.live import Live
from gateway.upstream.registry import load_adapters

TEXT = """
server.watch_config = true
server.max_body_bytes = 5000
[providers.foxapi]
api_key = "file:{key}"
"""
ADAPTERS = load_adapters()


class World:
    """A configuration file and the file of a secret, each at the end of a link, as Kubernetes has them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mounted = folder / "mounted"
        self.put(1, 5000, "fox-1234567890")
        self.source = Source(path=self.mounted / "gateway.toml", environ={}, adapters=ADAPTERS)
        self.live = Live(bound(settings_of(self.source.read(), ADAPTERS), ADAPTERS))
        self.reloader = Reloader(self.live, self.source, SystemClock())
        self.watcher = Watcher(self.live, self.reloader, SystemClock())
        self.changes: list[Bound] = []
        self.live.watch(lambda _, new: self.changes.append(new))

    def put(self, version: int, size: int, key: str) -> None:
        """Write a new folder, and replace the link to the one before."""
        data = self.folder / f"version-{version}"
        data.mkdir()
        (data / "gateway.toml").write_text(TEXT.format(key=self.mounted / "fox.key").replace("5000", str(size)))
        (data / "fox.key").write_text(key + "\n")
        new = self.folder / "new"
        new.symlink_to(data)
        new.replace(self.mounted)

    async def look(self, times: int) -> int:
        """How many changes have been made after so many looks."""
        for _ in range(times):
            await self.watcher.look()
        return len(self.changes)

    @property
    def size(self) -> int:
        return self.live.current.settings.server.max_body_bytes


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_replaced_link_is_one_change_when_it_has_stayed(world: World) -> None:
    assert await world.look(3) == 0
    world.put(2, 6000, "fox-0987654321")
    assert await world.look(1) == 0, "it may still be written"
    assert await world.look(3) == 1
    assert (world.size, world.live.current.providers["foxapi"].credential.api_key) == (6000, "fox-0987654321")


async def test_a_file_that_is_still_written_does_not_count(world: World) -> None:
    """Half a file may be a valid configuration, without the providers of its other half."""
    await world.look(1)
    file = world.mounted / "gateway.toml"
    whole = file.read_text().replace("5000", "7000")
    for part in (whole[:40], whole[:60]):
        file.write_text(part)
        assert await world.look(1) == 0
    file.write_text(whole)
    assert await world.look(1) == 0
    assert await world.look(1) == 1
    assert (world.size, list(world.live.current.providers)) == (7000, ["foxapi"])


async def test_a_secret_alone_may_change_and_a_touch_changes_nothing(world: World) -> None:
    await world.look(1)
    (world.mounted / "gateway.toml").touch()
    assert await world.look(2) == 0
    (world.mounted / "fox.key").write_text("fox-another-key-1")
    assert await world.look(2) == 1
    assert world.reloader.state.changed == ("providers.foxapi.api_key",)


async def test_a_wrong_file_is_refused_once_and_the_next_change_counts(world: World) -> None:
    await world.look(1)
    (world.mounted / "fox.key").unlink()
    assert await world.look(4) == 0
    refused = world.reloader.state
    assert len(refused.faults) == 1
    assert refused.faults[0].startswith("providers.foxapi.api_key: missing")
    assert await world.look(2) == 0
    assert world.reloader.state is refused, "it is not read again before it changes"
    (world.mounted / "fox.key").write_text("fox-another-key-2")
    assert await world.look(2) == 1
    assert world.reloader.state.faults == ()


async def test_without_the_key_nothing_is_watched(world: World) -> None:
    file = world.mounted / "gateway.toml"
    file.write_text(file.read_text().replace("watch_config = true", "watch_config = false"))
    await world.reloader.reload("request")
    file.write_text(file.read_text().replace("5000", "7000"))
    assert await world.look(3) == 1
    assert world.size == 5000


def test_only_regular_files_are_compared(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "a")
    digests = dict(fingerprint([tmp_path / "a", link, tmp_path, tmp_path / "absent", Path("/dev/zero")]))
    assert digests[tmp_path / "a"] == digests[link] is not None
    assert [digests[path] for path in (tmp_path, tmp_path / "absent", Path("/dev/zero"))] == [None] * 3
