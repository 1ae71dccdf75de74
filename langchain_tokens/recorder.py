"""What happens to a fact? It goes to the journal at once, and from there, priced and in batches, to the store.

`record` is all that the host waits for: one append and one put. A daemon thread for each store does the rest. What the
thread cannot deliver stays in the journal, for a later try or for whoever opens the store next.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from langchain_tokens.call import Call, RunFact
from langchain_tokens.codec import decode, encode
from langchain_tokens.journal import Journal, Segment
from langchain_tokens.recovery import BATCH, Refine, Sink, add_or_set_aside, recover, refined
from langchain_tokens.trouble import Warnings

__all__ = ("Recorder", "RecorderStats")

_LINGER_SECONDS = 0.05
_PACE_SECONDS = 0.0005
"""Between two calls, while the writer is not behind: it could still take a thousand calls a second."""
_QUEUE_BOUND = 20_000
_BEHIND = 500
_RETRY_SECONDS = (0.1, 0.5, 2.0, 5.0, 15.0, 30.0)
_CLOSE_SECONDS = 5.0
_GIVE_UP_SECONDS = 0.2
_PAUSE_SECONDS = 1.0
Settle = Callable[[Call], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderStats:
    """Counters of one recorder since it was made, in facts (calls and runs)."""

    recorded: int
    stored: int
    pending: int
    dropped: int
    """Not kept anywhere: neither the journal nor the memory had room."""
    refused: int
    """Refused by the database for a value in them; kept beside the journal in a `.bad` file."""
    last_error: str | None


@dataclass(slots=True)
class _Pending:
    facts: tuple[Call | RunFact, ...]
    refine: Refine | None
    settle: Settle | None
    segment: Segment | None


class Recorder:
    """The way of facts into one store. Thread-safe; usable again after `close`."""

    def __init__(self, sink: Sink, journal_folder: Path | None, *, warnings: Warnings | None = None) -> None:
        self.sink = sink
        self._folder = journal_folder
        self._journal = Journal(journal_folder) if journal_folder is not None else None
        self._warnings = warnings or Warnings()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._start_over()
        self._recorded = self._settled = self._stored = self._dropped = self._refused = 0
        self._last_error: str | None = None
        self._refine: Refine | None = None

    def record(
        self,
        *facts: Call | RunFact,
        refine: Refine | None = None,
        refine_this: Refine | None = None,
        settle: Settle | None = None,
    ) -> None:
        """Take facts; when this returns they survive the process, as long as the journal can be written.

        Args:
            facts: what to store.
            refine: what the writer thread does to a call before it is stored, such as pricing; must not raise. Also
                done to calls of which only the journal's line is left.
            refine_this: done to these facts in its place, where more is known of them than their records say.
            settle: told the refined call, in the writer thread.

        """
        with self._lock:
            self._recorded += len(facts)
            self._refine = refine or self._refine
            is_full = self._recorded - self._settled > _QUEUE_BOUND
        segment = self._append(facts)
        if is_full:
            self._spill(segment, len(facts))
            return
        self._queue.put(_Pending(facts, refine_this or refine, settle, segment))
        if self._thread is None:
            self._start()

    @property
    def is_behind(self) -> bool:
        """Whether so much waits that nobody should add to what it holds in memory."""
        return self._recorded - self._settled > _BEHIND

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all that was recorded so far is in the store.

        Args:
            timeout: seconds; None waits as long as it takes.

        Returns:
            Whether it is.

        """
        with self._lock:
            goal = self._recorded
            if self._settled >= goal:
                return True
            self._waiting += 1
        try:
            if self._thread is None:
                self._start()
            self._queue.put(None)
            self._hurry.set()
            with self._progress:
                return self._progress.wait_for(lambda: self._settled >= goal, timeout)
        finally:
            with self._lock:
                self._waiting -= 1

    def close(self, timeout: float = _CLOSE_SECONDS) -> bool:
        """Deliver what can be delivered in `timeout` seconds, and stop. What is left stays in the journal."""
        done = self.flush(timeout)
        with self._lock:
            thread, stopping = self._thread, self._stopping
            self._thread, self._stopping = None, threading.Event()
        stopping.set()
        self._queue.put(None)
        self._hurry.set()
        if thread is not None:
            thread.join(timeout if done else _GIVE_UP_SECONDS)
            if thread.is_alive():
                return False  # the store holds it up; it is a daemon, and the journal keeps what it has not delivered
        with self._lock:  # a call that is being recorded waits here, and goes on with a new thread and journal
            if self._recorded != self._settled or self._thread is not None:
                return False
            self.sink.close()
            if self._journal is not None:
                self._journal.close()
        return True

    def pause(self) -> None:
        """Before a fork: let the writer finish its batch, so that the child inherits nothing half done.

        Waits a second at most; a store that takes longer is not worth holding the host up for.
        """
        self._is_wanted = True
        self._is_paused = self._busy.acquire(timeout=_PAUSE_SECONDS)
        self._is_wanted = False

    def resume(self) -> None:
        """After a fork, in the parent."""
        if self._is_paused:
            self._is_paused = False
            self._busy.release()

    def stats(self) -> RecorderStats:
        """The counters now."""
        with self._lock:
            return RecorderStats(
                recorded=self._recorded,
                stored=self._stored,
                pending=self._recorded - self._settled,
                dropped=self._dropped,
                refused=self._refused,
                last_error=self._last_error,
            )

    def forget_after_fork(self) -> None:
        """In a forked child: what is queued belongs to the parent; begin anew with a journal of our own."""
        self.sink.forget_after_fork()
        if self._journal is not None:
            self._journal.forget_after_fork()
        self._recorded = self._settled
        self._start_over()

    def _start_over(self) -> None:
        self._lock = threading.Lock()
        self._progress = threading.Condition(self._lock)
        self._queue: queue.SimpleQueue[_Pending | None] = queue.SimpleQueue()
        self._hurry = threading.Event()
        self._busy = threading.Lock()
        """Held while the writer refines or stores."""
        self._waiting = 0
        """How many wait in `flush`."""
        self._is_wanted = False
        """`pause` waits."""
        self._is_paused = False
        self._stopping = threading.Event()
        self._thread = None

    def _append(self, facts: tuple[Call | RunFact, ...]) -> Segment | None:
        if self._journal is None:
            return None
        try:
            return self._journal.append(b"".join(map(encode, facts)), len(facts))
        except OSError as error:
            self._last_error = str(error)
            message = (
                f"the journal in {self._folder} cannot be written; until it can, a kill loses what is not stored yet"
            )
            self._warnings.once("journal", message, error)
            return None

    def _spill(self, segment: Segment | None, count: int) -> None:
        """Too much waits in memory (the database is slow or gone): leave it to the journal, or count it as lost."""
        with self._lock:
            if segment is not None:
                segment.spilled += count
                return
            self._dropped += count
            self._settled += count
        self._warnings.once("dropped", "the store takes nothing and the journal neither: calls are being dropped")

    def _start(self) -> None:
        thread = threading.Thread(
            target=self._work, args=(self._stopping,), name="langchain_tokens-writer", daemon=True
        )
        with self._lock:
            if self._thread is not None:
                return
            self._thread = thread
        thread.start()

    def _work(self, stopping: threading.Event) -> None:
        with self._busy:
            self._recover()
        while not stopping.is_set():
            try:
                self._work_once(stopping)
            except Exception as error:  # noqa: BLE001  # no slip may end the thread while calls come in
                self._last_error = str(error)
                self._warnings.once(f"writer {type(error).__name__}", "the writer thread stumbled, and goes on", error)

    def _work_once(self, stopping: threading.Event) -> None:
        batch = self._next_batch()
        if batch:
            self._deliver(batch, stopping)
        elif self._journal is not None and not stopping.is_set():
            self._deliver_spilled(self._journal, stopping)
            self._journal.tidy()

    def _next_batch(self) -> list[_Pending]:
        """Wait up to a second for a fact, then a moment for more, unless somebody is in a hurry.

        The moment is slept, not spent in `get`: to wake this thread for each fact would slow the host's threads down.
        """
        try:
            first = self._queue.get(timeout=1.0)
        except queue.Empty:
            return []
        if self._queue.qsize() < BATCH:
            self._hurry.wait(_LINGER_SECONDS)
            self._hurry.clear()
        batch = [] if first is None else [first]
        while len(batch) < BATCH:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if item is not None:
                batch.append(item)
        return batch

    def _deliver(self, batch: list[_Pending], stopping: threading.Event) -> None:
        with self._busy:
            facts = [fact for item in batch for fact in self._refined(item)]
        if not self._store(facts, stopping):
            for item in batch:  # for a later thread of this process, or the next opener of the journal
                self._queue.put(item)
            return
        if self._journal is not None:
            for item in batch:
                if item.segment is not None:
                    self._journal.release(item.segment, len(item.facts))
            self._journal.rotate()
        self._note_settled(len(facts))

    def _refined(self, item: _Pending) -> list[Call | RunFact]:
        # Lets go of the interpreter, so that pricing does not hold a host's thread up; and where nobody waits for it,
        # leaves time in which most events of the host do not meet this thread at all.
        is_in_haste = self._waiting or self._is_wanted or self.is_behind
        time.sleep(0 if is_in_haste else _PACE_SECONDS)
        facts = [refined(fact, item.refine, self._warnings) for fact in item.facts]
        for fact in facts:
            if item.settle is not None and isinstance(fact, Call):
                item.settle(fact)
        return facts

    def _store(self, facts: Sequence[Call | RunFact], stopping: threading.Event) -> bool:
        """Store a batch, however long the database is away; False when the recorder stops before that."""
        tries = 0
        while True:
            try:
                with self._busy:
                    refused = add_or_set_aside(self.sink, facts, self._folder, self._warnings)
            except Exception as error:  # noqa: BLE001  # any sink, any trouble: the host must not notice
                self._last_error = str(error)
                self._warnings.once("store", "the store takes no calls now; they wait in the journal", error)
                if stopping.is_set():
                    return False
                self._hurry.wait(_RETRY_SECONDS[min(tries, len(_RETRY_SECONDS) - 1)])
                self._hurry.clear()
                tries += 1
            else:
                self._stored += len(facts) - len(refused)
                self._refused += len(refused)
                return True

    def _deliver_spilled(self, journal: Journal, stopping: threading.Event) -> None:
        """Memory has drained: take back what only the journal has."""
        if journal.has_spilled():
            journal.rotate(even_small=True)
        for segment in journal.spilled():
            lines = self._spilled_lines(segment)
            for start in range(0, len(lines), BATCH):
                batch = lines[start : start + BATCH]
                facts = [refined(decode(line), self._refine, self._warnings) for line in batch]
                if not self._store(facts, stopping):
                    return
            with self._lock:
                spilled, segment.spilled = segment.spilled, 0
            journal.release(segment, spilled)
            self._note_settled(spilled)

    def _spilled_lines(self, segment: Segment) -> list[bytes]:
        try:
            return segment.path.read_bytes().splitlines()
        except OSError as error:
            self._dropped += segment.spilled
            self._warnings.once(
                "spilled", f"the journal {segment.path} is gone, with calls that were not stored", error
            )
            return []

    def _recover(self) -> None:
        if self._folder is None:
            return
        try:
            recover(self._folder, self.sink, self._refine, self._warnings)
        except Exception as error:  # noqa: BLE001  # the journals stay for the next opener
            self._last_error = str(error)
            self._warnings.once("recover", "journals of ended processes could not be delivered yet", error)

    def _note_settled(self, count: int) -> None:
        with self._progress:
            self._settled += count
            self._progress.notify_all()
