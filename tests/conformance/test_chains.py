"""Whom does a call belong to in chains, batches, retries, streams and cancelled runs? Rows 01 to 21 of the table."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import Runnable, RunnableBranch, RunnableLambda, RunnableParallel
from pydantic import BaseModel

from langchain_tokens import TokenUsageHandler
from tests.conformance.builders import PROMPT, QUESTION, chain, config, failing_first
from tests.conformance.models import Gate, ScriptedError, ScriptedModel, SeveralAnswersModel, StreamingModel, calling
from tests.conformance.table import Row, Table, check, name_of

TABLE = Table()


@TABLE.row("01", "a bare call has no name", "- | - | - | 1 | ok 10/5")
def bare(handler: TokenUsageHandler) -> None:
    ScriptedModel().invoke("q", config(handler))


@TABLE.row("02", "a model's run name names the call", "intent | - | intent | 1 | ok 10/5")
def named_model(handler: TokenUsageHandler) -> None:
    ScriptedModel().invoke("q", config(handler, run_name="intent"))


@TABLE.row("03", "a named chain names its call", "intent | - | intent | 1 | ok 10/5")
def named_chain(handler: TokenUsageHandler) -> None:
    chain(name="intent").invoke(QUESTION, config(handler))


@TABLE.row("04", "a run name given to invoke names the chain", "table_selection | - | table_selection | 1 | ok 10/5")
def root_run_name(handler: TokenUsageHandler) -> None:
    chain().invoke(QUESTION, config(handler, run_name="table_selection"))


@TABLE.row("05", "the model's own name wins", "writer_llm | - | outer/writer_llm | 1 | ok 10/5")
def both_named(handler: TokenUsageHandler) -> None:
    chain(ScriptedModel().with_config(run_name="writer_llm"), "outer").invoke(QUESTION, config(handler))


@TABLE.row(
    "06", "a function calls a model without a config", "sql_generation | - | pipeline/sql_generation | 1 | ok 10/5"
)
def function_without_config(handler: TokenUsageHandler) -> None:
    model = ScriptedModel()
    step = RunnableLambda(lambda _: model.invoke("q")).with_config(run_name="sql_generation")
    (PROMPT | step).with_config(run_name="pipeline").invoke(QUESTION, config(handler))


@TABLE.row("07", "parallel branches", "intent | - | intent | 1 | ok 10/5", "other | - | other | 1 | ok 10/5")
def parallel(handler: TokenUsageHandler) -> None:
    RunnableParallel(a=chain(name="intent"), b=chain(name="other")).invoke(QUESTION, config(handler))


@TABLE.row("08", "a branch", "intent | - | intent | 1 | ok 10/5")
def branch(handler: TokenUsageHandler) -> None:
    chosen = RunnableBranch((lambda _: True, chain(name="intent")), chain(name="other"))
    chosen.invoke(QUESTION, config(handler))


@TABLE.row("09", "a batch is as many runs", *["intent | - | intent | 1 | ok 10/5"] * 3, runs=3)
def batch(handler: TokenUsageHandler) -> None:
    chain(name="intent").batch([QUESTION] * 3, config(handler))


@TABLE.row("10", "an asynchronous batch is as many runs", *["intent | - | intent | 1 | ok 10/5"] * 3, runs=3)
async def asynchronous_batch(handler: TokenUsageHandler) -> None:
    await chain(name="intent").abatch([QUESTION] * 3, config(handler))


@TABLE.row("11", "two prompts with two answers each", *["- | - | - | 1 | ok 10/5"] * 2, runs=2)
def several_generations(handler: TokenUsageHandler) -> None:
    SeveralAnswersModel().generate([[HumanMessage("a")], [HumanMessage("b")]], callbacks=[handler])


@TABLE.row(
    "12",
    "a batch of prompts fails in the middle; the others' ends never come",
    "- | - | - | 1 | cancelled -",
    "- | - | - | 1 | error -",
    "- | - | - | 1 | cancelled -",
    runs=3,
)
def generate_fails(handler: TokenUsageHandler) -> None:
    model = ScriptedModel(steps=("ok", ScriptedError("no"), "never"))
    with pytest.raises(ScriptedError):
        model.generate([[HumanMessage("a")], [HumanMessage("b")], [HumanMessage("c")]], callbacks=[handler])


@TABLE.row(
    "13",
    "with_retry on the model",
    "sql_fix | - | sql_fix | 1 | error -",
    "sql_fix | - | sql_fix | 2 retry | error -",
    "sql_fix | - | sql_fix | 3 retry | ok 10/5",
)
def retried_model(handler: TokenUsageHandler) -> None:
    chain(failing_first(2).with_retry(wait_exponential_jitter=False), "sql_fix").invoke(QUESTION, config(handler))


@TABLE.row(
    "14",
    "with_retry on the chain",
    "sql_fix | - | sql_fix | 1 | error -",
    "sql_fix | - | sql_fix | 2 retry | ok 10/5",
)
def retried_chain(handler: TokenUsageHandler) -> None:
    whole = chain(failing_first(1), "sql_fix").with_retry(wait_exponential_jitter=False)
    whole.invoke(QUESTION, config(handler))


@TABLE.row(
    "+",
    "a retried chain's later calls are no retries: the failed attempt had not made them",
    "draft | - | both/draft | 1 | ok 10/5",
    "check | - | both/check | 1 | error -",
    "draft | - | both/draft | 2 retry | ok 10/5",
    "check | - | both/check | 2 retry | ok 10/5",
    "polish | - | both/polish | 1 | ok 10/5",
)
def retried_chain_goes_further(handler: TokenUsageHandler) -> None:
    steps = (chain(name="draft"), chain(failing_first(1), "check"), chain(name="polish"))
    ask_all = RunnableLambda(lambda question: [step.invoke(question) for step in steps])
    ask_all.with_config(run_name="both").with_retry(wait_exponential_jitter=False).invoke(QUESTION, config(handler))


@TABLE.row(
    "15",
    "with_fallbacks in a chain",
    "sql_generation | - | sql_generation | 1 | error -",
    "sql_generation | - | sql_generation | 2 fallback | ok 10/5",
)
def fallback(handler: TokenUsageHandler) -> None:
    chain(_with_fallback(), "sql_generation").invoke(QUESTION, config(handler))


@TABLE.row(
    "+",
    "with_fallbacks at the top is one run",
    "sql_generation | - | sql_generation | 1 | error -",
    "sql_generation | - | sql_generation | 2 fallback | ok 10/5",
)
def bare_fallback(handler: TokenUsageHandler) -> None:
    _with_fallback().with_config(run_name="sql_generation").invoke("q", config(handler))


@TABLE.row(
    "+",
    "with_fallbacks with a name of its own, between two models of one name",
    "pick | - | whole/pick | 1 | error -",
    "pick | - | whole/pick | 2 fallback | ok 10/5",
)
def named_fallback(handler: TokenUsageHandler) -> None:
    either = failing_first(1).with_fallbacks([ScriptedModel()]).with_config(run_name="pick")
    (PROMPT | either).with_config(run_name="whole").invoke(QUESTION, config(handler))


@TABLE.row(
    "+",
    "with_fallbacks between two chains with models of one name",
    "first | - | whole/first | 1 | error -",
    "second | - | whole/second | 1 fallback | ok 10/5",
    "second | - | whole/second | 2 | ok 10/5",
)
async def fallback_of_chains(handler: TokenUsageHandler) -> None:
    second = chain(name="second")
    either = chain(failing_first(1), "first").with_fallbacks([second])
    await (either | (lambda _: QUESTION) | second).with_config(run_name="whole").ainvoke(QUESTION, config(handler))


@TABLE.row(
    "+",
    "with_fallbacks in a stream",
    "sql_generation | - | sql_generation | 1 | error -",
    "sql_generation | - | sql_generation | 2 fallback | ok 10/5",
)
async def fallback_in_a_stream(handler: TokenUsageHandler) -> None:
    assert [piece async for piece in chain(_with_fallback(), "sql_generation").astream(QUESTION, config(handler))]


@TABLE.row(
    "+",
    "with_fallbacks in a batch",
    *["sql_generation | - | sql_generation | 1 | error -"] * 2,
    *["sql_generation | - | sql_generation | 2 fallback | ok 10/5"] * 2,
    runs=2,
)
def fallback_in_a_batch(handler: TokenUsageHandler) -> None:
    chain(_with_fallback(), "sql_generation").batch([QUESTION] * 2, config(handler))


@TABLE.row(
    "+",
    "with_fallbacks after with_retry",
    "sql_generation | - | sql_generation | 1 | error -",
    "sql_generation | - | sql_generation | 2 retry | error -",
    "sql_generation | - | sql_generation | 3 fallback | ok 10/5",
)
def retry_then_fallback(handler: TokenUsageHandler) -> None:
    primary = failing_first(5).with_retry(stop_after_attempt=2, wait_exponential_jitter=False)
    chain(primary.with_fallbacks([ScriptedModel()]), "sql_generation").invoke(QUESTION, config(handler))


@TABLE.row(
    "+",
    "two with_fallbacks one after the other do not mix",
    "a | - | both/a | 1 | error -",
    "a | - | both/a | 2 fallback | ok 10/5",
    "b | - | both/b | 1 | ok 10/5",
)
def two_fallbacks(handler: TokenUsageHandler) -> None:
    first = chain(failing_first(1), "a").with_fallbacks([chain(name="a")])
    second = chain(name="b").with_fallbacks([chain(name="c")])
    (first | (lambda _: QUESTION) | second).with_config(run_name="both").invoke(QUESTION, config(handler))


def _with_fallback() -> Runnable[Any, Any]:
    primary = ScriptedModel(steps=(ScriptedError("down"),), model_name="primary")
    return primary.with_fallbacks([ScriptedModel(model_name="secondary")])


class Intent(BaseModel):
    """An answer's structure."""

    kind: str


