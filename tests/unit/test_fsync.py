"""Durability of files and of the names in folders."""

import os
from pathlib import Path

import pytest

from gateway.fsync import fsync_path


def test_a_file_and_its_folder_are_synchronised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    synchronised = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synchronised.append(os.fstat(descriptor).st_ino))
    fsync_path(file)
    fsync_path(tmp_path)
    assert synchronised == [file.stat().st_ino, tmp_path.stat().st_ino]


def test_a_path_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fsync_path(tmp_path / "nowhere")


def test_the_descriptor_is_closed_when_the_disk_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    descriptors = []

    def refuse(descriptor: int) -> None:
        descriptors.append(descriptor)
        raise OSError("the disk is broken")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="the disk is broken"):
        fsync_path(tmp_path)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptors[0])
