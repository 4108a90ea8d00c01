"""Whether the folder of the data is fit for a catalogue and a spool: whose it is, on which file system, with what room.

A folder that is not there yet is judged by the one that it would be made in. Nothing is made here.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from archiver.core.policy import disk_needed
from archiver.doctor.findings import STOPS, Finding, bad, ok, warn

SUBJECT = "data_dir"
#: Several machines may have these open at once, and none of them keeps a write-ahead log or a lock between machines.
NETWORK = frozenset(
    "nfs nfs4 cifs smb3 smbfs ncpfs afs ceph glusterfs lustre beegfs orangefs gpfs ocfs2 gfs2 9p "
    "fuse.sshfs fuse.s3fs fuse.rclone fuse.gcsfuse fuse.goofys fuse.ossfs fuse.glusterfs fuse.cephfs".split()
)
#: Shared with a host or made of something else: locks may hold, or not.
DOUBTFUL = frozenset({"virtiofs", "vboxsf", "prl_fs", "drvfs", "fuse", "fuseblk", "vfat", "exfat"})
FORGETFUL = {
    "tmpfs": "it is empty after a restart",
    "ramfs": "it is empty after a restart",
    "overlay": "it goes with its container",
}


def filesystem(path: Path, mounts: str) -> str:
    """The type of the file system that `path` (absolute, resolved) is on, by the text of /proc/self/mountinfo; empty
    when that does not tell."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4]))
        # Of two at one place, the later one lies on top.
        if (path == point or point in path.parents) and len(point.parts) >= best:
            best, kind = len(point.parts), after.split(" ")[0]
    return kind


def disk(data_dir: Path, mounts: str) -> Iterator[Finding]:
    """The file system of the data."""
    kind = filesystem(_existing(data_dir).resolve(), mounts)
    if not kind:
        yield ok(SUBJECT, "file system", "this machine does not tell of which kind it is")
    elif kind in NETWORK:
        text = f"{data_dir} is on a network file system ({kind}), where the catalogue can be damaged"
        yield bad(SUBJECT, "file system", text, "set [archiver] data_dir to a folder on a local disk")
    elif kind in DOUBTFUL:
        text = f"{data_dir} is on {kind}, where locks and flushes may not hold"
        yield warn(SUBJECT, "file system", text, "set [archiver] data_dir to a folder on a local disk")
    elif kind in FORGETFUL:
        text = f"{data_dir} is on {kind}: {FORGETFUL[kind]}"
        yield warn(SUBJECT, "file system", text, "keep data_dir on a disk, in a container on a volume")
    else:
        yield ok(SUBJECT, "file system", f"{data_dir} is on {kind}")


def permissions(data_dir: Path, user: int) -> Iterator[Finding]:
    """Whether this user, and nobody else, can read and write the data."""
    place = _existing(data_dir)
    if not place.is_dir():
        yield bad(SUBJECT, "permissions", f"{place} is no folder", "move it away, or set another data_dir", STOPS)
        return
    if not os.access(place, os.W_OK | os.X_OK):
        yield bad(SUBJECT, "permissions", f"cannot write into {place}", f"chown it to uid {user}", STOPS)
        return
    if place != data_dir:
        yield ok(SUBJECT, "permissions", f"{data_dir} is not there yet; the first command that works makes it, private")
        return
    open_to_others = [path for path in (data_dir, *sorted(data_dir.iterdir())) if _mode(path) & 0o077]
    strange = [path for path in (data_dir, *data_dir.glob("catalogue.db*")) if path.lstat().st_uid != user]
    if strange:
        text = f"{strange[0]} belongs to uid {strange[0].lstat().st_uid}, and this is uid {user}"
        yield warn(SUBJECT, "permissions", text, "run archiver always as the same user; chown what is in data_dir")
    if open_to_others:
        names = ", ".join(str(path) for path in open_to_others[:3])
        text = f"others on this machine may read temporary URLs and prompts: {names}"
        yield warn(SUBJECT, "permissions", text, f"chmod -R go-rwx {data_dir}")
    elif not strange:
        yield ok(SUBJECT, "permissions", f"{data_dir} is private")


def room(data_dir: Path, free_bytes: Callable[[Path], int], min_free: int) -> Iterator[Finding]:
    """Whether the disk has room to ask for an image."""
    free, needed = free_bytes(_existing(data_dir)), disk_needed(min_free, urls=0, inline=1)
    said = f"{free / 1e9:.1f} GB free"
    if free < needed:
        text = f"{said}, and {needed / 1e9:.1f} GB are needed to ask for an image"
        yield bad(SUBJECT, "free space", text, "free some space, or set [archiver] min_free lower", STOPS)
    elif free < 4 * needed:
        yield warn(SUBJECT, "free space", f"{said}: little for an outage of a store", "free some space")
    else:
        yield ok(SUBJECT, "free space", said)


def open_to_all(path: Path) -> Iterator[str]:
    """What everybody on this machine may do with a file: `read` it, `change` it."""
    mode = _mode(path)
    if mode & stat.S_IROTH:
        yield "read"
    if mode & (stat.S_IWOTH | stat.S_IWGRP):
        yield "change"


def _mode(path: Path) -> int:
    found = path.lstat()
    return 0 if stat.S_ISLNK(found.st_mode) else stat.S_IMODE(found.st_mode)


def _existing(path: Path) -> Path:
    return next((place for place in (path, *path.parents) if place.exists()), path)
