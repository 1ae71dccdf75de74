"""What did this handler see? Its newest runs call by call, and older ones as sums, in bounded memory."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from datetime import datetime
from operator import attrgetter
from typing import Any

from langchain_tokens.breakdown import Breakdown, aggregate
from langchain_tokens.call import Call, RunFact, completed
from langchain_tokens.errors import QueryError
from langchain_tokens.query import Query
from langchain_tokens.run import Run
from langchain_tokens.runlog import RunLog
from langchain_tokens.sums import Sums

__all__ = ("RunMemory",)

Refine = Callable[[Call], Call]

_KEPT_DIMENSIONS = ("mode", "agent", "chain", "path", "model", "provider", "status", "attempt")
_key_of: Callable[[Call], tuple[Any, ...]] = attrgetter(*_KEPT_DIMENSIONS)
_FOLDED_GROUPS = 10_000
_LEAVING_RUNS = 10_000
_CORRECTABLE_CALLS = 2_048


class RunMemory:
    """The runs that a handler has seen. Thread-safe."""

    def __init__(self, refine: Refine, *, keep_runs: int = 1_000) -> None:
        self._refine = refine
        self._keep_runs = keep_runs
        self._lock = threading.Lock()
        self._folding = threading.Lock()
        """Held while runs that left are added to the sums, so that a reader counts each of them once."""
        self._runs: OrderedDict[str, RunLog] = OrderedDict()
        self._leaving: deque[RunLog] = deque()
        self._corrections: deque[tuple[Call, Refine]] = deque()
        """Calls of runs that left, as late events correct them; not counted before they are folded."""
        self._folded: dict[tuple[Any, ...], Sums] = {}
        self._correctable: OrderedDict[str, Call] = OrderedDict()
        """The newest calls in the sums that a late event may still correct, as they were counted."""
        self._newest_folded: datetime | None = None
        self._forgotten_runs = 0

    def note_end(self, fact: RunFact) -> None:
        """Note what the end of a run says; a run without calls is not held, and nothing is noted."""
        with self._lock:
            log = self._runs.get(fact.run_id)
            if log is not None and log.fact is not fact:  # a bare call began its run with the fact of its end
                log.fact = completed(log.fact, fact)

    def note_call(self, call: Call, open_log: Callable[[], RunLog], refine: Refine | None = None) -> None:
        """Note a call that ended, or a correction of it; `open_log` begins its run where that is not held.

        A correction of a call whose run has left is no new call: it changes the sums.
        """
        with self._lock:
            held = self._runs.get(call.run_id)
            if call.revision and (held is None or held.noted(call.call_id) is None):
                self._corrections.append((call, refine or self._refine))
            elif held is not None:
                held.note(call, refine or self._refine)
            else:
                log = open_log()
                if log.has_left:  # its calls are counted already
                    log = RunLog(log.fact)
                self._runs[call.run_id] = log
                log.note(call, refine or self._refine)
                self._let_go()
        if len(self._leaving) + len(self._corrections) >= _LEAVING_RUNS:  # the writer is held up, and nobody else folds
            with self._folding:
                self._fold()

    def open_run(self, run_id: str, open_log: Callable[[], RunLog]) -> Run:
        """Hold a run that somebody wants to watch from its start on."""
        with self._lock:
            log = self._runs.get(run_id)
            if log is None:
                log = self._runs[run_id] = open_log()
                self._let_go()
            return Run(log)

    def settle(self, call: Call) -> None:
        """Take a call as the writer thread has refined it; fold runs that left into sums, while at it."""
        log = self._runs.get(call.run_id)
        if log is not None:
            log.settle(call)
        with self._folding:
            self._fold()

    def call(self, run_id: str, call_id: str) -> tuple[Call | None, Refine | None]:
        """A call of a run that is still held, as far as it is refined by now, and what is still to be done to it."""
        log = self._runs.get(run_id)
        return (None, None) if log is None else (log.noted(call_id), log.waiting(call_id))

    def run(self, run_id: str) -> Run | None:
        """A run that is still held."""
        log = self._runs.get(run_id)
        return None if log is None else Run(log)

    def runs(self) -> Sequence[Run]:
        """The runs that are held, newest last."""
        with self._lock:
            return [Run(log) for log in self._runs.values()]

    def forget_after_fork(self) -> None:
        """In a forked child: begin with free locks."""
        self._lock = threading.Lock()
        self._folding = threading.Lock()
        for log in self._runs.values():
            log.forget_after_fork()

    def breakdown(self, query: Query) -> Breakdown:
        """Sums over everything that was seen.

        Raises:
            QueryError: for a question about runs that left memory, by something that only single calls know.

        """
        with self._folding:
            self._fold()
            with self._lock:
                logs = [*self._leaving, *self._runs.values()]
                folded = list(self._folded_for(query))
        return aggregate((call for log in logs for call in log.calls), query, folded)

    def _let_go(self) -> None:
        """Let the oldest runs go; those that still go on stay, unless they are all that there is."""
        while len(self._runs) > self._keep_runs:
            oldest = next((log for log in self._runs.values() if log.fact.status != "running"), None)
            if oldest is None:
                if len(self._runs) <= 2 * self._keep_runs:
                    return
                oldest = next(iter(self._runs.values()))
            del self._runs[oldest.fact.run_id]
            oldest.has_left = True
            self._leaving.append(oldest)

    def _fold(self) -> None:
        """Add runs that left to the sums; not in a hook, since it may have to price their calls."""
        corrections = len(self._corrections)  # those whose runs have left by now
        while True:
            try:
                log = self._leaving[0]
            except IndexError:
                break
            is_final = log.fact.status == "ok" and not log.recorders  # a `track()` may end well around what did not
            for call in log.calls:
                self._fold_call(call, is_correctable=call.status == "cancelled" or not is_final)
            self._leaving.popleft()
        for _ in range(corrections):
            call, refine = self._corrections.popleft()
            self._correct(refine(call))

    def _fold_call(self, call: Call, *, is_correctable: bool) -> None:
        key = _key_of(call)
        with self._lock:
            if key not in self._folded and len(self._folded) >= _FOLDED_GROUPS:
                self._forgotten_runs += 1
                return
            self._folded.setdefault(key, Sums()).add(call)
            newest = self._newest_folded
            self._newest_folded = call.started_at if newest is None else max(newest, call.started_at)
            if is_correctable:
                self._correctable[call.call_id] = call
                if len(self._correctable) > _CORRECTABLE_CALLS:
                    self._correctable.popitem(last=False)

    def _correct(self, call: Call) -> None:
        """Count a call anew that is in the sums; one that is not known to be is left as it was counted."""
        with self._lock:
            before = self._correctable.get(call.call_id)
            if before is None or before.revision >= call.revision:
                return
            key = _key_of(before)
            _take_out(self._folded[key], before)
            if not self._folded[key].calls:
                del self._folded[key]
        self._fold_call(call, is_correctable=True)

    def _folded_for(self, query: Query) -> Iterable[tuple[tuple[Any, ...], Sums]]:
        if self._newest_folded is None and not self._forgotten_runs:
            return
        if query.since is not None and self._newest_folded is not None and query.since > self._newest_folded:
            return
        asked = {*query.by, *query.equals}
        lost = sorted(asked - set(_KEPT_DIMENSIONS))
        if lost or query.since or query.until or query.tags or self._forgotten_runs:
            what = ", ".join(lost) or "a time range or tag"
            raise QueryError(
                f"older runs have left this handler's memory (it keeps the newest {self._keep_runs:,}), and their sums "
                f"cannot be split by {what}; ask handler.store.breakdown(...), which has them all"
            )
        for key, sums in self._folded.items():
            values = dict(zip(_KEPT_DIMENSIONS, key, strict=True))
            if all(values[name] in allowed for name, allowed in query.equals.items()):
                yield tuple(values[name] for name in query.by), replace(sums)


def _take_out(sums: Sums, call: Call) -> None:
    one = Sums()
    one.add(call)
    for item in fields(Sums):
        part = getattr(one, item.name)
        if part is not None:
            setattr(sums, item.name, getattr(sums, item.name) - part)
