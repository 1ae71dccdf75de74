"""How many facts are where? The counters of one recorder, and whoever waits for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

__all__ = ("Counted", "Goal", "Lane", "RecorderStats", "Tally")

_QUEUE_BOUND = 8_000
"""Facts that may wait at once; what comes beyond them does not go to memory, but to the journal only."""
_HELD_BOUND = 20_000
"""Facts that memory holds at most where the journal cannot take them."""
_BEHIND = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderStats:
    """Counters of one recorder since it was made, in facts (calls and runs, and what was said in calls)."""

    recorded: int
    stored: int
    pending: int
    """Neither stored yet, nor given up."""
    dropped: int
    """Not kept anywhere: neither the journal nor the memory had room, or somebody deleted the journal."""
    refused: int
    """Refused by the database for a value in them; kept beside the journal in a `.bad` file."""
    unprotected: int
    """Of those pending, how many wait in memory only, since the journal could not take them: a kill loses them."""
    recovered: int
    """Delivered from journals of ended processes; not among those recorded."""
    unreadable: int
    """Lines of journals that could not be delivered: spoiled on the disk, or, of ended processes, refused by the
    database. They are kept in the `.bad` file.
    """
    last_error: str | None


@dataclass(slots=True)
class Lane:
    """Facts that get to the store in about the order in which they were taken."""

    taken: int = 0
    settled: int = 0

    @property
    def waiting(self) -> int:
        """How many of them are not at its end."""
        return self.taken - self.settled


class Counted(Protocol):
    """Facts that are being recorded."""

    lane: Lane | None
    """Where they are counted, for as long as nobody but their recorder answers for them."""


Goal = tuple[int, int]
"""How many facts have to be settled, of those held in memory, and of those spilled to the journal."""


class Tally:
    """The counters. Thread-safe; a signal's handler may ask for them, too, whatever it interrupted.

    They stay right when an interrupt breaks recording off: none comes between a count and the note of it in
    `Counted.lane`, where nothing is called; nor between taking the lock and its block, as it may in a condition's.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._progress = threading.Condition(self._lock)
        self._memory, self._spill = Lane(), Lane()
        self._moved = self._stored = self._dropped = self._refused = self._unprotected = self._recovered = (
            self._unreadable
        ) = 0
        self._is_recovering = self._is_still = False
        self.last_error: str | None = None

    @property
    def is_behind(self) -> bool:
        """Whether so much waits that nobody should add to what it holds in memory."""
        return self._memory.waiting + self._spill.waiting > _BEHIND

    def take(self, facts: Counted, count: int, *, is_large: bool = False) -> bool:
        """Count facts that are being recorded; tells whether they are to be spilled, since memory holds enough."""
        with self._lock:
            is_spill = self._memory.waiting + self._spill.waiting >= (_BEHIND if is_large else _QUEUE_BOUND)
            lane = self._spill if is_spill else self._memory
            lane.taken += count
            facts.lane = lane
            return is_spill

    def hold(self, facts: Counted, count: int) -> bool:
        """Move facts that could not be spilled to memory; tells whether that has room for them."""
        with self._lock:
            if self._memory.waiting >= _HELD_BOUND:
                return False
            self._memory.taken += count
            self._spill.settled += count
            self._moved += count
            facts.lane = self._memory
            self._progress.notify_all()
            return True

    def drop(self, facts: Counted, count: int) -> None:
        """Count facts as dropped, unless they were not taken at all, or somebody else answers for them."""
        with self._lock:
            lane = facts.lane
            if lane is None:
                return
            lane.settled += count
            self._dropped += count
            facts.lane = None
            self._progress.notify_all()

    def settle(
        self,
        count: int,
        *,
        is_spill: bool,
        stored: int = 0,
        refused: int = 0,
        unreadable: int = 0,
        dropped: int = 0,
    ) -> None:
        """Count facts of which nothing more will become."""
        with self._lock:
            lane = self._spill if is_spill else self._memory
            # the journal may have facts that were counted as dropped, where recording was broken off after it got them
            lane.settled = min(lane.settled + count, lane.taken)
            self._stored += stored
            self._refused += refused
            self._unreadable += unreadable
            self._dropped += dropped
            self._progress.notify_all()

    def note_unprotected(self, count: int) -> None:
        """Count facts that memory alone holds, or (below zero) no longer holds alone."""
        with self._lock:
            self._unprotected += count

    def note_recovering(self, *, is_recovering: bool) -> None:
        """Say whether journals of ended processes are being looked for and delivered."""
        with self._lock:
            self._is_recovering = is_recovering
            self._progress.notify_all()

    def wait_for_recovery(self, timeout: float) -> bool:
        """Wait until they are, or the seconds are over; tells whether they are."""
        with self._lock:
            return self._progress.wait_for(lambda: not self._is_recovering, timeout)

    def note_recovered(self, delivered: int, lost: int) -> None:
        """Count what came of a dead process's journal."""
        with self._lock:
            self._recovered += delivered
            self._unreadable += lost

    def goal(self) -> Goal:
        """What has to be settled for all that is taken now to be settled."""
        with self._lock:
            return self._memory.taken, self._spill.taken

    def wait_for(self, goal: Goal, timeout: float | None) -> bool:
        """Wait until a goal is reached, or the seconds are over; tells whether it is."""
        with self._lock:
            return self._progress.wait_for(
                lambda: self._memory.settled >= goal[0] and self._spill.settled >= goal[1], timeout
            )

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits."""
        return not self._memory.waiting and not self._spill.waiting

    @contextmanager
    def standing_still(self) -> Iterator[bool]:
        """Let nobody take facts for the while; tells whether nothing waits. It is False for a signal's handler that
        interrupted the one for whom they stand still already.
        """
        with self._lock:
            if self._is_still:
                yield False
                return
            self._is_still = True
            try:
                yield self.is_idle
            finally:
                self._is_still = False

    def stats(self) -> RecorderStats:
        """The counters now."""
        with self._lock:
            return RecorderStats(
                recorded=self._memory.taken + self._spill.taken - self._moved,
                stored=self._stored,
                pending=self._memory.waiting + self._spill.waiting,
                dropped=self._dropped,
                refused=self._refused,
                unprotected=self._unprotected,
                recovered=self._recovered,
                unreadable=self._unreadable,
                last_error=self.last_error,
            )

    def forget_after_fork(self) -> None:
        """In a forked child: what waits belongs to the parent."""
        self._lock = threading.RLock()
        self._progress = threading.Condition(self._lock)
        self._is_still = False
        for lane in (self._memory, self._spill):
            lane.taken = lane.settled
        self._unprotected = 0
        self._is_recovering = False
