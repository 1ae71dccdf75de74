"""What is one file of the journal? Lines that one process appends, under a lock that is free when the process ends."""

from __future__ import annotations

import os
import sys
import uuid
from contextlib import suppress
from pathlib import Path

from langchain_tokens.syncing import make_folder, sync_file, sync_folder

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ("SUFFIX", "Segment", "create_segment", "is_unlinked", "read_lines", "remove_file", "try_lock")

SUFFIX = ".jsonl"
_CREATE_TRIES = 5
_BINARY = getattr(os, "O_BINARY", 0)
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | _BINARY
_LINE_BYTES = 1 << 10
"""About what a line has; a call's has more, a run's less."""
_LONGEST_LINE = 64 << 20
"""Bytes; what is longer was not written here."""


class Segment:
    """One file of this process: how much was appended, and how much of that is in the database."""

    __slots__ = (
        "appended",
        "descriptor",
        "is_spill",
        "is_spoiled",
        "path",
        "read_to",
        "released",
        "size",
    )

    def __init__(self, path: Path, descriptor: int, *, is_spill: bool) -> None:
        self.path = path
        self.descriptor = descriptor
        self.is_spill = is_spill
        """Its records are in this file only, not in memory."""
        self.appended = 0
        self.released = 0
        self.size = 0
        self.read_to = 0
        """How many bytes of a spill were taken back."""
        self.is_spoiled = False
        """It ends in half a line, which would spoil the next one."""

    @property
    def is_done(self) -> bool:
        """Whether all of it is in the database."""
        return self.released >= self.appended

    @property
    def is_gone(self) -> bool:
        """Whether somebody deleted its file, so that it ends with this process."""
        try:
            return is_unlinked(self.descriptor)
        except OSError:  # it is closed
            return True

    def write(self, lines: bytes, count: int, *, is_synced: bool) -> None:
        """Append whole lines.

        Raises:
            OSError: when they are not all written (with `is_synced`, to the device); nothing of them is left then.

        """
        written, length = 0, len(lines)
        try:
            while written < length:
                written += os.write(self.descriptor, lines[written:])
            if is_synced:
                sync_file(self.descriptor)
        except BaseException:
            self._take_back()
            raise
        self.size += length  # calls nothing, so that no interrupt comes between a line and its count
        self.appended += count

    def empty(self) -> None:
        """Give its space back."""
        os.ftruncate(self.descriptor, 0)
        self.size = self.appended = self.released = 0

    def dispose(self) -> None:
        """Delete it."""
        remove_file(self.path, self.descriptor)

    def _take_back(self) -> None:
        try:
            os.ftruncate(self.descriptor, self.size)
        except OSError:
            self.is_spoiled = True


def create_segment(folder: Path, *, is_spill: bool, is_synced: bool) -> Segment:
    """Make a file in the folder, locked.

    Another process may take it for abandoned in the moment before it is locked, and remove it, and the folder too.

    Raises:
        OSError: where none can be made.

    """
    for _ in range(_CREATE_TRIES):
        make_folder(folder, is_synced=is_synced)
        path = folder / f"{os.getpid()}-{uuid.uuid4().hex}{SUFFIX}"
        with suppress(FileNotFoundError):
            descriptor = os.open(path, _FLAGS, 0o600)
            if try_lock(descriptor) and not is_unlinked(descriptor):
                if is_synced:
                    sync_folder(folder)
                return Segment(path, descriptor, is_spill=is_spill)
            remove_file(path, descriptor)
    raise OSError(f"no file can be made and locked in {folder}")


def read_lines(descriptor: int, start: int, most: int) -> tuple[list[bytes], int]:
    """Read lines from an offset on.

    Args:
        descriptor: the file's.
        start: the offset in bytes.
        most: how many lines; fewer where they are longer than a kilobyte on the average, but one in any case.

    Returns:
        The lines without their line feeds, and the offset after them; no line at the end. A torn last line is left out,
        since it was never acknowledged, unless it holds NULs, which a loss of power puts in the place of what was.

    """
    os.lseek(descriptor, start, os.SEEK_SET)
    text, wanted = b"", most * _LINE_BYTES
    while b"\n" not in text:
        more = os.read(descriptor, wanted)
        text, wanted = text + more, 2 * wanted
        if len(text) > _LONGEST_LINE or (not more and b"\0" in text):
            return [text], start + len(text)
        if not more:
            return [], start
    lines = text[: text.rindex(b"\n")].split(b"\n")[:most]
    return lines, start + sum(map(len, lines)) + len(lines)


def is_unlinked(descriptor: int) -> bool:
    """Whether the file of a descriptor has no name any more."""
    return os.fstat(descriptor).st_nlink == 0


def remove_file(path: Path, descriptor: int) -> None:
    """Delete a file whose lock is held, and give the lock up: nobody may get the lock before it is deleted."""
    if sys.platform == "win32":
        os.close(descriptor)  # what is open cannot be deleted there
    with suppress(FileNotFoundError):
        path.unlink()
    if sys.platform != "win32":
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Take a file's lock without waiting; it is free again when its owner's process ends, however it ends."""
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, 1 << 40, os.SEEK_SET)  # a byte beyond the records: Windows locks bar other writers
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
