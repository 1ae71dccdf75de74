"""Calls whose end nobody reports, answers that only announce, and tools asked for in a way that cannot be read."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from langchain_tokens import TokenUsageHandler, open_store


def test_a_call_that_never_ended_is_cancelled_with_no_made_up_time(tmp_path: Path) -> None:
    """When the handler closes, an open call is a cancelled row of a cancelled run; how long it took nobody knows."""
    handler = TokenUsageHandler(tmp_path / "t.db")
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
