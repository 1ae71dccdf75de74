"""Calls whose end nobody reports, answers that only announce, and tools asked for in a way that cannot be read."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from langchain_tokens import TokenUsageHandler, open_store, track


def test_a_call_that_never_ended_is_cancelled_with_no_made_up_time(tmp_path: Path) -> None:
    """When the handler closes, an open call is a cancelled row of a cancelled run; how long it took nobody knows."""
    handler = TokenUsageHandler(tmp_path / "t.db", estimate=False)
    handler.on_chat_model_start({}, [[HumanMessage("hi")]], run_id=uuid4())
    handler.close()
    (call,) = handler.store.calls()
    assert (call.status, call.duration_ms, call.ended_at, call.usage) == ("cancelled", None, None, None)
    (run,) = handler.store.runs()
    assert (run.status, run.duration_ms) == ("cancelled", None)


def test_a_call_that_never_ended_is_recorded_when_the_interpreter_ends(tmp_path: Path) -> None:
    """A process that ends without closing its handler leaves a row for a call that was given up."""
    program = textwrap.dedent(
        """
        import sys, uuid
        from langchain_tokens import TokenUsageHandler
        handler = TokenUsageHandler(sys.argv[1])
        handler.on_chat_model_start({}, [[]], run_id=uuid.uuid4())
        """
    )
    path = str(tmp_path / "t.db")
    root = Path(__file__).parents[1]
    subprocess.run([sys.executable, "-c", program, path], check=True, cwd=root)
    assert [call.status for call in open_store(path).calls()] == ["cancelled"]


async def test_a_late_end_corrects_a_call_that_was_given_up(tmp_path: Path) -> None:
    """An answer that comes after the handler was closed takes the place of the cancelled row."""
    handler, run_id = TokenUsageHandler(tmp_path / "t.db"), uuid4()
    handler.on_chat_model_start({}, [[HumanMessage("hi")]], run_id=run_id)
    await asyncio.to_thread(handler.close)
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    message = AIMessage("hello", usage_metadata=usage)  # type: ignore[arg-type]  # a plain dict is what it takes
    handler.on_llm_end(LLMResult(generations=[[ChatGeneration(message=message)]]), run_id=run_id)
    await asyncio.to_thread(handler.close)
    (call,) = handler.store.calls()
    assert (call.status, call.usage and call.usage.total_tokens) == ("ok", 5)


def test_an_announced_block_is_not_the_first_token(tmp_path: Path) -> None:
    """A block that only says that reasoning or text will come does not stop the clock of the first token."""
    handler, run_id = TokenUsageHandler(tmp_path / "t.db"), uuid4()
    handler.on_chat_model_start({}, [[HumanMessage("hi")]], run_id=run_id)
    announced = [{"type": "reasoning", "summary": [], "id": "rs_1", "index": 0}]
    chunk = SimpleNamespace(message=SimpleNamespace(content=announced, additional_kwargs={}, tool_call_chunks=[]))
    handler.on_llm_new_token(announced, chunk=chunk, run_id=run_id)
    handler.on_llm_end(LLMResult(generations=[[ChatGeneration(message=AIMessage(""))]]), run_id=run_id)
    handler.close()
    (call,) = handler.store.calls()
    assert (call.streamed, call.time_to_first_token_ms) == (True, None)


def test_tools_asked_for_with_broken_arguments_are_named(tmp_path: Path) -> None:
    """The name of a requested tool is kept, also where the model's arguments are no JSON."""
    handler, run_id = TokenUsageHandler(tmp_path / "t.db"), uuid4()
    handler.on_chat_model_start({}, [[HumanMessage("hi")]], run_id=run_id)
    broken = {"name": "search", "args": "{", "id": "c1", "error": "no JSON", "type": "invalid_tool_call"}
    message = AIMessage("", invalid_tool_calls=[broken])  # type: ignore[list-item]  # a plain dict is what it takes
    handler.on_llm_end(LLMResult(generations=[[ChatGeneration(message=message)]]), run_id=run_id)
    handler.close()
    assert handler.store.calls()[0].tool_calls == ("search",)


def test_a_recorded_call_without_a_duration_makes_no_run_of_zero_seconds(tmp_path: Path) -> None:
    """A run made by `record` alone has no duration where none was given."""
    handler = TokenUsageHandler(tmp_path / "t.db")
    handler.record({"prompt_tokens": 1, "completion_tokens": 1})
    assert handler.last_run is not None
    assert handler.last_run.duration_ms is None
    handler.close()
    assert handler.store.runs()[0].duration_ms is None


# What is open for too long

HOUR = 3_600.0


class Clock:
    """The monotonic clock, set by the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr("langchain_tokens.capture.time", SimpleNamespace(perf_counter=lambda: self.now))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that stands still."""
    return Clock(monkeypatch)


@pytest.fixture
def handler(tmp_path: Path) -> Iterator[TokenUsageHandler]:
    """A handler that estimates nothing."""
    with TokenUsageHandler(tmp_path / "t.db", estimate=False) as handler:
        yield handler


def begin(handler: TokenUsageHandler, parent: UUID | None = None) -> UUID:
    """Start a call."""
    run_id = uuid4()
    handler.on_chat_model_start({}, [[HumanMessage("hi")]], run_id=run_id, parent_run_id=parent)
    return run_id


def answer(handler: TokenUsageHandler, run_id: UUID) -> None:
    """End a call."""
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    message = AIMessage("hello", usage_metadata=usage)  # type: ignore[arg-type]  # a plain dict is what it takes
    handler.on_llm_end(LLMResult(generations=[[ChatGeneration(message=message)]]), run_id=run_id)


