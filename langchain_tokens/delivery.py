"""How does a batch leave this process? Priced, to the store however long that is away, and then out of the journal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from langchain_tokens.call import Call
from langchain_tokens.codec import Fact, encode
from langchain_tokens.journal import Journal
from langchain_tokens.portions import Portions
from langchain_tokens.recovery import (
    AT_ONCE,
    Pieces,
    Recovered,
    Refine,
    Sink,
    add_or_refuse,
    batch_size,
    keep_aside,
    make_lasting,
    read_facts,
    recovering,
    refined,
)
from langchain_tokens.segments import Segment, read_lines
from langchain_tokens.tally import Lane, Tally
from langchain_tokens.trouble import Warnings

__all__ = ("Delivery", "Pending", "Settle", "Watch")

_PACE_SECONDS = 0.0005
"""Between two calls, while the writer is not behind: it could still take a thousand calls a second."""
_RECOVER_SECONDS = 60.0
"""How often a writer looks for journals of processes that died meanwhile."""
_RETRY_SECONDS = (0.1, 0.5, 2.0, 5.0)
Settle = Callable[[Call], None]
Watch = Callable[[Sequence[Call]], None]


@dataclass(slots=True)
class Pending:
    """What was recorded at once, on its way."""

    facts: tuple[Fact, ...]
    refine: Refine | None
    settle: Settle | None
    segment: Segment | None
    """Where the journal has it; None where it has not."""
    lane: Lane | None = None
    """Where it is counted, until it is handed over."""


class Delivery:
    """What the writer thread does with a batch. One thread at a time gets to the store.

    No signal is raised in that thread: whatever is, even what ends programs or tests, is trouble of the code it calls.
    """

    def __init__(
        self, sink: Sink, journal: Journal | None, tally: Tally, warnings: Warnings, watch: Watch | None = None
    ) -> None:
        self._watch = watch
        """Told the calls that were stored."""
        self.refine: Refine | None = None
        """For what only a line of a journal is left of."""
        self.most = batch_size(sink.target)
        """Facts that go into one transaction."""
        self.busy = threading.Lock()
        """Held while something is refined or stored."""
        self.hurry = threading.Event()
        """Ends a wait for the store's next try."""
        self._sink = sink
        self._journal = journal
        self._tally = tally
        self._warnings = warnings
        self._lock = threading.Lock()
        self._waiting = 0
        """How many threads wait for this one."""
        self._spilling = threading.Lock()
        """Held while spilled records are taken back: a thread that the store held up may still be at it."""
        self._recovery: Iterator[Recovered] | None = None
        self._pieces: Pieces = {}
        self._portions = Portions()
        """For whoever holds `busy`."""
        self._recover_at = 0.0

    def note_waiting(self, more: int) -> None:
        """Count threads that wait: while there are any, no time is left between calls."""
        with self._lock:
            self._waiting += more

    def deliver(self, batch: Sequence[Pending], stopping: threading.Event) -> bool:
        """Deliver what is held in memory; False when the recorder stops before that."""
        with self.busy:
            facts = self._all_refined(batch)
        refused = self._store(facts, stopping)
        if refused is None:
            return False
        self._give_all_back(batch, facts, () if self._is_kept(refused) else refused)
        self._tally.settle(len(facts), is_spill=False, stored=len(facts) - len(refused), refused=len(refused))
        return True

    def deliver_spilled(self, journal: Journal, stopping: threading.Event) -> bool:
        """Deliver some of what only the journal has; tells whether there is any."""
        if not self._spilling.acquire(blocking=False):
            return False
        try:
            segment = journal.next_spilled()
            if segment is None:
                return False
            self._deliver_from(segment, stopping)
            return True
        finally:
            self._spilling.release()

    def recover_some(self) -> bool:
        """Deliver some of what ended processes left, from time to time; tells whether there was any."""
        if self._journal is None or (self._recovery is None and time.monotonic() < self._recover_at):
            self._tally.note_recovering(is_recovering=False)
            return False
        with self.busy:
            if self._recovery is None:
                self._recover_at = time.monotonic() + _RECOVER_SECONDS
                folder, sink = self._journal.folder, self._sink
                self._recovery = recovering(
                    folder, sink, self.refine, self._warnings, self._pieces, portions=self._portions
                )
            try:
                found = next(self._recovery, None)
            except BaseException as error:  # noqa: BLE001  # the journals stay for a later look, or the next opener
                found = None
                self._tally.last_error = str(error)
                self._warnings.once("recover", "journals of ended processes could not be delivered yet", error)
            if found is None:
                self._recovery = None
                self._tally.note_recovering(is_recovering=False)
                return False
        self._tally.note_recovered(found.delivered, found.refused + found.unreadable)
        return True

    def stop_recovering(self) -> None:
        """Leave to others what is not delivered of ended processes."""
        with self.busy:
            self._recovery, self._recover_at = None, 0.0
        self._tally.note_recovering(is_recovering=False)

    def give_back(self, segment: Segment | None, count: int) -> None:
        """Let the journal give up what is stored; where it cannot, what it keeps is delivered again, to no effect."""
        if segment is None or self._journal is None:
            self._tally.note_unprotected(-count)
            return
        try:
            self._journal.release(segment, count)
        except OSError as error:
            self._warnings.once("release", f"{segment.path} could not be emptied", error)

    def _deliver_from(self, segment: Segment, stopping: threading.Event) -> None:
        lines, end = read_lines(segment.descriptor, segment.read_to, self.most)
        left = segment.waiting
        if not lines:  # somebody cut the file off
            self.give_back(segment, left)
            self._tally.settle(left, is_spill=True, dropped=left)
            return
        facts, bad = read_facts(lines)
        refused = self._store([refined(fact, self.refine, self._warnings) for fact in facts], stopping)
        if refused is None:
            return
        segment.read_to, count = end, min(len(lines), left)
        only_here = 0 if self._is_kept(refused, bad.lines) else min(len(refused) + len(bad.lines), count)
        segment.kept_back += only_here
        self.give_back(segment, count - only_here)
        stored = len(facts) - len(refused)
        self._tally.settle(count, is_spill=True, stored=stored, refused=len(refused), unreadable=bad.count)

    def _give_all_back(self, batch: Sequence[Pending], facts: Sequence[Fact], only_here: Sequence[Fact]) -> None:
        """Let the journal give up a batch, but for what is nowhere else: it stays for the next opener."""
        left, place = set(map(id, only_here)), 0
        for item in batch:
            count = len(item.facts)
            own = facts[place : place + count] if left and item.segment is not None else ()
            place += count
            self.give_back(item.segment, count - sum(id(fact) in left for fact in own))

    def _is_kept(self, refused: Sequence[Fact], bad: Sequence[bytes] = ()) -> bool:
        """Keep aside what cannot be stored; tells whether it is, or there is no journal for it."""
        return self._journal is None or keep_aside(self._journal.folder, [*bad, *map(encode, refused)], self._warnings)

    def _all_refined(self, batch: Sequence[Pending]) -> list[Fact]:
        facts: list[Fact] = []
        for number, item in enumerate(batch):
            # Lets go of the interpreter, so that pricing does not hold a host's thread up; and where nobody waits for
            # it, leaves time in which most events of the host do not meet this thread at all.
            if not (self._waiting or self._tally.is_behind):
                time.sleep(_PACE_SECONDS)
            elif number % AT_ONCE == 0:
                time.sleep(0)
            facts += self._refined(item)
        return facts

    def _refined(self, item: Pending) -> list[Fact]:
        facts = [refined(fact, item.refine, self._warnings) for fact in item.facts]
        for fact in facts:
            if item.settle is not None and isinstance(fact, Call):
                self._settle(item.settle, fact)
        return facts

    def _settle(self, settle: Settle, call: Call) -> None:
        try:
            settle(call)
        except BaseException as error:  # noqa: BLE001  # what the memory makes of it must not keep it from the store
            self._warnings.once("settle", "a stored call could not be taken into memory", error)

    def _store(self, facts: Sequence[Fact], stopping: threading.Event) -> Sequence[Fact] | None:
        """Store a batch, however long the database is away; None when the recorder stops before that.

        Returns:
            What the store refused, and is to be kept aside.

        """
        tries = 0
        while True:
            try:
                with self.busy:
                    refused = add_or_refuse(self._sink, facts, self._warnings, self._portions)
                    if self._journal is not None and self._journal.is_synced:
                        make_lasting(self._sink)
            except BaseException as error:  # noqa: BLE001  # any sink, any trouble: the host must not notice
                self._tally.last_error = str(error)
                self._warnings.once("store", "the store takes no calls now; they wait in the journal", error)
                if stopping.is_set():
                    return None
                self.hurry.wait(_RETRY_SECONDS[min(tries, len(_RETRY_SECONDS) - 1)])
                self.hurry.clear()
                tries += 1
            else:
                self._tell(facts)
                return refused

    def _tell(self, facts: Sequence[Fact]) -> None:
        """Let whoever watches look at calls that were stored."""
        if self._watch is None:
            return
        with self.busy:
            self._watch([fact for fact in facts if isinstance(fact, Call)])
