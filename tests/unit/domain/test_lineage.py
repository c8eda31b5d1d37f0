"""An older copy of a ledger is always recognised, and a crash is never taken for one."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.domain.lineage import RESTORED, Lineage, Marker, line_of, marker_of, verdict

from ...cases import every

X, Y = "a" * 32, "b" * 32
OWN = Marker(lineage=X, position=7, file=5)


class Disk:
    """A ledger with its markers. Each step that a process can be killed between is a method of its own."""

    def __init__(self) -> None:
        self.position = self.near = self.far = self.sent = 0

    def commit(self) -> None:
        self.position += 1

    def mark(self) -> None:
        self.near = self.position

    def mark_far(self) -> None:
        self.far = self.position

    def submit(self) -> None:
        """A submit leaves only after its commit and its marker, both of which it waits for."""
        self.commit()
        self.mark()
        self.sent = self.position

    def is_copy(self, ledger: int) -> bool:
        near, far = (Marker(lineage=X, position=at, file=5) for at in (self.near, self.far))
        return verdict(Lineage(id=X, marked=True), ledger, file=5, near=near, far=far) is not None


@given(st.lists(st.sampled_from(["commit", "mark", "mark_far", "submit", "copy"])))
def test_a_copy_from_before_a_purchase_is_held_and_a_crash_at_any_step_is_not(steps: list[str]) -> None:
    disk, copies = Disk(), [0]
    disk.commit()
    for step in steps:
        if step == "copy":
            copies.append(disk.position)
        else:
            getattr(disk, step)()
        assert not disk.is_copy(disk.position), "the process was killed here, and started on the same files"
        for copy in copies:
            if 0 < copy < disk.sent:
                assert disk.is_copy(copy)


@every(
    "change, says",
    [
        ({}, None),
        ({"position": 0, "ledger": None}, None),
        ({"ledger": None, "near": "missing"}, None),
        ({"ledger": None}, "has no lineage"),
        ({"position": 9}, None),
        ({"position": 6}, "ends at position 6, and its marker is at 7"),
        ({"far": replace(OWN, position=8)}, "its marker is at 8"),
        ({"far": None}, None),
        ({"far": "missing"}, None),
        ({"near": "missing"}, "marker beside the ledger is missing"),
        ({"near": "missing", "far": "missing"}, "marker beside the ledger is missing"),
        ({"near": "unreadable"}, "marker beside the ledger is unreadable"),
        ({"near": replace(OWN, lineage=Y)}, "another lineage"),
        ({"file": 6}, "another file"),
        ({"file": 0}, None),
        ({"near": Marker(lineage=RESTORED, position=0)}, "restored from a backup"),
        (
            {"near": Marker(lineage=RESTORED, position=0), "ledger": None},
            "restored from a backup",
        ),
        ({"said": "restored"}, "the operator has said"),
        ({"file": 6, "said": "moved"}, None),
        ({"ledger": Lineage(id=X, marked=False), "near": "missing"}, None),
        (
            {"ledger": Lineage(id=X, marked=False), "near": replace(OWN, lineage=Y, position=99)},
            None,
        ),
        (
            {"ledger": Lineage(id=X, marked=False), "position": 3},
            "its marker is at 7",
        ),
    ],
    ids=[
        "the same files",
        "a new ledger",
        "a ledger of an earlier version",
        "an earlier version's, later than the first marker",
        "ahead of its markers after a crash",
        "older than the marker beside it",
        "older than the marker of the artifacts",
        "the store of artifacts does not answer",
        "the store of artifacts is empty",
        "no marker beside it",
        "no marker anywhere",
        "a broken marker",
        "of a lineage of before",
        "both copied",
        "both copied, file numbers are not stable",
        "restored by the command",
        "restored by the command, made by an earlier version",
        "said to be restored",
        "said to be moved",
        "interrupted before its first marker",
        "interrupted after a restore",
        "interrupted, then restored later",
    ],
)
def test_what_counts_as_a_copy(change: dict[str, object], says: str | None) -> None:
    usual: dict[str, object] = {"ledger": Lineage(id=X, marked=True), "position": 7, "file": 5, "near": OWN, "far": OWN}
    given_ = usual | change
    copy = verdict(given_.pop("ledger"), given_.pop("position"), **given_)  # type: ignore[arg-type]
    assert (copy is None) is (says is None), copy
    assert says is None or (copy is not None and says in copy.reason)


def test_a_marker_survives_its_file_and_nothing_else_is_one(tmp_path: Path) -> None:
    lines = {line_of(Marker(lineage=X, position=at, file=at)) for at in (0, 7, 2**63 - 1)}
    assert len({len(line) for line in lines}) == 1, "it is overwritten in place"
    for line in lines:
        marker = marker_of(line)
        assert marker is not None
        assert line_of(marker) == line
        assert marker_of(line[:-1]) is marker_of(b"\0" * len(line)) is marker_of(b"") is None