@TABLE.row("16", "structured output", "intent | - | intent | 1 | ok 10/5")
def structured_output(handler: TokenUsageHandler) -> None:
    model = ScriptedModel(steps=(calling(("Intent", {"kind": "count"})),)).with_structured_output(Intent)
    (PROMPT | model).with_config(run_name="intent").invoke(QUESTION, config(handler))


@TABLE.row("17", "a stream", "answer | - | answer | 1 | ok 10/5")
def stream(handler: TokenUsageHandler) -> None:
    assert "".join(chain(name="answer").stream(QUESTION, config(handler))) == "answer"


@TABLE.row("18", "an asynchronous stream", "answer | - | answer | 1 | ok 10/5")
async def asynchronous_stream(handler: TokenUsageHandler) -> None:
    assert "".join([piece async for piece in chain(name="answer").astream(QUESTION, config(handler))]) == "answer"


@TABLE.row("19", "a stream closed after the usage came", "answer | - | answer | 1 | cancelled 10/5")
def stream_closed(handler: TokenUsageHandler) -> None:
    pieces = StreamingModel().stream("q", config(handler, run_name="answer"))
    for piece in pieces:
        if piece.usage_metadata is not None:
            break
    pieces.close()  # type: ignore[attr-defined]


@TABLE.row("20", "an asynchronous stream broken off early", "answer | - | answer | 1 | cancelled -")
async def asynchronous_stream_broken_off(handler: TokenUsageHandler) -> None:
    pieces = chain(name="answer").astream(QUESTION, config(handler))
    async for _ in pieces:
        break
    await pieces.aclose()  # type: ignore[attr-defined]


