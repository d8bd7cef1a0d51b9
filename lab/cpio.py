"""Writes the one archive format a Linux kernel unpacks as its first root: cpio "newc"."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One file, folder, link or device: `mode` carries its type, `content` its bytes or the link's target."""

    path: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def folder(path: str) -> Entry:
    """A directory anyone may enter."""
    return Entry(path, stat.S_IFDIR | 0o755)


def file(path: str, content: bytes, *, executable: bool = False) -> Entry:
    """A regular file, readable by all."""
    return Entry(path, stat.S_IFREG | (0o755 if executable else 0o644), content)


def link(path: str, target: str) -> Entry:
    """A symbolic link."""
    return Entry(path, stat.S_IFLNK | 0o777, target.encode())


def character_device(path: str, major: int, minor: int) -> Entry:
    """A device node; inside an archive this needs no privilege, unlike mknod."""
    return Entry(path, stat.S_IFCHR | 0o600, b"", (major, minor))


def archive(entries: Iterable[Entry]) -> bytes:
    """The archive's bytes; the same entries give the same bytes (all times are 0, all owners root)."""
    blob = bytearray()
    for number, entry in enumerate(entries, start=1):
        blob += _record(number, entry)
    blob += _record(0, Entry("TRAILER!!!", 0))
    return bytes(blob)


def _record(number: int, entry: Entry) -> bytes:
    name = entry.path.encode() + b"\0"
    major, minor = entry.device
    # magic, inode, mode, uid, gid, links, time, size, device (2), special device (2), name length, checksum
    numbers = (number, entry.mode, 0, 0, 1, 0, len(entry.content), 0, 0, major, minor, len(name), 0)
    header = b"070701" + b"".join(b"%08x" % value for value in numbers)
    return _padded(header + name) + _padded(entry.content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
