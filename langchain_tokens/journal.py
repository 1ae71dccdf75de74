"""Is it safe? An append-only local journal: a record that was appended survives the process, and is delivered once.

Each process writes segment files of its own, `<pid>-<unique>.<mark of the store>.jsonl`, one JSON line a record, and
holds a file lock on them while it lives. A segment whose lock is free was left by a dead process; `abandoned` hands it
to whoever opens its store next. A line counts as written when one `write` took all of it with its line feed; a torn
last line was never acknowledged.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from langchain_tokens.segments import (
    SUFFIX,
    Segment,
    create_segment,
    is_unlinked,
    mark_of,
    read_lines,
    remove_file,
    try_lock,
)

__all__ = ("Abandoned", "Journal", "abandoned")

_TRUNCATE_AT = 64 * 1024
_ROTATE_AT = 16 * 1024 * 1024
Outcome = TypeVar("Outcome")


class Journal:
    """The segments that this process writes. Thread-safe; its lock is held for one `write` (and its sync) at most.

    Records that are also in memory, and those that are in the journal only (spilled), lie in different segments.

    Args:
        folder: where they lie; made when it is needed.
        mark: tells them from those of other stores in the folder.
        max_bytes: what the segments in the folder may take together, those of other processes too.
        is_synced: whether what is appended survives a loss of power, not only the end of the process.

    """

    def __init__(self, folder: Path, *, mark: str = "", max_bytes: int = 1 << 30, is_synced: bool = False) -> None:
        self.folder = folder
        self._mark = mark
        self.is_synced = is_synced
        self._max_bytes = max_bytes
        self._lock = threading.RLock()
        self._is_changing = False
        """Whether whoever has the lock is in the middle of a change."""
        self._active: dict[bool, Segment] = {}
        """The segment that is written to: for what is spilled, and for what is not."""
        self._older: list[Segment] = []
        self._older_size = 0
        """Bytes in them."""
        self._foreign = 0
        """Bytes in other processes' segments, when this was last looked at."""

    def append(self, lines: bytes, count: int = 1, *, is_spill: bool = False, is_large: bool = False) -> Segment:
        """Append lines, each with its line feed; when this returns, they survive the process.

        Args:
            lines: the records.
            count: how many they are.
            is_spill: whether they are here only.
            is_large: whether only half of what the journal may take is for them.

        Raises:
            OSError: when they are not safe: no space, no permission, the journal at its bound. Nothing of them is left.

        """
        return self._change(lambda: self._append(lines, count, is_spill=is_spill, is_large=is_large))

    def release(self, segment: Segment, count: int) -> None:
        """Note that `count` records of a segment are in the database; its space is given back once all are."""
        self._change(lambda: self._release(segment, count))

    def tidy(self) -> None:
        """Empty what is written to if all of it is in the database, so that nothing is ever delivered anew."""
        with self._lock:
            for segment in self._active.values():
                if segment.size and segment.is_done:
                    segment.empty()

    def next_spilled(self) -> Segment | None:
        """The oldest segment with spilled records to deliver, to which no more are appended; None if there is none."""
        with self._lock:
            active = self._active.get(True)
            older = next((segment for segment in self._older if segment.is_spill and segment.waiting > 0), None)
            if older is None and active is not None and active.waiting > 0:
                self._retire(self._active.pop(True))
                return active
            return older

    @property
    def lost_spill(self) -> int:
        """Spilled records whose file somebody deleted: they can be taken back while this process lives, not later."""
        with self._lock:
            gone = [segment for segment in self._all() if segment.is_spill and segment.is_gone]
            return sum(segment.appended - segment.released for segment in gone)

    def close(self) -> None:
        """Give up the locks; segments with undelivered records stay for the next opener, the others go.

        Raises:
            OSError: when one of those could not be deleted; all are closed.

        """
        self._change(self._close)

    def forget_after_fork(self) -> None:
        """In a forked child: the segments belong to the parent; the child opens its own."""
        self._lock, self._is_changing = threading.RLock(), False
        for segment in self._all():
            segment.close()
        self._older, self._active, self._older_size = [], {}, 0

    def _change(self, step: Callable[[], Outcome]) -> Outcome:
        """Take a step alone. A signal's handler that closes or records may have interrupted its own thread in the
        middle of another one, which cannot end before the handler does: to wait for it would be for ever.

        Raises:
            OSError: what the step raises, or that there is such another one.

        """
        with self._lock:
            if self._is_changing:
                raise OSError(
                    f"the journal in {self.folder} was interrupted by a signal whose handler comes back to it"
                )
            self._is_changing = True
            try:
                return step()
            finally:
                self._is_changing = False

    def _append(self, lines: bytes, count: int, *, is_spill: bool, is_large: bool) -> Segment:
        segment = self._writable(is_spill=is_spill)
        self._keep_bound(len(lines), self._max_bytes // 2 if is_large else self._max_bytes)
        segment.write(lines, count, is_synced=self.is_synced)
        return segment

    def _release(self, segment: Segment, count: int) -> None:
        segment.released += count
        if not segment.is_done:
            return
        if segment in self._older:
            self._older.remove(segment)
            self._older_size -= segment.size
            segment.dispose()
        elif segment.size > _TRUNCATE_AT:
            segment.empty()

    def _close(self) -> None:
        segments, trouble = self._all(), None
        self._older, self._active, self._older_size = [], {}, 0
        for segment in segments:
            try:
                (segment.dispose if segment.is_done else segment.close)()
            except OSError as error:
                trouble = error
        with suppress(OSError):  # other processes' segments may lie there
            self.folder.rmdir()
        if trouble is not None:
            raise trouble

    def _all(self) -> tuple[Segment, ...]:
        return (*self._older, *self._active.values())

    def _writable(self, *, is_spill: bool) -> Segment:
        """A segment to write to; a new one where the file was deleted, which would take lines and lose them."""
        segment = self._active.get(is_spill)
        if segment is None or segment.is_spoiled or os.fstat(segment.descriptor).st_nlink == 0:
            return self._open(is_spill=is_spill)
        if segment.size > _ROTATE_AT:
            with suppress(OSError):  # where no file can be made, the one that is there goes on
                return self._open(is_spill=is_spill)
        return segment

    def _open(self, *, is_spill: bool) -> Segment:
        segment = create_segment(self.folder, mark=self._mark, is_spill=is_spill, is_synced=self.is_synced)
        before = self._active.pop(is_spill, None)
        if before is not None:
            self._retire(before)
        self._active[is_spill] = segment
        self._foreign = self._measure_foreign()
        return segment

    def _retire(self, segment: Segment) -> None:
        if segment.is_done:
            with suppress(OSError):  # it is closed, and what the next opener delivers of it has no effect
                segment.dispose()
        else:
            self._older.append(segment)
            self._older_size += segment.size

    def _keep_bound(self, more: int, bound: int) -> None:
        own = self._older_size + more
        for segment in self._active.values():
            own += segment.size
        if own + self._foreign <= bound:
            return
        self._foreign = self._measure_foreign()  # others may have given space back
        if own + self._foreign > bound:
            raise OSError(f"the journal in {self.folder} is at its bound of {bound:,} bytes")

    def _measure_foreign(self) -> int:
        own = {segment.path for segment in self._all()}
        total = 0
        for path in self.folder.glob(f"*{SUFFIX}"):
            if path not in own:
                with suppress(OSError):  # delivered and removed by another process
                    total += path.stat().st_size
        return total


class Abandoned:
    """A segment whose owner is dead, held by this process's lock until it is closed or removed."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.place = (0, 0)
        """Where the lines that were handed out last begin and end, in bytes."""
        self._descriptor: int | None = descriptor

    def batches(self, most: int) -> Iterator[list[bytes]]:
        """Its whole lines, without their line feeds, so many at a time at most; a torn last line is left out."""
        end = 0
        while self._descriptor is not None:
            start = end
            lines, end = read_lines(self._descriptor, start, most)
            if not lines:
                return
            self.place = (start, end)
            yield lines

    def remove(self) -> None:
        """Delete the file, since all of it is delivered.

        Raises:
            OSError: when it cannot be; it stays for the next opener then, who delivers it again, to no effect.

        """
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            remove_file(self.path, descriptor)

    def close(self) -> None:
        """Give the lock up."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)


def abandoned(folder: Path, mark: str = "") -> Iterator[Abandoned]:
    """Yield the segments in a folder that dead processes left, by name, each locked while it is used; those of other
    stores are left alone.
    """
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        if mark_of(path) not in ("", mark):
            continue
        try:
            descriptor = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        except OSError:
            continue  # another process delivered and removed it, or we may not read it
        if not try_lock(descriptor) or is_unlinked(descriptor):
            os.close(descriptor)  # its owner lives, or another process has just delivered it
            continue
        segment = Abandoned(path, descriptor)
        try:
            yield segment
        finally:
            segment.close()
