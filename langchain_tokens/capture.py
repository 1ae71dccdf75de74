"""What becomes of an event? Starts open runs and calls; ends make records for the memory and the store."""

from __future__ import annotations

import threading
import time
from asyncio import CancelledError
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from langchain_core.runnables.config import var_child_runnable_config

from langchain_tokens.adopting import Adopted
from langchain_tokens.answers import UNREAD, Answer, read_result
from langchain_tokens.call import Call, RunFact
from langchain_tokens.closing import call_at_start, closed_call, content_to_estimate, new_of_run
from langchain_tokens.content import Content, Pieces
from langchain_tokens.errors import BudgetExceeded
from langchain_tokens.frames import Started
from langchain_tokens.memory import RunMemory
from langchain_tokens.names import CURRENT_SCOPE, Names, Scope, text_or_none
from langchain_tokens.neighbours import Neighbours
from langchain_tokens.opencall import OpenCall, class_name
from langchain_tokens.questions import question_mark
from langchain_tokens.quotes import failure_text, note_said, said_by
from langchain_tokens.reading.running import RunningUsage
from langchain_tokens.recorder import Recorder
from langchain_tokens.recovery import Refine, refined_call
from langchain_tokens.refining import Asked, Refiner
from langchain_tokens.registry import REGISTRY
from langchain_tokens.repeats import Repeats
from langchain_tokens.run import Run
from langchain_tokens.runlog import RunLog
from langchain_tokens.runs import OpenRuns
from langchain_tokens.said import ContentFact
from langchain_tokens.transcripts import Transcripts
from langchain_tokens.trouble import Warnings

if TYPE_CHECKING:
    from langchain_tokens.gate import Gate

__all__ = ("Capture",)

_EMPTY: Mapping[str, Any] = {}
_READ_WAIT_SECONDS = 5.0
_KEPT_TEXTS = 4_096
_BLOCK_EVENTS = ("content-block-start", "content-block-delta")