@TABLE.row("21", "a cancelled call: the chain's end tells", "slow | - | slow | 1 | cancelled -")
async def cancelled(handler: TokenUsageHandler) -> None:
    gate = Gate()
    task = asyncio.create_task(chain(ScriptedModel(gate=gate), "slow").ainvoke(QUESTION, config(handler)))
    await gate.await_entered()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@TABLE.row("+", "a bare call cancelled: nothing tells but the handler's end", "- | - | - | 1 | cancelled -")
async def bare_cancelled(handler: TokenUsageHandler) -> None:
    gate = Gate()
    task = asyncio.create_task(ScriptedModel(gate=gate).ainvoke("q", config(handler)))
    await gate.await_entered()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("row", TABLE.rows, ids=name_of)
def test_calls_belong_to_their_chain(row: Row, tmp_path: Path) -> None:
    """Each scenario stores exactly the calls that its row says."""
    check(row, tmp_path)


@pytest.mark.parametrize("play", [stream, asynchronous_stream], ids=["stream", "astream"])
def test_a_stream_shows_its_first_token(play: Any, tmp_path: Path) -> None:
    """A streamed call has a time to its first token, no longer than the call."""
    from tests.conformance.table import played, stored_calls

    (call,) = stored_calls(played(play, tmp_path))
    assert call.streamed
    assert call.time_to_first_token_ms is not None
    assert call.duration_ms is not None
    assert 0 <= call.time_to_first_token_ms <= call.duration_ms
