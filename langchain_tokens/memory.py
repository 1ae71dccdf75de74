"""What did this handler see? Its newest runs call by call, and older ones as sums, in bounded memory."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from functools import partial
from operator import attrgetter
from typing import Any

from langchain_tokens.breakdown import Breakdown, add_up, make_breakdown
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
_LEFT_RUNS = 10_000
_CORRECTABLE_CALLS = 2_048


class RunMemory:
    """The runs that a handler has seen. Thread-safe."""

    def __init__(self, refine: Refine, *, keep_runs: int = 1_000, keep_calls: int = 10_000) -> None:
        self._refine = refine
        self._keep_runs = keep_runs
        self._keep_calls = keep_calls
        self._lock = threading.RLock()
        self._is_holding = self._is_torn = False
        """Whether whoever has the lock is in the middle of something: only a signal's handler that interrupted it ever
        finds that it is. The first holds on to runs, which the handler must not move; the second moves one.
        """
        self._runs: OrderedDict[str, RunLog] = OrderedDict()
        self._calls = 0
        """How many calls the runs hold."""
        self._left: OrderedDict[str, None] = OrderedDict()
        """The newest runs that left; what comes of them later is a rest."""
        self._leaving: deque[RunLog] = deque()
        self._leaving_calls = 0
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
            is_interrupted, self._is_holding = self._is_holding, True
            try:
                self._note(call, open_log, refine or self._refine, lets_go=not is_interrupted)
            finally:
                self._is_holding = is_interrupted
        is_much = len(self._leaving) + len(self._corrections) >= _LEAVING_RUNS
        if is_much or self._leaving_calls > 2 * self._keep_calls:  # the writer is held up, and nobody else folds
            self._fold()

    def open_run(self, run_id: str, open_log: Callable[[], RunLog]) -> Run:
        """Hold a run that somebody wants to watch from its start on."""
        with self._lock:
            is_interrupted, self._is_holding = self._is_holding, True
            try:
                log = self._runs.get(run_id)
                if log is None:
                    log = self._begin(run_id, open_log)
                    if not is_interrupted:
                        self._let_go(log)
                return Run(log)
            finally:
                self._is_holding = is_interrupted

    def settle(self, call: Call) -> None:
        """Take a call as the writer thread has refined it; fold runs that left into sums, while at it."""
        log = self._runs.get(call.run_id)
        if log is not None:
            log.settle(call)
        self._fold()

    def call(self, run_id: str, call_id: str) -> tuple[Call | None, Refine | None]:
        """A call of a run that is still held, as far as it is refined by now, and what is still to be done to it."""
        log = self._runs.get(run_id)
        return (None, None) if log is None else (log.noted(call_id), log.waiting(call_id))

    def run(self, run_id: str) -> Run | None:
        """A run of which all is still held."""
        log = self._runs.get(run_id)
        return None if log is None or log.is_rest else Run(log)

    def holds(self, run_id: str) -> bool:
        """Whether a run is held, be it only the rest of it."""
        return run_id in self._runs

    def is_rest(self, run_id: str) -> bool:
        """Whether only the newest calls of a run are held."""
        log = self._runs.get(run_id)
        return log is not None and log.is_rest

    def runs(self) -> Sequence[Run]:
        """The runs that are held, newest last."""
        with self._lock:
            return [Run(log) for log in tuple(self._runs.values())]

    def forget_after_fork(self) -> None:
        """In a forked child: begin with free locks."""
        self._is_holding = self._is_torn = False
        self._lock = threading.RLock()
        for log in tuple(self._runs.values()):
            log.forget_after_fork()

    def breakdown(self, query: Query) -> Breakdown:
        """Sums over everything that was seen.

        Raises:
            QueryError: for a question about runs that left memory, by something that only single calls know.

        """
        return make_breakdown(query.by, self.sums(query).items())

    def sums(self, query: Query) -> dict[tuple[Any, ...], Sums]:
        """The same as sums, by their keys."""
        self._fold()
        with self._lock:
            if self._is_torn:
                raise QueryError(
                    "a signal's handler asks while it holds up the same memory, whose sums are in the middle of a "
                    "change; ask handler.store.breakdown(...), or once it has come back"
                )
            is_interrupted, self._is_holding = self._is_holding, True
            try:
                logs, folded = [*self._leaving, *self._runs.values()], list(self._folded_for(query))
            finally:
                self._is_holding = is_interrupted
        return add_up((call for log in logs for call in log.calls), query, folded)

    def _note(self, call: Call, open_log: Callable[[], RunLog], refine: Refine, *, lets_go: bool) -> None:
        held = self._runs.get(call.run_id)
        if call.revision and (held is None or held.noted(call.call_id) is None):
            self._corrections.append((call, refine))
            return
        log = held if held is not None else self._begin(call.run_id, open_log)
        is_new = log.note(call, refine)  # in a step of its own: a signal's handler that counts may come before the sum
        self._calls += is_new
        if lets_go:
            self._let_go(log)

    def _begin(self, run_id: str, open_log: Callable[[], RunLog]) -> RunLog:
        log = open_log()
        if log.has_left:  # its calls are counted already
            log = RunLog(log.fact)
        log.is_rest = run_id in self._left
        return self._runs.setdefault(run_id, log)  # a signal's handler may have begun it in the middle

    def _let_go(self, current: RunLog) -> None:
        """Let the oldest runs go; those that still go on stay, unless they are all that there is. Where few runs have
        many calls, a rest of those stays that go on.
        """
        while len(self._runs) > self._keep_runs or self._calls > self._keep_calls:
            are_many = len(self._runs) > self._keep_runs
            try:
                oldest = self._oldest(are_many=are_many)
            except RuntimeError:  # a signal's handler began another one meanwhile
                continue
            if oldest is None:
                return
            goes_on = oldest is current or oldest.fact.status == "running"
            self._is_torn = True
            try:
                self._let_go_of(oldest, leaves_rest=goes_on and not are_many)
            finally:
                self._is_torn = False

    def _oldest(self, *, are_many: bool) -> RunLog | None:
        useful = (log for log in self._runs.values() if log.count or are_many)
        oldest = next((log for log in useful if log.fact.status != "running"), None)
        if oldest is None and (len(self._runs) > 2 * self._keep_runs or self._calls > 2 * self._keep_calls):
            oldest = next((log for log in self._runs.values() if log.count or are_many), None)
        return oldest

    def _let_go_of(self, log: RunLog, *, leaves_rest: bool) -> None:
        run_id = log.fact.run_id
        self._left[run_id] = None  # first, so that whoever goes on with the run knows that it holds a rest
        if len(self._left) > _LEFT_RUNS:
            self._left.popitem(last=False)
        log.has_left = True
        del self._runs[run_id]
        count = log.count
        self._leaving.append(log)
        self._calls -= count
        self._leaving_calls += count
        if leaves_rest:
            self._begin(run_id, lambda: log)

    def _fold(self) -> None:
        """Add runs that left to the sums; not in a hook, since it may have to price their calls.

        Nothing is held while it does that: several threads may be at it, and a signal's handler waits for none.
        """
        corrections = tuple(self._corrections)  # those whose runs have left by now
        while self._leaving:
            if not self._fold_oldest():
                return
        for correction in corrections:
            refined = correction[1](correction[0])
            self._move(partial(self._correct, correction, refined))

    def _fold_oldest(self) -> bool:
        """Move one run to the sums; False where a signal's handler must not."""
        try:
            log = self._leaving[0]
        except IndexError:
            return True
        is_final = log.fact.status == "ok" and not log.recorders  # a `track()` may end well around what did not
        calls = log.calls
        groups, newest = _grouped(calls), max((call.started_at for call in calls), default=None)
        correctable = [call for call in calls if call.status == "cancelled" or not is_final]

        def step() -> None:
            if self._leaving and self._leaving[0] is log and log.count == len(calls):  # still, and all of it
                self._take_in(groups, newest, correctable)
                self._leaving_calls -= len(calls)
                self._leaving.popleft()

        return self._move(step)

    def _take_in(
        self, groups: Mapping[tuple[Any, ...], Sums], newest: datetime | None, correctable: Sequence[Call]
    ) -> None:
        if newest is not None:
            self._newest_folded = max(newest, self._newest_folded or newest)
        for key, sums in groups.items():
            if key not in self._folded and len(self._folded) >= _FOLDED_GROUPS:
                self._forgotten_runs += 1
                continue
            self._folded.setdefault(key, Sums()).merge(sums)
        known = [call for call in correctable if _key_of(call) in self._folded]
        self._correctable.update((call.call_id, call) for call in known[-_CORRECTABLE_CALLS:])
        while len(self._correctable) > _CORRECTABLE_CALLS:
            self._correctable.popitem(last=False)

    def _correct(self, correction: tuple[Call, Refine], call: Call) -> None:
        """Count a call anew that is in the sums; one that is not known to be is left as it was counted."""
        if not self._corrections or self._corrections[0] is not correction:  # another thread has
            return
        self._corrections.popleft()
        before = self._correctable.get(call.call_id)
        if before is None or before.revision >= call.revision:
            return
        key = _key_of(before)
        _take_out(self._folded[key], before)
        if not self._folded[key].calls:
            del self._folded[key]
        self._take_in(_grouped([call]), call.started_at, [call])

    def _move(self, step: Callable[[], None]) -> bool:
        """Take a step that moves runs or sums; False where a signal's handler interrupted its own thread in another.

        Nothing is called between the look at that and the note of it, so that none comes in between.
        """
        with self._lock:
            if self._is_holding:
                return False
            self._is_holding = self._is_torn = True
            try:
                step()
            finally:
                self._is_holding = self._is_torn = False
        return True

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


def _grouped(calls: Iterable[Call]) -> dict[tuple[Any, ...], Sums]:
    groups: dict[tuple[Any, ...], Sums] = {}
    for call in calls:
        groups.setdefault(_key_of(call), Sums()).add(call)
    return groups


def _take_out(sums: Sums, call: Call) -> None:
    one = Sums()
    one.add(call)
    for item in fields(Sums):
        part = getattr(one, item.name)
        if part is not None:
            setattr(sums, item.name, getattr(sums, item.name) - part)
