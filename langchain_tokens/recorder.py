"""What happens to a fact? It goes to the journal at once, and from there, priced and in batches, to the store.

`record` is all that the host waits for: one append and one put. A daemon thread for each store does the rest. What the
thread cannot deliver stays in the journal, for a later try or for whoever opens the store next.
"""

from __future__ import annotations

import math
import os
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from langchain_tokens.call import Call
from langchain_tokens.codec import Fact
from langchain_tokens.delivery import Pending, Settle
from langchain_tokens.errors import TokensError
from langchain_tokens.journal import Journal
from langchain_tokens.recovery import Refine, Sink
from langchain_tokens.said import ContentFact
from langchain_tokens.tally import RecorderStats, Tally
from langchain_tokens.trouble import Warnings
from langchain_tokens.writer import Writer

__all__ = ("Recorder", "RecorderStats", "Watcher")

_CLOSE_SECONDS = 5.0
_GIVE_UP_SECONDS = 0.2


class Watcher(Protocol):
    """What looks at calls once they are stored."""

    def after_store(self, calls: Sequence[Call], /) -> None:
        """Look at them; whatever it raises is logged."""


class Recorder:
    """The way of facts into one store. Thread-safe; usable again after `close`.

    Args:
        sink: the store.
        journal_folder: where facts lie until they are stored; None keeps them in memory only.
        warnings: logs trouble.
        is_synced: whether facts survive a loss of power too, not only the end of the process.

    """

    def __init__(
        self,
        sink: Sink,
        journal_folder: Path | None,
        *,
        warnings: Warnings | None = None,
        is_synced: bool = False,
    ) -> None:
        self.sink = sink
        self._journal = None
        if journal_folder is not None:
            mark = sink.target.mark_in(journal_folder)
            self._journal = Journal(journal_folder, mark=mark, is_synced=is_synced)
        self._warnings = warnings or Warnings()
        self._tally = Tally()
        self._watchers: weakref.WeakSet[Watcher] = weakref.WeakSet()
        self._begin()

    def record(
        self,
        *facts: Fact,
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
        if self._process != os.getpid():  # a server forked outside Python, whose hooks for that did not run
            self.forget_after_fork()
        if refine is not None:
            self._writer.refine_with(refine)
        item = Pending(facts, refine_this or refine, settle, None)
        try:
            self._take(item, self._writer)
        except BaseException:  # an interrupt may come at any point
            self._tally.drop(item, len(item.facts))
            raise

    def watch(self, watcher: Watcher) -> None:
        """Tell something of all calls that were stored, in the writer thread, for as long as it lives."""
        with self._watching:
            self._watchers.add(watcher)

    @property
    def is_behind(self) -> bool:
        """Whether so much waits that nobody should add to what it holds in memory."""
        return self._tally.is_behind

    def sync_always(self) -> None:
        """From now on, facts survive a loss of power too."""
        if self._journal is not None:
            self._journal.is_synced = True

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all that was recorded so far is in the store.

        Args:
            timeout: seconds; None waits as long as it takes.

        Returns:
            Whether it is.

        Raises:
            TokensError: when the timeout is no number of seconds.

        """
        limit, goal = _checked_seconds(timeout), self._tally.goal()
        return self._tally.wait_for(goal, 0) or self._writer.wait_for(goal, limit)

    def close(self, timeout: float = _CLOSE_SECONDS) -> bool:
        """Deliver what can be delivered in `timeout` seconds, and stop. What is left stays in the journal."""
        end = time.monotonic() + timeout
        done = self.flush(timeout) and self._tally.wait_for_recovery(end - time.monotonic())
        is_stopped = self._writer.stop(timeout if done else _GIVE_UP_SECONDS)
        if not (is_stopped and self._tally.is_idle):
            self._secure()  # a thread that the store holds up is a daemon, and ends with the process
            return False
        with (
            self._tally.standing_still() as is_idle
        ):  # what is recorded meanwhile goes on with a new thread and journal
            if not is_idle or self._writer.is_running:
                return False
            self.sink.close()
            self._close_journal()
        return True

    def pause(self) -> None:
        """Before a fork: let the writer finish its batch, for a second at most."""
        self._writer.pause()

    def resume(self) -> None:
        """After a fork, in the parent."""
        self._writer.resume()

    def stats(self) -> RecorderStats:
        """The counters now."""
        return self._tally.stats()

    def forget_after_fork(self) -> None:
        """In a forked child: what is queued belongs to the parent; begin anew with a journal of our own."""
        self.sink.forget_after_fork()
        if self._journal is not None:
            self._journal.forget_after_fork()
        self._tally.forget_after_fork()
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._watching = threading.RLock()
        self._writer = Writer(self.sink, self._journal, self._tally, self._warnings, self._after_store)

    def _take(self, item: Pending, writer: Writer) -> None:
        count, is_large = len(item.facts), isinstance(item.facts[-1], ContentFact)
        is_spill = self._tally.take(item, count, is_large=is_large)
        item.segment = writer.append(item.facts, is_spill=is_spill, is_large=is_large)
        if is_large and item.segment is None and (is_spill or self._journal is not None):
            count = self._take_without_content(item, writer, is_spill=is_spill)
        if is_spill and item.segment is not None:
            item.lane = None  # the journal answers for it
            writer.begin()
        elif not is_spill or self._tally.hold(item, count):
            writer.put(item)
        else:
            self._tally.drop(item, count)
            self._warnings.once("dropped", "the store takes nothing and the journal neither: calls are being dropped")

    def _take_without_content(self, item: Pending, writer: Writer, *, is_spill: bool) -> int:
        """Where neither memory nor the journal has room for what was said, the call itself is kept."""
        *rest, _ = item.facts
        item.facts = tuple(rest)
        self._tally.settle(1, is_spill=is_spill, dropped=1)
        self._warnings.once("content dropped", "there is no room for what is said in calls; they are kept without it")
        item.segment = writer.append(item.facts, is_spill=is_spill)
        return len(item.facts)

    def _after_store(self, calls: Sequence[Call]) -> None:
        with self._watching:
            watchers = tuple(self._watchers)
        for watcher in watchers:
            try:
                watcher.after_store(calls)
            except BaseException as error:  # noqa: BLE001  # keeps neither the other watchers nor the store from calls
                name = type(watcher).__qualname__
                self._warnings.once(f"watch:{name}", f"{name} failed with calls that were stored", error)

    def _close_journal(self) -> None:
        if self._journal is None:
            return
        try:
            self._journal.close()
        except OSError as error:
            message = (
                f"a file of the journal in {self._journal.folder} could not be removed, though all of it is stored"
            )
            self._warnings.once("close", message, error)

    def _secure(self) -> None:
        lost = self._writer.secure()
        if lost:
            message = f"{lost:,} records are neither stored nor in the journal; they end with this process"
            self._warnings.once("unsecured", message)


def _checked_seconds(timeout: object) -> float | None:
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or math.isnan(timeout) or timeout < 0:
        raise TokensError(f"timeout={timeout!r}; expected seconds from 0 on, or None to wait as long as it takes")
    return None if timeout > threading.TIMEOUT_MAX else timeout
