"""Which runs are open, and what became of those that just ended? Frames and calls by their ids.

A run's state comes from its parent's at the run's start and is never looked up by walking the tree later: parents may
have ended by then. Counters belong to the root run. Messages, inputs and outputs are held by reference, while what has
them is open: errors quote them. All of it is bounded. The rules and their numbers are those of the project's study
of LangChain's callbacks (rules 1 to 8).
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4, uuid5

from langchain_tokens.adopting import Adopted, Follower
from langchain_tokens.call import RunFact
from langchain_tokens.frames import Frame, Started, is_generic
from langchain_tokens.living import living
from langchain_tokens.names import Names
from langchain_tokens.opencall import OpenCall, explicit_names
from langchain_tokens.redo import Unfinished, Work
from langchain_tokens.roots import Root
from langchain_tokens.runlog import RunLog

__all__ = ("OpenRuns",)

_KEPT_ENDED = 2_048
_KEPT_OPEN_CALLS = 4_096
_KEPT_LATE = 32_768
"""Calls that were given up and may still be answered: 1 to 3 kB each, since their content is gone. A batch without a
limit on its concurrency has all of its calls open at once.
"""
_KEPT_OPEN_FRAMES = 16_384
_KEPT_TRACKED = 256
_SWEEP_SECONDS = 60.0
_OVER_SECONDS = 600.0
_AGED_SECONDS = 24 * 3_600.0
_KEPT_REFUSED_BATCHES = 16
_REFUSED_SECONDS = 5.0
_MOST_AROUND = 64
"""Open calls of one chain that are looked at for one that made another."""
_PROCESS = uuid4()
"""Made here, and not when it is first needed: two threads that need it first must not have two."""

Value = TypeVar("Value")


class OpenRuns:
    """The runs that are open now. Thread-safe; its lock is held for dictionary work only.

    A signal's handler may come back here in the middle of that: what is gone through is a copy, and may be gone.

    Args:
        defaults: what the handler names.
        adopted: runs that only other handlers saw begin.

    """

    def __init__(self, defaults: Names, adopted: Adopted) -> None:
        self._defaults = defaults
        self._adopted = adopted
        self._lock = threading.RLock()
        self._frames: OrderedDict[str, Frame] = OrderedDict()
        self._ended: OrderedDict[str, Frame] = OrderedDict()
        self._calls: OrderedDict[str, OpenCall] = OrderedDict()
        self._late: OrderedDict[str, OpenCall] = OrderedDict()
        self._ended_calls: OrderedDict[str, int] = OrderedDict()
        """Run ids of calls that ended → how many had them."""
        self._tracked: OrderedDict[str, Root] = OrderedDict()
        self._refused: OrderedDict[str, float] = OrderedDict()
        """Calls that other handlers' budgets stopped before they were seen to start here → when, monotonic."""
        self._refused_batches: deque[object] = deque(maxlen=_KEPT_REFUSED_BATCHES)
        self._unfinished = Unfinished()
        self._next_sweep = 0.0
        self._asked_for: tuple[UUID | None, OpenCall | None] = (None, None)
        """The last call that was asked for while it was open."""

    def open_frame(self, started: Started) -> None:
        """Note that a chain, tool or retriever run starts; a second start of the same run changes nothing."""
        with self._lock:
            if started.run_id in self._frames:
                return
            parent = self._parent(started)
            root = parent.root if parent is not None else self._new_root(started)
            root.seen = started.clock
            explicit = explicit_names(started, parent)
            frame = Frame.derive(started, parent, root, explicit, self._unfinished)
            frame.try_for(self._fallbacks(started, parent))
            self._frames[started.run_id] = frame
            if len(self._frames) > _KEPT_OPEN_FRAMES:
                self._keep_ended(self._frames.popitem(last=False)[1])

    def open_call(self, started: Started, model_class: str | None, model: str | None, provider: str | None) -> OpenCall:
        """Note that a model call starts, and settle whom it belongs to.

        Args:
            started: the run's own start.
            model_class: the model's class name; retry wrappers carry it as their run name, where it names no chain.
            model: the requested model.
            provider: the provider's name.

        """
        with self._lock:
            known = self._calls.get(started.run_id)
            if known is not None:
                return known
            frame = self._parent(started)
            root = frame.root if frame is not None else self._new_root(started)
            root.seen = started.clock
            call = OpenCall(started, root, frame)
            if (before := self._ended_calls.get(started.run_id)) is not None:  # somebody gave two calls the same run id
                call.call_id = _id_of_another(started.run_id, before)
            call.model_class, call.requested_model, call.provider = model_class, model, provider
            call.attribute(started, explicit_names(started, frame), self._defaults)
            call.find_redone(started, self._fallbacks(started, frame))
            self._calls[started.run_id] = call
            return call

    def imagined_call(self, started: Started) -> OpenCall:
        """A call as it would be attributed if it started; nothing is open or counted after it."""
        with self._lock:
            frame = self._parent(started)
            root = frame.root if frame is not None else Root(started.run_id, None, started.at, started.clock)
            call = OpenCall(started, root, frame)
            call.attribute(started, explicit_names(started, frame), self._defaults)
            call.refuse()
            return call

    def get_call(self, run_id: UUID) -> OpenCall | None:
        """The open call, for events between start and end: hundreds in a row, as a rule, for the same one."""
        asked, call = self._asked_for
        if asked is run_id and call is not None and self._calls.get(call.run_id) is call:
            return call
        call = self._calls.get(str(run_id))
        self._asked_for = (run_id, call)
        return call

    def close_call(self, run_id: str, *, failed: bool) -> OpenCall | None:
        """Note that a model call ended; None for a second end, or an end without a start."""
        with self._lock:
            call = self._calls.pop(run_id, None) or self._late.pop(run_id, None)
            if call is not None:
                call.close(failed=failed)
                if self._asked_for[1] is call:
                    self._asked_for = (None, None)
                _keep(self._ended_calls, run_id, self._ended_calls.get(run_id, 0) + 1, _KEPT_ENDED)
            return call

    def refuse_call(self, run_id: str, clock: float) -> list[OpenCall]:
        """Note that a budget stopped a call before it was made, and with it all of its batch.

        Returns:
            What was open of them.

        """
        with self._lock:
            call = self._calls.get(run_id)
            if call is None:  # another handler's budget, which was faster than the start here
                _keep(self._refused, run_id, clock, _KEPT_ENDED)
                return []
            refused = [call]
            if call.batch is not None:
                self._refused_batches.append(call.batch)
                refused = [one for one in tuple(self._calls.values()) if one.batch is call.batch]
            for one in refused:
                if self._calls.pop(one.run_id, None) is not None:
                    one.refuse()
            return refused

    def is_refused(self, call: OpenCall) -> bool:
        """Tell whether a budget stopped a call that starts here, or one of its batch, a moment ago."""
        if not self._refused and not self._refused_batches:
            return False
        with self._lock:
            since = self._refused.pop(call.run_id, None)
            is_mate = call.batch is not None and any(batch is call.batch for batch in tuple(self._refused_batches))
            return is_mate or (since is not None and call.clock - since < _REFUSED_SECONDS)

    def is_open(self, call: OpenCall) -> bool:
        """Tell whether a call has neither ended nor been stopped."""
        return self._calls.get(call.run_id) is call

    def has_twin(self, call: OpenCall) -> bool:
        """Tell whether another open call of the same size of batch asks the same model the same."""
        with self._lock:
            return any(
                (one.asked, one.parent, one.requested_model, one.batch_size)
                == (call.asked, call.parent, call.requested_model, call.batch_size)
                for one in tuple(self._calls.values())
            )

    def said_in(self, run_id: str) -> tuple[Any, ...] | None:
        """What an open run was given, and what its newest calls sent and were answered; None once that is let go."""
        with self._lock:
            frame = self._frames.get(run_id)
            return None if frame is None else (frame.inputs, *(frame.root.said or ()))

    def close_frame(
        self, run_id: str, clock: float, error: BaseException | None, text: str | None
    ) -> tuple[RunFact | None, Sequence[Follower], list[OpenCall]]:
        """Note that a chain, tool or retriever run ended, and how; `text` is the error's, as it may be stored.

        Returns:
            The fact that the whole run ended, where this was a root; who else is to be told; and the calls inside it
            that never ended and are now taken for cancelled, until a late end corrects them.

        """
        with self._lock:
            frame = self._frames.pop(run_id, None) or self._ended.get(run_id)
            if frame is None or not frame.is_open or frame.root.origin is not None:
                return None, (), []
            frame.close(error, text, self._unfinished)
            self._keep_ended(frame)
            left_open = [
                call for call_id in tuple(frame.open_calls) if (call := self._calls.pop(call_id, None)) is not None
            ]
            frame.open_calls.clear()
            for call in left_open:
                self._keep_late(call)
            root = frame.root
            ends_run = root.run_id == run_id and root.log is None
            if ends_run:
                root.is_over, root.lately = True, None
            at = root.started_at + timedelta(seconds=clock - root.clock)  # the wall clock may have been set meanwhile
            if not ends_run:
                return None, (), left_open
            root.end = root.ended(at, error, text)
            return root.end, () if root.followers is None else living(root.followers), left_open

    def give_number(self, outer: OpenCall, inner: OpenCall) -> None:
        """Note that a call only handed on what another was asked."""
        with self._lock:
            outer.give_number_to(inner)

    def calls_around(self, call: OpenCall) -> list[OpenCall]:
        """The open calls that may have made one which just ended: those of other models in its chain, begun before it;
        none where too many are open to look at.
        """
        with self._lock:
            frame = self._frame(call.parent)
            if frame is None or len(frame.open_calls) > _MOST_AROUND:
                return []
            around = [self._calls.get(run_id) for run_id in tuple(frame.open_calls)]
            return [
                one
                for one in around
                if one is not None and one.clock < call.clock and one.model_class != call.model_class
            ]

    def frame_seen(self, run_id: str) -> Frame | None:
        """A run that this handler saw begin, in a whole run that it saw begin."""
        frame = self._frame(run_id)
        return None if frame is None or frame.root.is_partial or frame.root.origin is not None else frame

    def root_of(self, run_id: str) -> Root | None:
        """The root of an open run."""
        with self._lock:
            frame = self._frames.get(run_id)
            return None if frame is None else frame.root

    def forget_after_fork(self) -> None:
        """In a forked child: begin with a free lock."""
        self._lock = threading.RLock()

    def take_open_calls(self, *, but: int = 0) -> list[OpenCall]:
        """Give up the calls that are still open, oldest first, until `but` are left: none at the handler's end."""
        if len(self._calls) <= but:
            return []
        with self._lock:
            oldest = tuple(self._calls)[: len(self._calls) - but]
            return self._given_up(oldest)

    def take_overdue_calls(self, clock: float) -> list[OpenCall]:
        """Give up the oldest of too many open calls, and those that are open for too long: ends that LangChain never
        reports must cost no memory.

        Args:
            clock: the monotonic clock's seconds now; all that is open is looked at once a minute.

        """
        calls = self.take_open_calls(but=_KEPT_OPEN_CALLS)
        if clock < self._next_sweep:
            return calls
        with self._lock:
            self._next_sweep = clock + _SWEEP_SECONDS
            self._sweep_frames(clock)
            aged = self._given_up([call.run_id for call in tuple(self._calls.values()) if _is_aged(call, clock)])
            self._sweep_late(clock)
        return [*calls, *aged]

    def __len__(self) -> int:
        return len(self._frames) + len(self._calls)

    def _given_up(self, run_ids: Sequence[str]) -> list[OpenCall]:
        calls = [call for run_id in run_ids if (call := self._calls.pop(run_id, None)) is not None]
        for call in calls:
            self._keep_late(call)
        return calls

    def _sweep_frames(self, clock: float) -> None:
        """Let frames go that never ended though their run did, and in the end all of a run in which nothing begins."""
        for frame in tuple(self._frames.values()):
            if frame.root.is_over_for(_OVER_SECONDS, clock) or frame.root.is_idle_for(_AGED_SECONDS, clock):
                self._frames.pop(frame.run_id, None)
                self._keep_ended(frame)
        for frame in tuple(self._ended.values()):
            if frame.root.is_idle_for(2 * _AGED_SECONDS, clock):
                self._ended.pop(frame.run_id, None)

    def _sweep_late(self, clock: float) -> None:
        """Of many calls that were given up, let those go that are too old for an answer."""
        for call in tuple(self._late.values())[:-_KEPT_ENDED]:
            if clock - call.clock > _AGED_SECONDS:
                self._late.pop(call.run_id, None)

    def _parent(self, started: Started) -> Frame | None:
        frame = self._frame(started.parent_run_id or started.ambient_parent)
        if frame is None and started.parent_run_id is not None:
            frame = self._adopted.frame(started.parent_run_id)
            if frame is not None:
                self._keep_ended(frame)
        return frame

    def _frame(self, run_id: str | None) -> Frame | None:
        return None if run_id is None else self._frames.get(run_id) or self._ended.get(run_id)

    def _fallbacks(self, started: Started, parent: Frame | None) -> Work | None:
        """The `with_fallbacks` that a run is an attempt of. LangChain makes the attempts its neighbours, under the
        wrapper's own name if that has one, but the ambient config stands in the wrapper.
        """
        for wrapper in (self._frame(started.ambient_parent), parent):
            if wrapper is None or not wrapper.is_open:
                continue
            is_neighbour = wrapper.run_id != started.parent_run_id and wrapper.own_name is not None
            if wrapper.is_fallbacks or (is_neighbour and wrapper.own_name == started.name):
                return wrapper.work
        return None

    def _new_root(self, started: Started) -> Root:
        scope = started.scope
        if scope is not None and scope.log is not None:
            return self._tracked_root(scope.log, started.clock)
        if started.parent_run_id is not None:
            return self._partial_root(started)
        name = None if is_generic(started.name) else started.name
        return Root(started.run_id, name, started.at, started.clock)

    def _tracked_root(self, log: RunLog, clock: float) -> Root:
        """The root of a `track()`; a later block that goes on with the same run counts on in a root of its own."""
        fact = log.fact
        before = self._tracked.get(fact.run_id)
        if before is not None and before.log is log:
            _keep(self._tracked, fact.run_id, before, _KEPT_TRACKED)
            return before
        root = Root(fact.run_id, fact.name, fact.started_at, clock, log=log)
        if before is not None:
            root.counters = before.counters
        _keep(self._tracked, fact.run_id, root, _KEPT_TRACKED)
        return root

    def _partial_root(self, started: Started) -> Root:
        """A run whose parent was never seen (a handler in a model's constructor): its siblings share one root, kept
        under the unseen parent's id among the ended frames, since its end will never be seen either.
        """
        root = Root(str(started.parent_run_id), None, started.at, started.clock, is_partial=True)
        self._keep_ended(Frame(root.run_id, root))
        return root

    def _keep_ended(self, frame: Frame) -> None:
        frame.inputs = None
        _keep(self._ended, frame.run_id, frame, _KEPT_ENDED)

    def _keep_late(self, call: OpenCall) -> None:
        call.provisional = True
        _keep(self._late, call.run_id, call, _KEPT_LATE)


def _is_aged(call: OpenCall, clock: float) -> bool:
    """Tell whether a call is open for longer than any answer takes, or long after its run was over."""
    age, is_over = clock - call.clock, call.root.is_over_for(_OVER_SECONDS, clock)
    return age > _AGED_SECONDS or (is_over and age > _OVER_SECONDS)


def _id_of_another(run_id: str, before: int) -> str:
    """The id of a call whose run id that many calls had before: the same in all handlers here, in no other process."""
    return str(uuid5(_PROCESS, f"{os.getpid()} {run_id} {before}"))  # forked children have this one's number


def _keep(kept: OrderedDict[str, Value], key: str, value: Value, most: int) -> None:
    """Keep a value as the newest, and let the oldest go."""
    kept.pop(key, None)  # not moved: a signal's handler may let it go before that
    kept[key] = value
    while len(kept) > most:
        kept.popitem(last=False)