class Capture:
    """All that one handler knows. Thread-safe."""

    def __init__(
        self,
        defaults: Names,
        refiner: Refiner,
        recorder: Recorder,
        warnings: Warnings,
        *,
        open_gate: Callable[[], Gate],
        gate: Gate | None = None,
        keeps_content: bool = False,
    ) -> None:
        self._open_gate = open_gate
        self.gate = gate
        """Asked before calls; None until there is a budget."""
        self.defaults = defaults
        self._refiner = refiner
        self.recorder = recorder
        self.warnings = warnings
        self._transcripts = Transcripts(keeps_content, warnings)
        self._opening = threading.RLock()
        self.memory = RunMemory(self.refine)
        self.runs = OpenRuns(defaults, Adopted(lambda run_id: REGISTRY.frame_seen(run_id, self), self))
        self._repeats = Repeats()
        self._neighbours = Neighbours()
        self._text_of = lru_cache(_KEPT_TEXTS)(str)
        """A run's id as text: asked for at its start, at its end, and by all that starts in it."""

    def refine(self, call: Call) -> Call:
        """Estimate what nobody said of a call and price it, as far as that can be done."""
        return refined_call(call, self._refiner, self.warnings)

    def open_frame(self, run_id: UUID, name: str | None, kwargs: Mapping[str, Any], inputs: Any = None) -> None:
        """A chain, graph, node, tool or retriever starts, and is given something."""
        self.runs.open_frame(self._started(run_id, name, kwargs, inputs=inputs))

    def close_frame(self, run_id: UUID, error: BaseException | None, inputs: Any = None) -> None:
        """It ends; calls in it that are still open never will, as far as anybody knows."""
        ended, key = time.perf_counter(), self._text_of(run_id)
        text = None if error is None else failure_text(error, self.runs.said_in(key), inputs)
        fact, followers, left_open = self.runs.close_frame(key, ended, error, text)
        for opened in left_open:
            self.keep_unended(opened, ended)
        held = [] if fact is None else [one for one in (self, *followers) if one.note_end(fact)]
        if fact is not None and held:
            self.recorder.record(fact)

    def note_end(self, fact: RunFact) -> bool:
        """Note how a run ended; one without calls is no fact of ours."""
        is_held = self.memory.holds(fact.run_id)
        if is_held:
            self.memory.note_end(fact)
        return is_held

    def open_call(
        self, serialized: Mapping[str, Any] | None, run_id: UUID, kwargs: Mapping[str, Any], asked: Any = None
    ) -> None:
        """A call to a model starts; `asked` are its messages or its prompt."""
        started = self._started(run_id, kwargs.get("name"), kwargs, asked)
        parameters = kwargs.get("invocation_params") or _EMPTY
        model = text_or_none(started.metadata.get("ls_model_name"))
        model = model or text_or_none(parameters.get("model")) or text_or_none(parameters.get("model_name"))
        provider = text_or_none(started.metadata.get("ls_provider"))
        opened = self.runs.open_call(started, class_name(serialized), model, provider)
        if opened.attempt_error is not None:  # what an earlier attempt was found to quote is left out here, too
            opened.attempt_error = REGISTRY.failures.known(opened.attempt_error)
        self._neighbours.note_start(opened, asked, parameters)
        if isinstance(asked, (list, tuple)):
            opened.asked_content = (tuple(asked), parameters)  # a copy: the host may go on with its list
        self._transcripts.begin(opened, asked)
        if self.gate is not None or (started.scope is not None and started.scope.budgets):
            self._admit(opened, started, asked, parameters)
        for overdue in self.runs.take_overdue_calls(started.clock):
            self.keep_unended(overdue)

    def note_scope(self, call_id: str, scope: Scope | None) -> None:
        """Remember the budgets of the block that a call was made in."""
        if scope is not None and scope.budgets:
            self._opened_gate().note(call_id, scope.budgets)

    def call_here(self, chain: str) -> Call:
        """A call as it would be attributed if it were made here, in a chain of that name; it is not made."""
        ambient = var_child_runnable_config.get() or _EMPTY
        started = self._started(uuid4(), chain, {"metadata": ambient.get("metadata")})
        return call_at_start(self.runs.imagined_call(started))

    @property
    def store(self) -> object:
        """What is equal for all that use one database."""
        return getattr(self.recorder.sink, "identity", self.recorder.sink)

    @property
    def stopped_calls(self) -> int:
        """How many calls budgets have stopped."""
        return 0 if self.gate is None else self.gate.stopped_calls

    def refuse_call(self, run_id: UUID) -> None:
        """A budget stopped a call before it was made, here or in another handler."""
        for opened in self.runs.refuse_call(self._text_of(run_id), time.perf_counter()):
            if self.gate is not None:
                self.gate.release(opened.call_id)

    def note_piece(self, run_id: UUID, has_content: bool, token: Any = None, chunk: Any = None) -> None:
        """A piece of a streamed answer arrived; the first one with content stops the clock of the first token."""
        call = self.runs.get_call(run_id)
        if call is None:
            return
        if not call.streamed:
            call.streamed = True
            self._repeats.note_piece(call, getattr(getattr(chunk, "message", None), "id", None))
        if has_content:
            if call.keeps_pieces:
                call.pieces = call.pieces or Pieces()
                call.pieces.add(token, chunk)
            if call.first_token is None:
                call.first_token = time.perf_counter()
        said = getattr(getattr(chunk, "message", None), "usage_metadata", None)
        if said:
            call.running = call.running or RunningUsage()
            call.running.note(said)

    def note_event(self, run_id: UUID, event: Any) -> None:
        """An event of a v3 stream arrived; likewise."""
        call = self.runs.get_call(run_id)
        if call is None:
            return
        call.streamed = True
        kind = event.get("event") if isinstance(event, Mapping) else None
        if kind in _BLOCK_EVENTS and call.keeps_pieces:
            call.pieces = call.pieces or Pieces()
            call.pieces.add_event(event)
        if kind == "content-block-delta" and call.first_token is None:
            call.first_token = time.perf_counter()

    def close_call(self, run_id: UUID, response: Any, error: BaseException | None) -> None:
        """A call ends, well or not; a second end of the same call changes nothing."""
        ended = time.perf_counter()
        opened = self.runs.close_call(self._text_of(run_id), failed=error is not None)
        if opened is None:
            return
        answer = self._read(response, error, opened)
        inner = self._repeats.inner_call(opened, answer.message_id, error)
        if inner is not None and not opened.provisional:
            self._hand_over(opened, inner)
            return
        asked, said = opened.asked_content, self._transcripts.end(opened, response, is_seen=True)
        text = None if error is None else failure_text(error, said_by(opened), response)
        note_said(opened, response)
        content = content_to_estimate(opened, response, answer, error, is_wanted=self._refiner.estimates)
        opened.record = closed_call(opened, ended, answer, error, text=text, content=content)
        if opened.is_superseded:
            opened.record = replace(opened.record, superseded=True)
        around = self.runs.calls_around(opened) if isinstance(error, Exception) else ()
        self._repeats.note(opened, answer.message_id, error, around)
        self._keep_ended(opened, opened.record, error, content, asked, said=said)

    def keep_unended(self, opened: OpenCall, ended: float | None = None) -> None:
        """Record a call that has not ended as cancelled; a late end corrects it. `ended` is when it was given up."""
        inner = self._repeats.inner_call(opened, opened.message_id, None)
        if inner is not None:
            opened.provisional = False  # its late end is dropped like this one
            self._hand_over(opened, inner)
            return
        error, asked, said = CancelledError(), opened.asked_content, self._transcripts.end(opened, is_seen=False)
        note_said(opened, None)
        content = content_to_estimate(opened, None, None, error, is_wanted=self._refiner.estimates)
        call = closed_call(opened, ended, None, None, content=content)
        self._keep_ended(opened, call, error, content, asked, said=said)

    def keep(
        self,
        call: Call,
        fact: RunFact | None,
        open_log: Callable[[], RunLog],
        tracked: RunLog | None,
        refine_this: Refine | None = None,
        *,
        said: ContentFact | None = None,
    ) -> None:
        """Take a call, and what is new of its run, into memory and on its way to the store.

        Args:
            call: the record.
            fact: what is new of its run; None where nothing is.
            open_log: begins the run in memory, where it is not held.
            tracked: the run that a `track()` holds, if this is one.
            refine_this: what refines it, where more is known of it than its record says.
            said: what was said in it, where that is kept.

        """
        self.memory.note_call(call, open_log, refine_this)
        for log in REGISTRY.observers:
            log.note(call, refine_this or self.refine)
        if tracked is not None:
            tracked.note(call, refine_this or self.refine)  # a later block may go on with a run that memory holds
            tracked.recorders.add(self.recorder)
            if tracked.fact.status != "running":  # the block has ended before this call did
                fact = tracked.fact
        elif fact is not None:
            self.memory.note_end(fact)
        facts = (call,) if fact is None else (call, fact)
        facts = facts if said is None else (*facts, said)
        self.recorder.record(*facts, refine=self.refine, refine_this=refine_this, settle=self.memory.settle)

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
        self._neighbours.forget_after_fork()
        self.memory.forget_after_fork()
        self._opening = threading.RLock()
        if self.gate is not None:
            self.gate.forget_after_fork()

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

    def _admit(self, opened: OpenCall, started: Started, asked: Any, parameters: Mapping[str, Any]) -> None:
        """Ask budgets whether a call may be made; once, however often its start is reported."""
        if opened.is_admitted:
            return
        opened.is_admitted = True
        opened.batch = parameters if opened.batch_size > 1 else None
        if self.runs.is_refused(opened):
            self.refuse_call(UUID(opened.run_id))
            return
        before = time.perf_counter()
        gate, scoped = self._opened_gate(), () if started.scope is None else started.scope.budgets
        try:
            gate.admit(call_at_start(opened), scoped, asked, parameters)
        except BudgetExceeded:
            REGISTRY.refuse_call(UUID(opened.run_id))
            raise
        opened.delay(time.perf_counter() - before)
        if not self.runs.is_open(opened):  # stopped meanwhile by another handler, or with another call of its batch
            gate.release(opened.call_id)

    def _opened_gate(self) -> Gate:
        """The gate, made for the first budget of a block where the handler has none of its own."""
        with self._opening:
            self.gate = self.gate or self._open_gate()
            return self.gate

    def _hand_over(self, outer: OpenCall, inner: OpenCall) -> None:
        """Drop a call that only handed on what another was asked, and correct the number that the other got."""
        if self.gate is not None:
            self.gate.release(outer.call_id)
        self.runs.give_number(outer, inner)
        if inner.record is not None and inner.record.attempt == inner.attempt + 1:
            self._correct(inner, inner.record, attempt=inner.attempt)

    def _supersede(self, earlier: OpenCall) -> None:
        """Mark a call whose work was done again: what it cost was spent on an answer that nobody used."""
        earlier.is_superseded = True
        if earlier.record is not None and not earlier.record.superseded:
            self._correct(earlier, earlier.record, superseded=True)

    def _correct(self, opened: OpenCall, before: Call, **changes: Any) -> None:
        """Record a call anew with something changed, and nothing lost that was estimated from its content."""
        held, refine_this = self.memory.call(before.run_id, before.call_id)
        if held is not None and held.usage_source == "estimated":
            before = replace(before, usage=held.usage, usage_source="estimated", usage_flags=held.usage_flags)
        if held is not None and held.prompt_mark is not None:
            before = replace(before, input_parts=held.input_parts, prompt_mark=held.prompt_mark)
        root, opened.record = opened.root, replace(before, **changes, revision=before.revision + 1)
        self.keep(opened.record, None, lambda: root.log or RunLog(root.fact()), root.log, refine_this)

    def _keep_ended(
        self,
        opened: OpenCall,
        call: Call,
        error: BaseException | None,
        content: Content | None,
        asked: Asked | None,
        *,
        said: ContentFact | None,
    ) -> None:
        root = opened.root
        if self.gate is not None:
            self.gate.note_end(call)
        fact = new_of_run(opened, call, error)
        root.is_announced = True
        for earlier in opened.repeats if call.status != "cached" else ():  # from the cache came the earlier answer
            self._supersede(earlier)
        opened.repeats = ()
        refine_this = self._refine_knowing(content, asked if self._refiner.inspects else None)
        self.keep(call, fact, lambda: root.log or RunLog(fact or root.fact()), root.log, refine_this, said=said)

    def _refine_knowing(self, content: Content | None, asked: Asked | None) -> Refine | None:
        """What makes more of a call than of its record alone, as long as the memory for that is bounded."""
        if (content is None and asked is None) or self.recorder.is_behind:
            return None
        refine = self._refiner.knowing(content, asked)
        return lambda call: refined_call(call, refine, self.warnings)

    def _started(
        self, run_id: UUID, name: str | None, kwargs: Mapping[str, Any], asked: Any = None, inputs: Any = None
    ) -> Started:
        parent = kwargs.get("parent_run_id")
        ambient = var_child_runnable_config.get() or _EMPTY
        ambient_parent = getattr(ambient.get("callbacks"), "parent_run_id", None)
        return Started(
            run_id=self._text_of(run_id),
            parent_run_id=None if parent is None else self._text_of(parent),
            name=text_or_none(name),
            tags=kwargs.get("tags") or (),
            metadata=kwargs.get("metadata") or _EMPTY,
            clock=time.perf_counter(),  # before the moment: whoever is interrupted here ends late rather than early
            at=datetime.now(UTC),
            scope=CURRENT_SCOPE.get(),
            ambient_parent=None if ambient_parent is None else self._text_of(ambient_parent),
            configurable=ambient.get("configurable"),
            tool_call_id=kwargs.get("tool_call_id"),
            batch_size=kwargs.get("batch_size") or 1,
            asked=question_mark(asked),
            inputs=inputs,
        )

    def _read(self, response: Any, error: BaseException | None, opened: OpenCall) -> Answer:
        running, opened.running = opened.running, None
        try:
            answer = read_result(response, opened.run_id, error=error, running=running)
            return self._neighbours.corrected(opened, answer, response, lambda: self.runs.has_twin(opened))
        except Exception as trouble:  # noqa: BLE001  # an answer that cannot be read is still a call, and is recorded as one
            said = (response, *(said_by(opened) or ()))
            self.warnings.once("answer", "an answer could not be read; its usage is unknown", trouble, said)
            return UNREAD
