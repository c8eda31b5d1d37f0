"""Which file system a path is on, and which ones are on another machine."""

import re
from pathlib import Path

MOUNTS = Path("/proc/self/mounts")  # the list of mounted file systems, as Linux has it
NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs", "glusterfs"}
    | {f"fuse.{name}" for name in ("sshfs", "glusterfs", "ceph", "s3fs", "rclone", "gcsfuse", "juicefs")}
)


def file_system(path: Path, mounts: Path = MOUNTS) -> str:
    """The type of the file system that holds the path, or `""` if the list of mounts cannot be read."""
    try:
        lines = [line.split(" ") for line in mounts.read_text(errors="surrogateescape").splitlines()]
    except OSError:
        return ""
    mount_points = [(_unescaped(fields[1]), fields[2]) for fields in lines if len(fields) > 2]
    above = [(len(place), line, kind) for line, (place, kind) in enumerate(mount_points) if path.is_relative_to(place)]
    # The deepest mount point counts. Of two at one place the later one counts, because it hides the earlier one.
    return max(above, default=(0, 0, ""))[2]


def _unescaped(place: str) -> str:
    """The path of a mount point; the list has its spaces as octal escapes."""
    return re.sub(r"\\([0-7]{3})", lambda escape: chr(int(escape[1], 8)), place)
