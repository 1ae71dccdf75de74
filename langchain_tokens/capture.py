"""What becomes of an event? Starts open runs and calls; ends make records for the memory and the store."""

from __future__ import annotations

import time
from asyncio import CancelledError
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from langchain_core.runnables.config import var_child_runnable_config

from langchain_tokens.answers import UNREAD, Answer, read_result
from langchain_tokens.call import Call, RunFact
from langchain_tokens.closing import closed_call, ended_alone
from langchain_tokens.frames import Started
from langchain_tokens.memory import RunMemory
from langchain_tokens.names import CURRENT_SCOPE, Names, text_or_none
from langchain_tokens.opencall import OpenCall
from langchain_tokens.recorder import Recorder
from langchain_tokens.recovery import Refine, refined_call
from langchain_tokens.repeats import Repeats
from langchain_tokens.run import Run
from langchain_tokens.runlog import RunLog
from langchain_tokens.runs import OpenRuns
from langchain_tokens.trouble import Warnings

__all__ = ("Capture",)

_EMPTY: Mapping[str, Any] = {}
_READ_WAIT_SECONDS = 5.0


class Capture:
    """All that one handler knows. Thread-safe."""

    def __init__(self, defaults: Names, refine: Refine, recorder: Recorder) -> None:
        self.defaults = defaults
        self._refine = refine
        self.recorder = recorder
        self.warnings = Warnings()
        self.memory = RunMemory(self.refine)
        self.runs = OpenRuns(defaults)
        self._repeats = Repeats()

    def refine(self, call: Call) -> Call:
        """Price a call, if its price book can."""
        return refined_call(call, self._refine, self.warnings)

    def open_frame(self, run_id: UUID, name: str | None, kwargs: Mapping[str, Any]) -> None:
        """A chain, graph, node, tool or retriever starts."""
        self.runs.open_frame(_started(run_id, name, kwargs))

    def close_frame(self, run_id: UUID, error: BaseException | None) -> None:
        """It ends; calls in it that are still open never will, as far as anybody knows."""
        fact, left_open = self.runs.close_frame(str(run_id), datetime.now(UTC), error)
        for opened in left_open:
            self.keep_unended(opened, time.perf_counter())
        if fact is not None and self.memory.run(fact.run_id) is not None:  # a run without calls is no fact of ours
            self.memory.note_end(fact)
            self.recorder.record(fact)

    def open_call(
        self, serialized: Mapping[str, Any] | None, run_id: UUID, kwargs: Mapping[str, Any], asked: Any = None
    ) -> None:
        """A call to a model starts; `asked` are its messages or its prompt."""
        started = _started(run_id, kwargs.get("name"), kwargs, asked)
        parameters = kwargs.get("invocation_params") or _EMPTY
        named = (started.metadata.get("ls_model_name"), parameters.get("model"), parameters.get("model_name"))
        model = next((text for said in named if (text := text_or_none(said))), None)
        provider = text_or_none(started.metadata.get("ls_provider"))
        self.runs.open_call(started, _class_name(serialized), model, provider)
        for opened in self.runs.take_overdue_calls():
            self.keep_unended(opened)

    def note_piece(self, run_id: UUID, has_content: bool) -> None:
        """A piece of a streamed answer arrived; the first one with content stops the clock of the first token."""
        call = self.runs.get_call(str(run_id))
        if call is None:
            return
        call.streamed = True
        if has_content and call.first_token is None:
            call.first_token = time.perf_counter()

    def close_call(self, run_id: UUID, response: Any, error: BaseException | None) -> None:
        """A call ends, well or not; a second end of the same call changes nothing."""
        ended = time.perf_counter()
        opened = self.runs.close_call(str(run_id), failed=error is not None)
        if opened is None:
            return
        answer = self._read(response, opened.run_id)
        inner = self._repeats.inner_call(opened, answer.message_id, error)
        if inner is not None and not opened.provisional:
            self._hand_over(opened, inner)
            return
        opened.record = closed_call(opened, ended, answer, error)
        self._repeats.note(opened, answer.message_id, error)
        self._keep_ended(opened, opened.record, error)

    def keep_unended(self, opened: OpenCall, ended: float | None = None) -> None:
        """Record a call that has not ended as cancelled; a late end corrects it. `ended` is when it was given up."""
        self._keep_ended(opened, closed_call(opened, ended, None, None), CancelledError())

    def keep(self, call: Call, fact: RunFact | None, open_log: Callable[[], RunLog], tracked: RunLog | None) -> None:
        """Take a call, and what is new of its run, into memory and on its way to the store.

        Args:
            call: the record.
            fact: what is new of its run; None where nothing is.
            open_log: begins the run in memory, where it is not held.
            tracked: the run that a `track()` holds, if this is one.

        """
        self.memory.note_call(call, open_log)
        if tracked is not None:
            tracked.recorders.add(self.recorder)
        elif fact is not None:
            self.memory.note_end(fact)
        facts = (call,) if fact is None else (call, fact)
        self.recorder.record(*facts, refine=self.refine, settle=self.memory.settle)

    def enclosing_run(self, run_id: str) -> Run | None:
        """The live run that an open chain, tool or node belongs to."""
        root = self.runs.root_of(run_id)
        if root is None:
            return None
        return Run(root.log) if root.log is not None else self.memory.open_run(root.run_id, lambda: RunLog(root.fact()))

    def forget_after_fork(self) -> None:
        """In a forked child: locks that another thread of the parent held would never be free again."""
        self.runs.forget_after_fork()
        self._repeats.forget_after_fork()
        self.memory.forget_after_fork()

    def end(self) -> None:
        """Close what is open, deliver what can be delivered, and release the store."""
        self.close_open_calls()
        self.recorder.close()

    def close_open_calls(self) -> None:
        """Record the calls that have not ended as cancelled: at the end of the handler, or of the interpreter."""
        for opened in self.runs.take_open_calls():
            self.keep_unended(opened)

    def finish(self) -> bool:
        """Wait some seconds at most for all that was recorded to be in the store, so that a reader sees it."""
        return self.recorder.flush(_READ_WAIT_SECONDS)

    def _hand_over(self, outer: OpenCall, inner: OpenCall) -> None:
        """Drop a call that only handed on what another was asked, and correct the number that the other got."""
        self.runs.give_number(outer, inner)
        before, root = inner.record, inner.root
        if before is not None and before.attempt == inner.attempt + 1:
            inner.record = replace(before, attempt=inner.attempt, revision=before.revision + 1)
            self.keep(inner.record, None, lambda: root.log or RunLog(root.fact()), root.log)

    def _keep_ended(self, opened: OpenCall, call: Call, error: BaseException | None) -> None:
        root = opened.root
        fact = None if root.is_announced else root.fact()
        root.is_announced = True
        if ended_alone(opened):
            fact = root.ended(call.ended_at, error)
        self.keep(call, fact, lambda: root.log or RunLog(fact or root.fact()), root.log)

    def _read(self, response: Any, run_id: str) -> Answer:
        try:
            return read_result(response, run_id)
        except Exception as error:  # noqa: BLE001  # an answer that cannot be read is still a call, and is recorded as one
            self.warnings.once("answer", "an answer could not be read; its usage is unknown", error)
            return UNREAD