def begin_chain(handler: TokenUsageHandler, parent: UUID | None = None, **more: Any) -> UUID:
    """Start a chain."""
    run_id = uuid4()
    handler.on_chain_start(None, {}, run_id=run_id, parent_run_id=parent, name="c", **more)
    return run_id


def statuses(handler: TokenUsageHandler) -> dict[str, str]:
    """The status of each stored call."""
    handler.flush()
    return {call.call_id: call.status for call in handler.store.calls()}


def test_a_call_that_is_open_for_a_day_is_given_up(handler: TokenUsageHandler, clock: Clock) -> None:
    """A call that never ends is cancelled when another starts a day later; not one that is a little younger."""
    old = begin(handler)
    clock.now += 2 * HOUR
    young = begin(handler)
    clock.now += 22 * HOUR + 1
    begin(handler)
    assert statuses(handler) == {str(old): "cancelled"}
    assert handler.store.calls()[0].duration_ms is None
    answer(handler, young)
    answer(handler, old)
    assert statuses(handler) == {str(old): "ok", str(young): "ok"}
    assert handler.store.breakdown().total.total_tokens == 10


def test_a_call_whose_run_is_long_over_is_given_up(handler: TokenUsageHandler, clock: Clock) -> None:
    """A call that starts after its run was over, and never ends, is cancelled when that is ten minutes ago; calls of
    runs that go on are not.
    """
    over, on = begin_chain(handler), begin_chain(handler)
    handler.on_chain_end({}, run_id=over)
    late, going_on = begin(handler, over), begin(handler, on)
    clock.now += 590
    begin(handler)
    assert statuses(handler) == {}
    clock.now += 700
    begin(handler)
    assert statuses(handler) == {str(late): "cancelled"}
    answer(handler, late)
    answer(handler, going_on)
    assert statuses(handler) == {str(late): "ok", str(going_on): "ok"}


def test_a_call_of_a_block_that_is_long_over_is_given_up(handler: TokenUsageHandler, clock: Clock) -> None:
    """The same for a call that a `track()` left open."""
    with track(handler.store) as run:
        left = begin(handler)
    for _ in range(2):
        clock.now += 601
        begin(handler)
    assert statuses(handler) == {str(left): "cancelled"}
    assert [(kept.run_id, kept.status) for kept in handler.store.runs()] == [(run.run_id, "ok")]


def test_open_runs_are_looked_at_once_a_minute(handler: TokenUsageHandler, clock: Clock) -> None:
    """Within a minute of the last look nobody looks again, so that a call costs no look at all others."""
    old = begin(handler)
    clock.now += 24 * HOUR - 1
    begin(handler)
    clock.now += 59
    begin(handler)
    assert statuses(handler) == {}
    clock.now += 1
    begin(handler)
    assert statuses(handler) == {str(old): "cancelled"}


def test_chains_that_never_end_are_let_go(handler: TokenUsageHandler, clock: Clock) -> None:
    """Chains that stay open below a run that is over, and all of a run in which nothing begins any more, cost no memory
    for good; a run that is only slow keeps its names for a day, and its own end counts.
    """
    over, idle, slow = (begin_chain(handler) for _ in range(3))
    begin_chain(handler, over)
    handler.on_chain_end({}, run_id=over)
    for _ in range(2):
        clock.now += 601
        answer(handler, begin(handler))
    runs = handler._capture.runs
    assert list(runs._frames) == [str(idle), str(slow)]
    clock.now += 24 * HOUR
    answer(handler, begin(handler, slow))
    handler.on_chain_end({}, run_id=slow)
    handler.flush()
    assert [(call.chain, call.run_id) for call in handler.store.calls(run=str(slow))] == [("c", str(slow))]
    assert handler.run(slow).status == "ok"
    for _ in range(3):
        clock.now += 24 * HOUR
        answer(handler, begin(handler))
    assert (len(runs._frames), len(runs._ended)) == (0, 0)


def test_many_calls_that_never_end_cost_bounded_memory(handler: TokenUsageHandler, clock: Clock) -> None:
    """Bare calls over days that are all cancelled leave a day's calls at most, and each older one is a row."""
    runs = handler._capture.runs
    for _ in range(2_000):
        clock.now += 120
        begin(handler)
    assert len(runs) <= 24 * 30 + 1
    assert len(runs._late) <= 2_048
    handler.flush()
    assert handler.store.breakdown("status")["cancelled"].calls == 2_000 - len(runs)


def test_more_calls_than_are_kept_open_are_all_answered(handler: TokenUsageHandler) -> None:
    """Of a batch with more calls at once than are kept open, each is recorded with what it used."""
    for run_id in [begin(handler) for _ in range(6_200)]:
        answer(handler, run_id)
    handler.flush()
    total = handler.store.breakdown("status")["ok"]
    assert (total.calls, total.total_tokens) == (6_200, 5 * 6_200)


def test_calls_that_were_given_up_are_let_go(
    handler: TokenUsageHandler, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of calls that were given up the newest are kept, and of those that are open for a day a few."""
    for name, most in (("OPEN_CALLS", 10), ("LATE", 30), ("ENDED", 5)):
        monkeypatch.setattr(f"langchain_tokens.runs._KEPT_{name}", most)
    begun = [begin(handler) for _ in range(100)]
    late = handler._capture.runs._late
    assert list(late) == [str(run_id) for run_id in begun[60:90]]
    clock.now += 24 * HOUR + 1
    begin(handler)
    assert list(late) == [str(run_id) for run_id in begun[95:]]
