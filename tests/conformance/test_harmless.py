"""Is the application unchanged by being watched? Results, errors, other handlers' events, and memory."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.utils.uuid import uuid7

from langchain_tokens import TokenUsageHandler
from langchain_tokens.runs import _KEPT_OPEN_CALLS
from tests.conformance.builders import QUESTION, asks, chain, failing_first, line_of, looping
from tests.conformance.models import USAGE, Gate, ScriptedError, ScriptedModel, StreamingModel
from tests.conformance.table import stored_calls
from tests.conformance.test_agents import ASKED, get_weather, thinks

HALF = 2_000
CALLS_OF_A_RUN = 5
GROWTH_ALLOWED = 1_000_000
"""Bytes: ten thousand calls that were held would be many times that."""


class Recording(BaseCallbackHandler):
    """A handler that writes down what it hears, in order."""

    run_inline = True

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self._runs: dict[UUID, int] = {}

    def _hear(self, event: str, run_id: UUID, kwargs: dict[str, Any]) -> None:
        parent = kwargs.get("parent_run_id")
        number = self._runs.setdefault(run_id, len(self._runs))
        above = None if parent is None else self._runs.get(parent)
        names = sorted(kwargs.get("metadata") or {})
        self.heard.append((event, number, above, kwargs.get("name"), tuple(kwargs.get("tags") or ()), tuple(names)))

    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._hear("chain start", run_id, kwargs)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._hear("chain end", run_id, kwargs)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._hear(f"chain {error!r}", run_id, kwargs)

    def on_tool_start(self, serialized: Any, input_str: str, *, run_id: UUID, **kwargs: Any) -> None:
        self._hear("tool start", run_id, kwargs)

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._hear("tool end", run_id, kwargs)

    def on_chat_model_start(self, serialized: Any, messages: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._hear("model start", run_id, kwargs)

    def on_llm_new_token(self, token: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._hear(f"token {token}", run_id, kwargs)

    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._hear(f"model end {response.generations[0][0].text}", run_id, kwargs)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._hear(f"model {error!r}", run_id, kwargs)


def _loop(given: Any) -> Any:
    return looping("sql_fix", asks(chain(name="named")), 3, "G").invoke({**QUESTION, "turns": 0}, given)


def _agent(given: Any) -> Any:
    agent = create_agent(thinks(("get_weather", {"city": "Pune"})), [get_weather], name="A")
    return [message.content for message in agent.invoke(ASKED, given)["messages"]]


def _retried(given: Any) -> Any:
    return chain(failing_first(1).with_retry(wait_exponential_jitter=False), "sql_fix").invoke(QUESTION, given)


def _streamed(given: Any) -> Any:
    return list(chain(StreamingModel(), "answer").stream(QUESTION, given))


async def _streamed_async(given: Any) -> Any:
    return [piece async for piece in chain(StreamingModel(), "answer").astream(QUESTION, given)]


def _failing(given: Any) -> Any:
    return line_of(("bad", asks(failing_first(1))), name="G").invoke(QUESTION, given)


async def _failing_async(given: Any) -> Any:
    return await chain(failing_first(1), "bad").ainvoke(QUESTION, given)


def _outcome(play: Any, handlers: list[BaseCallbackHandler]) -> tuple[Any, ...]:
    """What an application gives, or fails with."""
    recording = Recording()
    given = {"callbacks": [*handlers, recording], "metadata": {"mine": 1}, "tags": ["my tag"]}
    before = repr({name: value for name, value in given.items() if name != "callbacks"})
    try:
        result = play(given)
        result = asyncio.run(result) if asyncio.iscoroutine(result) else result
    except ScriptedError as error:
        result = (repr(error), error.__cause__, getattr(error, "__notes__", None) is not None)
    assert repr({name: value for name, value in given.items() if name != "callbacks"}) == before
    return result, recording.heard


@pytest.mark.parametrize(
    "play",
    [_loop, _agent, _retried, _streamed, _streamed_async, _failing, _failing_async],
    ids=lambda play: play.__name__,
)
def test_the_application_does_not_notice(play: Any, tmp_path: Path) -> None:
    """Results, errors and the events that another handler hears are the same with our handler and without."""
    handler = TokenUsageHandler(store=tmp_path / "usage.db")
    watched = _outcome(play, [handler])
    handler.close()
    assert watched == _outcome(play, [])
    assert stored_calls(handler)


def _finished_runs(handler: TokenUsageHandler, runs: int) -> None:
    """Runs as LangChain would tell of them, without LangChain's own share of memory and time."""
    answer = LLMResult(generations=[[ChatGeneration(message=AIMessage("x", usage_metadata=USAGE))]])
    messages = [[HumanMessage("question")]]
    for _ in range(runs):
        root = uuid7()
        handler.on_chain_start(None, {}, run_id=root, name="chain", metadata={}, tags=[])
        for _ in range(CALLS_OF_A_RUN):
            call = uuid7()
            handler.on_chat_model_start({"name": "Model"}, messages, run_id=call, parent_run_id=root, metadata={})
            handler.on_llm_end(answer, run_id=call, parent_run_id=root)
        handler.on_chain_end({}, run_id=root)


async def _cancelled_calls(handler: TokenUsageHandler, calls: int) -> None:
    gate = Gate()
    slow = chain(ScriptedModel(gate=gate), "slow")
    for _ in range(calls):
        task = asyncio.create_task(slow.ainvoke(QUESTION, {"callbacks": [handler]}))
        await gate.await_entered()
        gate.entered.clear()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def _held(handler: TokenUsageHandler) -> int:
    assert handler.flush(60)
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def test_memory_is_bounded(tmp_path: Path) -> None:
    """The second ten thousand calls and the second hundred cancelled ones leave no more in memory than the first."""
    with TokenUsageHandler(store=tmp_path / "usage.db") as handler:
        tracemalloc.start()
        try:
            held = []
            for _ in range(2):
                asyncio.run(_cancelled_calls(handler, 100))
                _finished_runs(handler, HALF)
                held.append(_held(handler))
        finally:
            tracemalloc.stop()
        total = handler.store.breakdown("status")
    assert held[1] - held[0] < GROWTH_ALLOWED
    assert (total["ok"].calls, total["cancelled"].calls) == (2 * HALF * CALLS_OF_A_RUN, 200)


def test_calls_that_never_end_are_let_go(tmp_path: Path) -> None:
    """More open calls than are kept are recorded as cancelled, the oldest first, and a late end still corrects one."""
    handler = TokenUsageHandler(store=tmp_path / "usage.db")
    ids = [uuid7() for _ in range(_KEPT_OPEN_CALLS + 3)]
    for run_id in ids:
        handler.on_chat_model_start({}, [[HumanMessage("q")]], run_id=run_id, metadata={})
    answer = LLMResult(generations=[[ChatGeneration(message=AIMessage("x", usage_metadata=USAGE))]])
    handler.on_llm_end(answer, run_id=ids[0])
    stored = {call.call_id: call for call in stored_calls(handler)}
    assert {str(run_id) for run_id in ids[:3]} == set(stored)
    assert [stored[str(run_id)].status for run_id in ids[:3]] == ["ok", "cancelled", "cancelled"]
    handler.close()