def _started(run_id: UUID, name: str | None, kwargs: Mapping[str, Any], asked: Any = None) -> Started:
    parent = kwargs.get("parent_run_id")
    ambient = var_child_runnable_config.get() or _EMPTY
    ambient_parent = getattr(ambient.get("callbacks"), "parent_run_id", None)
    return Started(
        run_id=str(run_id),
        parent_run_id=None if parent is None else str(parent),
        name=text_or_none(name),
        tags=kwargs.get("tags") or (),
        metadata=kwargs.get("metadata") or _EMPTY,
        at=datetime.now(UTC),
        clock=time.perf_counter(),
        scope=CURRENT_SCOPE.get(),
        ambient_parent=None if ambient_parent is None else str(ambient_parent),
        configurable=ambient.get("configurable"),
        tool_call_id=kwargs.get("tool_call_id"),
        batch_size=kwargs.get("batch_size") or 1,
        asked=_mark(asked),
    )


def _mark(asked: Any) -> int | None:
    """A mark of a call's question, equal for equal questions: a retry asks what failed once more, word for word."""
    if not isinstance(asked, (list, tuple)) or not asked:
        return None
    last = asked[-1]
    content = last if isinstance(last, str) else getattr(last, "content", None)
    return hash((len(asked), content)) if isinstance(content, str) else len(asked)


def _class_name(serialized: Mapping[str, Any] | None) -> str | None:
    """The model's class name, which a retry wrapper around it has as its run name."""
    if not serialized:
        return None
    way = serialized.get("id")
    name = serialized.get("name") or (way[-1] if isinstance(way, (list, tuple)) and way else None)
    return name if isinstance(name, str) else None
