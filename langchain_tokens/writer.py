"""Who brings facts to the store? One daemon thread: those in memory, those in the journal only, those of the dead.

It does so in turns, a batch of each at a time, so that none holds up the others.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from langchain_tokens.codec import Fact, encode
from langchain_tokens.delivery import Delivery, Pending, Watch
from langchain_tokens.journal import Journal
from langchain_tokens.recovery import Refine, Sink
from langchain_tokens.segments import Segment
from langchain_tokens.tally import Goal, Tally
from langchain_tokens.trouble import Warnings

__all__ = ("Writer",)

_LINGER_SECONDS = 0.05
_IDLE_SECONDS = 1.0
_STUMBLE_SECONDS = 0.5
_PAUSE_SECONDS = 1.0


class _Worker(threading.Thread):
    """A thread, what ends it, and whether it has: Python's `join` and `is_alive` may fail where several threads ask."""

    def __init__(self, work: Callable[[_Worker], None]) -> None:
        super().__init__(target=work, args=(self,), name="langchain_tokens-writer", daemon=True)
        self.stopping = threading.Event()
        self.has_ended = threading.Event()


class Writer:
    """The thread, begun when there is something to do, and what waits for it. Thread-safe."""

    def __init__(
        self, sink: Sink, journal: Journal | None, tally: Tally, warnings: Warnings, watch: Watch | None = None
    ) -> None:
        self._journal = journal
        self._tally = tally
        self._warnings = warnings
        self._delivery = Delivery(sink, journal, tally, warnings, watch)
        self._queue: queue.SimpleQueue[Pending | None] = queue.SimpleQueue()
        self._left: deque[Pending] = deque()
        """What an earlier thread could not deliver."""
        self._batch: Sequence[Pending] = ()
        """What is being delivered."""
        self._thread: _Worker | None = None
        self._ending: list[_Worker] = []
        """Threads that were told to end, and have not yet."""
        self._starting = threading.RLock()
        self._is_starting = False
        self._pausing = threading.RLock()
        self._pausers: set[int] = set()
        """Threads that fork now, for which the delivery is held up."""

    def refine_with(self, refine: Refine) -> None:
        """Say what is done to calls of which only a journal's line is left."""
        self._delivery.refine = refine

    def append(self, facts: tuple[Fact, ...], *, is_spill: bool, is_large: bool = False) -> Segment | None:
        """Make facts survive the process; None where the journal cannot take them, or only without what is large."""
        if self._journal is None:
            return None
        try:
            lines = b"".join(map(encode, facts))
            return self._journal.append(lines, len(facts), is_spill=is_spill, is_large=is_large)
        except OSError as error:
            if is_large:
                return None
            self._tally.last_error = str(error)
            folder = self._journal.folder
            message = f"the journal in {folder} cannot be written; until it can, a kill loses what is not stored yet"
            self._warnings.once("journal", message, error)
            return None

    def put(self, item: Pending) -> None:
        """Hand something over."""
        if item.segment is None:
            self._tally.note_unprotected(len(item.facts))
        item.lane = None
        self._queue.put(item)
        self.begin()

    def begin(self) -> None:
        """See to it that there is a thread, as for what only the journal has."""
        if self._thread is None:
            self._start()

    @property
    def is_running(self) -> bool:
        """Whether there is a thread, be it one that is to end."""
        return self._thread is not None or bool(self._ending)

    def wait_for(self, goal: Goal, timeout: float | None) -> bool:
        """Hurry until a goal of the tally is reached, or the time is over; tells whether it is."""
        if not self._start() or threading.current_thread() is self._thread:
            return self._tally.wait_for(goal, 0)
        self._delivery.note_waiting(1)
        try:
            self._wake()
            return self._tally.wait_for(goal, timeout)
        finally:
            self._delivery.note_waiting(-1)

    def stop(self, timeout: float) -> bool:
        """End the thread; False when it, or one that another close has told to end, does not do so in time, since the
        store holds it up: it will, when it can.
        """
        with self._starting:
            if self._thread is not None:
                self._ending.append(self._thread)
            self._thread, ending = None, tuple(self._ending)
        for worker in ending:
            worker.stopping.set()
            self._wake()
        end = time.monotonic() + timeout
        return all(worker.has_ended.wait(max(0, end - time.monotonic())) for worker in ending)

    def secure(self) -> int:
        """Try once more to get into the journal what it has not; returns how many facts end with this process."""
        waiting: list[Pending] = []
        with suppress(queue.Empty):  # which a thread that the store holds up may empty, too
            while True:
                item = self._queue.get_nowait()
                waiting += [] if item is None else [item]
        self._left.extend(waiting)
        lost = sum(len(item.facts) for item in (*self._batch, *self._left) if not self._is_secured(item))
        return lost + (0 if self._journal is None else self._journal.lost_spill)

    def pause(self) -> None:
        """Before a fork: let the thread finish its batch, so that the child inherits nothing half done.

        Waits a second at most; a store that takes longer is not worth holding the host up for. Threads that fork at the
        same time hold it up together.
        """
        end = time.monotonic() + _PAUSE_SECONDS
        self._delivery.note_waiting(1)
        try:
            if self._pausing.acquire(timeout=_PAUSE_SECONDS):
                try:
                    if self._pausers or self._delivery.busy.acquire(timeout=max(0, end - time.monotonic())):
                        self._pausers.add(threading.get_ident())
                finally:
                    self._pausing.release()
        finally:
            self._delivery.note_waiting(-1)

    def resume(self) -> None:
        """After a fork, in the parent, by the thread that forked; of several, the last one lets go."""
        me = threading.get_ident()
        if me not in self._pausers:  # it waited in vain
            return
        with self._pausing:
            if me in self._pausers:  # still, unless a signal's handler has forked meanwhile
                self._pausers.remove(me)
                if not self._pausers:
                    self._delivery.busy.release()

    def _wake(self) -> None:
        self._queue.put(None)
        self._delivery.hurry.set()

    def _start(self) -> bool:
        """Begin the thread, if there is none; tells whether there is one. Where none can be made, as at the end of the
        interpreter, all stays in the journal.
        """
        with self._starting:
            if self._thread is not None or self._is_starting:  # the latter for a signal's handler that interrupted it
                return self._thread is not None
            self._is_starting = True
            try:
                return self._start_thread()
            finally:
                self._is_starting = False

    def _start_thread(self) -> bool:
        thread = _Worker(self._work)
        try:
            self._tally.note_recovering(is_recovering=True)
            thread.start()
        except BaseException as error:
            thread.stopping.set()  # an interrupt may come when the thread is at work already
            self._tally.note_recovering(is_recovering=False)
            if not isinstance(error, RuntimeError):
                raise
            self._warnings.once("thread", "no writer thread can be started; calls wait in the journal", error)
            return False
        self._thread = thread
        return True

    def _is_secured(self, item: Pending) -> bool:
        before, count = item.segment, len(item.facts)
        if before is not None and not before.is_gone:
            return True
        segment = self.append(item.facts, is_spill=False)
        if segment is None or self._journal is None:
            return False
        item.segment = segment
        self._delivery.give_back(before, count)
        return True

    def _work(self, worker: _Worker) -> None:
        try:
            while not worker.stopping.is_set():
                self._take_turn_safely(worker.stopping)
            self._delivery.stop_recovering()
        finally:
            with self._starting:  # so that another one can be begun, whatever ended this one
                if self._thread is worker:
                    self._thread = None
                if worker in self._ending:
                    self._ending.remove(worker)
            worker.has_ended.set()

    def _take_turn_safely(self, stopping: threading.Event) -> None:
        try:
            self._take_turn(stopping)
        except BaseException as error:  # noqa: BLE001  # no slip may end the thread while calls come in
            self._tally.last_error = str(error)
            self._warnings.once(f"writer {type(error).__name__}", "the writer thread stumbled, and goes on", error)
            stopping.wait(_STUMBLE_SECONDS)

    def _take_turn(self, stopping: threading.Event) -> None:
        journal, delivery = self._journal, self._delivery
        has_more = delivery.recover_some()
        if journal is not None and not stopping.is_set():
            has_more |= delivery.deliver_spilled(journal, stopping)
        batch = [] if stopping.is_set() else self._next_batch(0 if has_more else _IDLE_SECONDS)
        if batch:
            self._deliver(batch, stopping)
        elif journal is not None and not has_more:
            journal.tidy()

    def _deliver(self, batch: list[Pending], stopping: threading.Event) -> None:
        self._batch, is_delivered = batch, False
        try:
            is_delivered = self._delivery.deliver(batch, stopping)
        finally:
            self._batch = ()
            if not is_delivered:  # for a later thread of this process, or the next opener of the journal
                self._left.extendleft(reversed(batch))

    def _next_batch(self, seconds: float) -> list[Pending]:
        """Wait some time for a fact, then a moment for more, unless somebody is in a hurry.

        The moment is slept, not spent in `get`: to wake this thread for each fact would slow the host's threads down.
        """
        most = self._delivery.most
        batch = self._take_left(most)
        if not batch:
            try:
                first = self._queue.get(block=seconds > 0, timeout=seconds or None)
            except queue.Empty:
                return []
            batch = [] if first is None else [first]
        if self._queue.qsize() < most and seconds > 0:
            self._delivery.hurry.wait(_LINGER_SECONDS)
            self._delivery.hurry.clear()
        while len(batch) < most:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            batch += [] if item is None else [item]
        return batch

    def _take_left(self, most: int) -> list[Pending]:
        batch: list[Pending] = []
        while len(batch) < most:
            try:
                batch.append(self._left.popleft())
            except IndexError:  # also when a thread that is ending has taken the last one
                break
        return batch
