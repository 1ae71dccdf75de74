"""Is it safe? An append-only local journal: a record that was appended survives the process, and is delivered once.

Each process writes segment files of its own, `<pid>-<unique>.jsonl`, one JSON line a record, and holds a file lock on
them while it lives. A segment whose lock is free was left by a dead process; `abandoned` hands it to whoever opens the
store next. A line counts as written when one `write` took all of it with its line feed; a torn last line was never
acknowledged.
"""

from __future__ import annotations

import os
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ("Abandoned", "Journal", "Segment", "abandoned")

_TRUNCATE_AT = 64 * 1024
_ROTATE_AT = 16 * 1024 * 1024
_SUFFIX = ".jsonl"
_CREATE_TRIES = 5
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)


class Segment:
    """One journal file of this process: how much was appended, and how much of that is in the database."""

    __slots__ = ("appended", "descriptor", "path", "released", "size", "spilled")

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor
        self.appended = 0
        self.released = 0
        self.size = 0
        self.spilled = 0
        """Records that are in this file only, no longer in memory."""


class Journal:
    """The segments that this process writes. Thread-safe; its lock is held for one `write` at most."""

    def __init__(self, folder: Path, *, max_bytes: int = 1 << 30) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._active: Segment | None = None
        self._older: list[Segment] = []

    def append(self, lines: bytes, count: int = 1) -> Segment:
        """Append lines, each with its line feed; when this returns, they survive the process.

        Raises:
            OSError: when they are not safe: no space, no permission, the journal at its bound. Nothing of them is left.

        """
        with self._lock:
            segment = self._writable()
            older = sum([older.size for older in self._older]) if self._older else 0
            if older + segment.size + len(lines) > self._max_bytes:
                raise OSError(f"the journal in {self.folder} is at its bound of {self._max_bytes:,} bytes")
            _write_whole(segment, lines)
            segment.size += len(lines)
            segment.appended += count
            return segment

    def release(self, segment: Segment, count: int) -> None:
        """Note that `count` records of a segment are in the database; its space is given back once all are."""
        with self._lock:
            segment.released += count
            if segment.released < segment.appended:
                return
            if segment is not self._active:
                self._dispose(segment)
            elif segment.size > _TRUNCATE_AT:
                _empty(segment)

    def tidy(self) -> None:
        """Empty the active segment if all of it is in the database, so that nothing is ever delivered anew."""
        with self._lock:
            segment = self._active
            if segment is not None and segment.size and segment.released >= segment.appended:
                _empty(segment)

    def rotate(self, *, even_small: bool = False) -> None:
        """Go on in a new segment when the active one has grown large, so that the old one can be given back."""
        with self._lock:
            segment = self._active
            if segment is None or not (even_small or segment.size > _ROTATE_AT):
                return
            self._active = None
            if segment.released >= segment.appended:
                self._dispose(segment)
            else:
                self._older.append(segment)

    def spilled(self) -> list[Segment]:
        """Older segments with records that are no longer in memory."""
        with self._lock:
            return [segment for segment in self._older if segment.spilled]

    def has_spilled(self) -> bool:
        """Tell whether any segment has such records."""
        with self._lock:
            return any(segment.spilled for segment in (*self._older, *([self._active] if self._active else [])))

    def close(self) -> None:
        """Give up the locks; segments with undelivered records stay for the next opener, the others go."""
        with self._lock:
            for segment in (*self._older, *([self._active] if self._active else [])):
                if segment.released >= segment.appended:
                    self._dispose(segment)
                else:
                    os.close(segment.descriptor)
            self._older, self._active = [], None
            with suppress(OSError):  # other processes' segments may lie there
                self.folder.rmdir()

    def forget_after_fork(self) -> None:
        """In a forked child: the segments belong to the parent; the child opens its own."""
        self._lock = threading.Lock()
        for segment in (*self._older, *([self._active] if self._active else [])):
            os.close(segment.descriptor)
        self._older, self._active = [], None

    def _writable(self) -> Segment:
        """The active segment; a new one where somebody deleted its file, which would take lines and lose them."""
        segment = self._active
        if segment is None:
            return self._open()
        if os.fstat(segment.descriptor).st_nlink == 0:
            self._older.append(segment)
            return self._open()
        return segment

    def _open(self) -> Segment:
        self._active = None
        name = f"{os.getpid()}-{uuid.uuid4().hex}"
        unlocked = self.folder / f".{name}"
        descriptor = self._create(unlocked)
        try:
            _lock(descriptor)
            path = unlocked.rename(self.folder / f"{name}{_SUFFIX}")  # only now can another process find it
        except OSError:
            os.close(descriptor)
            raise
        self._active = Segment(path, descriptor)
        return self._active

    def _create(self, path: Path) -> int:
        """Create a file in the folder, which another process that is done may remove at any moment."""
        for _ in range(_CREATE_TRIES):
            self.folder.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                return os.open(path, _FLAGS, 0o600)
        raise FileNotFoundError(f"the folder {self.folder} is removed again and again")

    def _dispose(self, segment: Segment) -> None:
        with suppress(FileNotFoundError):
            segment.path.unlink()
        os.close(segment.descriptor)
        if segment in self._older:
            self._older.remove(segment)


class Abandoned:
    """A segment whose owner is dead, held by this process's lock until it is closed."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def lines(self) -> Iterator[bytes]:
        """Its whole lines, without their line feeds; a torn last line is left out: it was never acknowledged."""
        with self.path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line[:-1]

    def remove(self) -> None:
        """Delete the file: all of it is delivered."""
        with suppress(FileNotFoundError):
            self.path.unlink()

    def close(self) -> None:
        """Give the lock up."""
        os.close(self._descriptor)


def abandoned(folder: Path) -> Iterator[Abandoned]:
    """Yield the segments in a folder that dead processes left, oldest name first, each locked while it is used."""
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        try:
            descriptor = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        except OSError:
            continue  # another process delivered and removed it, or we may not read it
        if not _try_lock(descriptor) or os.fstat(descriptor).st_nlink == 0:
            os.close(descriptor)  # its owner lives, or another process has just delivered it
            continue
        segment = Abandoned(path, descriptor)
        try:
            yield segment
        finally:
            segment.close()


def _write_whole(segment: Segment, line: bytes) -> None:
    written = 0
    try:
        while written < len(line):
            written += os.write(segment.descriptor, line[written:])
    except OSError:
        if written:
            os.ftruncate(segment.descriptor, segment.size)  # half a line would spoil the next one
        raise


def _empty(segment: Segment) -> None:
    os.ftruncate(segment.descriptor, 0)
    segment.size = segment.appended = segment.released = 0


def _try_lock(descriptor: int) -> bool:
    try:
        _lock(descriptor)
    except OSError:
        return False
    return True


def _lock(descriptor: int) -> None:
    """Take the file's lock without waiting; it is free again when its owner's process ends, however it ends."""
    if sys.platform == "win32":
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # a byte beyond the records: Windows locks bar other writers
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
