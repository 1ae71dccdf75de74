"""What a handler saw: runs kept apart, bounded memory, exact sums, and the facts of each call."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langchain_tokens import Breakdown, TokensError, TokenUsage, TokenUsageHandler, open_store, track
from langchain_tokens.breakdown import aggregate
from langchain_tokens.call import Call
from langchain_tokens.memory import RunMemory
from langchain_tokens.query import make_query
from langchain_tokens.runlog import RunLog
from tests.builders import make_call, make_fact, make_usage
from tests.conformance.builders import line_of
from tests.conformance.models import Gate, ScriptedModel
from tests.conformance.test_resume import stops
from tests.models import Reply, ScriptedChat, StreamingChat, acknowledged_graph, in_turn

LONG = 15.0
MANY = 50
ROUNDS = 4
ZERO = TokenUsage(input_tokens=0, output_tokens=0, total_tokens=0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database lies."""
    return tmp_path / "usage.db"


@pytest.fixture
def handler(path: Path) -> Iterator[TokenUsageHandler]:
    """A handler on that database."""
    with TokenUsageHandler(path) as handler:
        yield handler


def as_many_as_asked(messages: list[BaseMessage]) -> Reply:
    """Use as many input tokens as the prompt says."""
    number = int(str(messages[-1].content))
    return Reply(usage={"input_tokens": number, "output_tokens": 1, "total_tokens": number + 1})


def config_of(handler: TokenUsageHandler, session: str) -> RunnableConfig:
    """A config with the handler and a session."""
    return {"callbacks": [handler], "metadata": {"session_id": session}}


def check_kept_apart(handler: TokenUsageHandler, path: Path) -> None:
    """Assert that each run holds two calls of its own session and number, in memory and in the store."""
    assert handler.flush(LONG)
    for runs in (handler.runs, open_store(path).runs(limit=10_000)):
        assert len({run.run_id for run in runs}) == len(runs) == MANY * ROUNDS
        for run in runs:
            number = int((run.session or "").removeprefix("session-"))
            said = [(call.run_id, call.session, (call.usage or ZERO).input_tokens) for call in run.calls]
            assert said == 2 * [(run.run_id, run.session, number)]
    rows = {row.key["session"]: (row.calls, row.input_tokens) for row in handler.breakdown("session")}
    assert rows == {f"session-{number}": (2 * ROUNDS, 2 * ROUNDS * number) for number in range(1, MANY + 1)}


# A run of very many calls


def test_run_of_many_calls_leaves_memory_in_parts(handler: TokenUsageHandler) -> None:
    """Memory holds some thousand calls, of however few runs; sums stay exact, and a run is shown with all its calls."""
    handler._capture.memory._keep_calls = 100
    for _ in range(1_050):
        handler.record({"input_tokens": 1, "output_tokens": 1}, run_id="long", chain="work")
    handler.record({"input_tokens": 1, "output_tokens": 1}, run_id="short", chain="work")

    assert sum(log.count for log in handler._capture.memory._runs.values()) <= 100
    assert handler.breakdown("chain")["work"].calls == 1_051
    assert len(handler.run("long").calls) == 1_050
    assert {run.run_id: len(run.calls) for run in handler.runs} == {"long": 1_050, "short": 1}
    assert handler.flush(LONG)
    assert handler.breakdown("chain")["work"].calls == handler.store.breakdown("chain")["work"].calls == 1_051


def test_run_of_many_calls_that_goes_on_leaves_memory_in_parts(handler: TokenUsageHandler) -> None:
    """The same of a graph that still runs: its end is stored, whatever of it memory holds by then."""
    handler._capture.memory._keep_calls = 20
    model = ScriptedChat()

    def work(_: object) -> int:
        for _ in range(205):
            model.invoke("q")
        return sum(log.count for log in handler._capture.memory._runs.values())

    held = RunnableLambda(work).invoke("q", {"callbacks": [handler]})

    assert held <= 40
    assert handler.breakdown().total.calls == 205
    assert handler.last_run is not None
    assert (len(handler.last_run.calls), handler.last_run.status) == (205, "ok")


# Many at once


def test_threads_are_kept_apart(handler: TokenUsageHandler, path: Path) -> None:
    """One handler in 50 threads at once: each run has the calls, sessions and tokens of its own thread."""
    graph = acknowledged_graph(ScriptedChat(script=as_many_as_asked))
    together = threading.Barrier(MANY)

    def work(number: int) -> None:
        together.wait()
        for _ in range(ROUNDS):
            graph.invoke({"question": str(number)}, config_of(handler, f"session-{number}"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, MANY + 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_kept_apart(handler, path)


async def test_tasks_are_kept_apart(handler: TokenUsageHandler, path: Path) -> None:
    """One handler in 50 tasks at once: each run has the calls, sessions and tokens of its own task."""
    model = ScriptedChat(script=as_many_as_asked)

    async def ask_twice(number: str) -> None:
        for _ in range(2):
            await asyncio.sleep(0)
            await model.ainvoke(number)

    chain = RunnableLambda(ask_twice).with_config(run_name="question")

    async def work(number: int) -> None:
        for _ in range(ROUNDS):
            await chain.ainvoke(str(number), config_of(handler, f"session-{number}"))

    await asyncio.gather(*(work(number) for number in range(1, MANY + 1)))
    check_kept_apart(handler, path)


# Bounded memory


def test_memory_is_bounded_and_sums_stay_exact(handler: TokenUsageHandler, path: Path) -> None:
    """After 5,000 calls without a chain around them the handler holds the newest 1,000, nothing that is open, and its
    sums by chain still count all of them.
    """
    gc.collect()
    before = sum(type(thing) in (Call, RunLog) for thing in gc.get_objects())
    model = ScriptedChat(script=as_many_as_asked)
    for number in range(1, 5_001):
        names = {"session_id": str(number), "tokens_chain": "bare"}
        model.invoke(str(number), {"callbacks": [handler], "metadata": names})
    row = handler.breakdown("chain")["bare"]
    newest = [run.session for run in handler.runs]
    assert handler.flush(LONG)
    gc.collect()
    after = sum(type(thing) in (Call, RunLog) for thing in gc.get_objects())

    assert (row.calls, row.input_tokens, row.output_tokens) == (5_000, 5_000 * 5_001 // 2, 5_000)
    assert newest == [str(number) for number in range(4_001, 5_001)]
    assert after - before < 3 * 1_000
    assert len(handler._capture.runs) == 0
    check_split_by_session(handler, path)


def check_split_by_session(handler: TokenUsageHandler, path: Path) -> None:
    """Assert that what memory no longer knows is an error that names the store, which does know."""
    with pytest.raises(TokensError, match=r"handler\.store"):
        handler.breakdown("session")
    with pytest.raises(TokensError, match=r"handler\.store"):
        handler.breakdown("chain", since="1d")
    assert handler.store.breakdown("session")["17"].input_tokens == 17
    assert len(handler.store.breakdown("session")) == 5_000
    oldest = handler.store.calls(order="started_at", limit=1)[0]
    assert handler.run(oldest.run_id).calls == [oldest]
    assert open_store(path).breakdown("chain")["bare"].cost_usd == handler.breakdown("chain")["bare"].cost_usd


def test_running_runs_are_not_let_go(handler: TokenUsageHandler) -> None:
    """A run that still goes on stays in memory while 1,000 others come and go."""
    model = ScriptedChat()

    def others() -> None:
        for _ in range(1_010):
            model.invoke("bare", {"callbacks": [handler]})

    def long(text: str) -> int:
        model.invoke(text)
        thread = threading.Thread(target=others)
        thread.start()
        thread.join()
        model.invoke(text)
        return len(next(run for run in handler.runs if run.name == "long").calls)

    assert RunnableLambda(long).invoke("q", {"callbacks": [handler], "run_name": "long"}) == 2
    assert len(handler.runs) == 1_000
    assert handler.breakdown().total.calls == 1_012


def note_bare(memory: RunMemory, number: int) -> Call:
    """Note a call in a run of its own, which ended."""
    call = make_call(run_id=f"run-{number}", chain="bare")
    memory.note_call(call, lambda: RunLog(make_fact(call.run_id)))
    return call


def test_sums_are_exact_while_a_run_leaves() -> None:
    """A reader counts a run that the writer is just folding into the sums, even if its price takes long."""
    is_slow, go_on = threading.Event(), threading.Event()

    def refine(call: Call) -> Call:
        if threading.current_thread().name == "writer":
            is_slow.set()
            go_on.wait()
        return call

    memory = RunMemory(refine, keep_runs=2)
    calls = [note_bare(memory, number) for number in range(5)]
    writer = threading.Thread(target=memory.settle, args=calls[:1], name="writer")
    counted: list[int] = []
    reader = threading.Thread(target=lambda: counted.append(memory.breakdown(make_query(["chain"])).total.calls))
    writer.start()
    assert is_slow.wait(LONG)
    reader.start()
    reader.join(0.5)
    go_on.set()
    reader.join()
    writer.join()

    assert counted == [5]
    assert memory.breakdown(make_query(["chain"])).total.calls == 5


def test_sums_are_exact_while_others_record() -> None:
    """While one thread records and folds, a reader counts all that was recorded before it asked, and nothing twice."""
    memory = RunMemory(lambda call: replace(call, price_status="free"), keep_runs=3)
    recorded, is_done = [0], threading.Event()

    def record() -> None:
        for number in range(3_000):
            call = note_bare(memory, number)
            recorded[0] = number + 1
            memory.settle(call)
        is_done.set()

    thread = threading.Thread(target=record)
    thread.start()
    wrong: list[tuple[int, int, int]] = []
    while not is_done.is_set():
        least = recorded[0]
        counted = memory.breakdown(make_query(["chain"])).total.calls
        most = recorded[0] + 1
        if not least <= counted <= most:
            wrong.append((least, counted, most))
    thread.join()

    assert wrong == []
    assert memory.breakdown(make_query(["chain"])).total.calls == 3_000


def shown(breakdown: Breakdown) -> list[tuple[Any, ...]]:
    """The rows and sums of a breakdown that corrections change."""
    names = ("calls", "failed_calls", "estimated_calls", "calls_without_usage", "total_tokens", "cost_usd")
    rows = [
        (*row.key.values(), *(getattr(row, name) for name in names), row.wasted_cost_usd or None) for row in breakdown
    ]
    return sorted(rows, key=str)


def test_correction_of_a_call_whose_run_left() -> None:
    """A late end changes what the sums say of a cancelled call, however often it is told; it is no second call."""
    memory = RunMemory(lambda call: call, keep_runs=2)
    given_up = make_call(run_id="run-0", chain="bare", status="cancelled", tokens=None)
    memory.note_call(given_up, lambda: RunLog(make_fact("run-0", status="cancelled")))
    others = [note_bare(memory, number) for number in range(1, 6)]
    assert memory.run("run-0") is None
    ended = replace(given_up, status="ok", usage=make_usage(7, 3), revision=1)
    for _ in range(2):
        memory.note_call(ended, lambda: pytest.fail("the run is not to be held again"))
        assert shown(memory.breakdown(make_query(["chain", "status"]))) == shown(
            aggregate([ended, *others], make_query(["chain", "status"]))
        )
    assert len(memory.runs()) == 2


def test_correction_comes_before_its_run_is_folded() -> None:
    """A correction waits for its run, and a reader who comes between them counts the call once."""
    memory = RunMemory(lambda call: call, keep_runs=1)
    calls = [make_call(run_id=f"run-{number}", status="cancelled", tokens=None) for number in range(3)]
    for call in calls:
        memory.note_call(call, lambda call=call: RunLog(make_fact(call.run_id, status="cancelled")))  # type: ignore[misc]
    ended = [replace(call, status="ok", usage=make_usage(7, 3), revision=1) for call in calls]
    for call in ended:
        memory.note_call(call, lambda: pytest.fail("no run is to be held again"))
    assert shown(memory.breakdown(make_query(["status"]))) == shown(aggregate(ended, make_query(["status"])))


def test_correction_of_a_call_that_nobody_remembers() -> None:
    """What may still be corrected is bounded: an older call stays as it was counted, and none is counted twice."""
    memory = RunMemory(lambda call: call, keep_runs=1)
    calls = [make_call(run_id=f"run-{number}", status="cancelled", tokens=None) for number in range(2_100)]
    for call in calls:
        memory.note_call(call, lambda call=call: RunLog(make_fact(call.run_id, status="cancelled")))  # type: ignore[misc]
    assert memory.breakdown(make_query([])).total.calls == 2_100
    assert len(memory._correctable) == 2_048
    for call in calls:
        ended = replace(call, status="ok", usage=make_usage(7, 3), revision=1)
        memory.note_call(ended, lambda: pytest.fail("no run is to be held again"))
    total = memory.breakdown(make_query([])).total
    assert (total.calls, total.total_tokens) == (2_100, 10 * (2_048 + 1))  # the last one's run is still held


async def test_late_end_after_its_run_left_is_in_the_sums(handler: TokenUsageHandler) -> None:
    """Memory and store agree when a call ends that was given up more than 1,000 runs ago."""
    gate, tasks = Gate(), []
    slow, model = ScriptedModel(gate=gate), ScriptedChat()

    async def node(_: str) -> str:
        tasks.append(asyncio.create_task(slow.ainvoke("q")))
        await gate.await_entered()
        return ""

    await RunnableLambda(node).ainvoke("q", {"callbacks": [handler], "run_name": "left"})
    for _ in range(1_010):
        await model.ainvoke("q", {"callbacks": [handler]})
    given_up = handler.breakdown("chain")["left"]
    assert (given_up.calls, given_up.output_tokens) == (1, 0)  # estimated: nothing had come back
    gate.release()
    await asyncio.gather(*tasks)
    await asyncio.to_thread(handler.flush, LONG)
    row = handler.breakdown("chain")["left"]
    assert (row.calls, row.total_tokens, row.estimated_calls) == (1, 15, 0)
    stored = await asyncio.to_thread(handler.store.breakdown, "chain", "status")
    assert shown(handler.breakdown("chain", "status")) == shown(stored)


@pytest.mark.parametrize("around", [nullcontext, track], ids=["bare", "track"])
def test_resume_after_its_run_left_is_in_the_sums(handler: TokenUsageHandler, around: Any) -> None:
    """Memory and store agree on what was wasted when a run is resumed that was interrupted more than 1,000 runs ago."""
    model = ScriptedChat()
    graph = line_of(("ask", stops(model, after=model)), name="G", checkpointer=InMemorySaver())
    given: Any = {"callbacks": [handler], "configurable": {"thread_id": "th"}}
    with around():
        graph.invoke({"q": "question"}, given)
    for _ in range(1_010):
        model.invoke("q", {"callbacks": [handler]})
    assert handler.breakdown("chain")["ask"].wasted_cost_usd is None
    graph.invoke(Command(resume="yes"), given)
    assert handler.flush(LONG)
    row = handler.breakdown("chain")["ask"]
    assert (row.calls, row.total_tokens) == (3, 45)
    assert row.wasted_cost_usd is not None
    assert row.wasted_cost_usd * 3 == row.cost_usd
    assert shown(handler.breakdown("chain", "status")) == shown(handler.store.breakdown("chain", "status"))


def test_late_call_of_a_tracked_run_that_left(handler: TokenUsageHandler) -> None:
    """A call that ends after its block's run has left memory is one more, and those before it count once."""
    model, slow = ScriptedChat(), StreamingChat()
    given: Any = {"callbacks": [handler]}
    with track(handler.store, chain="left") as run:
        model.invoke("q", given)
        pieces = slow.stream("q", given)
        next(pieces)
    for _ in range(1_010):
        model.invoke("q", given)
    assert handler.breakdown("chain")["left"].calls == 1
    assert list(pieces)
    assert handler.flush(LONG)
    assert (handler.breakdown("chain")["left"].calls, len(run.calls)) == (2, 2)
    assert shown(handler.breakdown("chain")) == shown(handler.store.breakdown("chain"))


# Facts


def only_call(handler: TokenUsageHandler) -> Call:
    """The one call that was stored; the handler's memory holds the same."""
    assert handler.flush(LONG)
    (call,) = handler.store.calls()
    assert handler.last_run is not None
    assert list(handler.last_run.calls) == [call]
    return call


def test_failed_call_is_a_row(handler: TokenUsageHandler) -> None:
    """A failed call is stored with its error's type and text, how long it took, and no usage or cost."""
    model = ScriptedChat(script=in_turn(TimeoutError("the model is away")))
    with pytest.raises(TimeoutError):
        model.invoke("q", {"callbacks": [handler]})
    call = only_call(handler)

    assert (call.status, call.error_type, call.error_message) == ("error", "TimeoutError", "the model is away")
    assert (call.usage, call.usage_source, call.cost_usd, call.price_status) == (None, "missing", None, "unpriced")
    assert (call.requested_model, call.provider) == ("gpt-4o-mini", "openai")
    assert call.duration_ms is not None
    assert (handler.breakdown().total.failed_calls, handler.breakdown().total.success_rate) == (1, 0)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Incorrect API key provided: sk-abc123456789.", "sk-abc123456789"),
        ("key sk-proj-Ab_1-23456789 is wrong", "Ab_1-23456789"),
        ("Authorization: Bearer xyz", "xyz"),
        ("{'authorization': 'Bearer eyJhbGciOi.J9.abc-_'}", "eyJhbGciOi"),
        ("api_key=0123456789abcdef", "0123456789abcdef"),
        ('"api-key": "0123456789abcdef"', "0123456789abcdef"),
        ("gsk_0123456789abcdef", "0123456789abcdef"),
        ("AIzaSyA0123456789", "SyA0123456789"),
        ("postgresql://user:hunter2@host/db is away", "hunter2"),
    ],
)
def test_secrets_are_masked(handler: TokenUsageHandler, path: Path, text: str, secret: str) -> None:
    """What looks like a secret in an error's text is masked in the call's row, in the run's row, and on the disk."""
    chain = RunnableLambda(ScriptedChat(script=in_turn(ValueError(text))).invoke)
    with pytest.raises(ValueError, match=r".") as caught:
        chain.invoke("q", {"callbacks": [handler]})
    assert secret in str(caught.value)
    call = only_call(handler)
    (run,) = handler.store.runs()

    assert "***" in (call.error_message or "")
    assert call.error_message == run.error_message
    for file in path.parent.rglob("usage.db*"):
        assert file.is_dir() or secret.encode() not in file.read_bytes()


@pytest.mark.parametrize("text", ["the task-management service is away", "no risk-assessment"])
def test_harmless_text_is_not_masked(handler: TokenUsageHandler, text: str) -> None:
    """A text without a secret is stored as it is."""
    with pytest.raises(ValueError, match=r"."):
        ScriptedChat(script=in_turn(ValueError(text))).invoke("q", {"callbacks": [handler]})

    assert only_call(handler).error_message == text


def test_duration_is_measured(handler: TokenUsageHandler) -> None:
    """A call's duration is its own time, between its start and its end; without streaming no first token was seen."""
    began = time.perf_counter()
    ScriptedChat().invoke("q", {"callbacks": [handler]})
    outside = (time.perf_counter() - began) * 1000
    call = only_call(handler)

    assert call.duration_ms is not None
    assert 0 < call.duration_ms < outside
    assert call.ended_at is not None
    assert abs(call.ended_at - call.started_at - timedelta(milliseconds=call.duration_ms)) < timedelta(milliseconds=1)
    assert call.tokens_per_second == pytest.approx(5 / (call.duration_ms / 1000))
    assert (call.streamed, call.time_to_first_token_ms) == (False, None)


@pytest.mark.parametrize("breaks_off", [None, ConnectionError("cut off")], ids=["whole", "broken off"])
def test_first_token_is_measured(handler: TokenUsageHandler, breaks_off: Exception | None) -> None:
    """A streamed call has the time to its first token, also when it breaks off later."""
    model = StreamingChat(script=in_turn(Reply(text="one two three", breaks_off=breaks_off)))
    with nullcontext() if breaks_off is None else pytest.raises(ConnectionError, match="cut off"):
        list(model.stream("q", {"callbacks": [handler]}))
    call = only_call(handler)

    assert call.streamed
    assert call.time_to_first_token_ms is not None
    assert call.duration_ms is not None
    assert 0 < call.time_to_first_token_ms < call.duration_ms
    assert (call.status, call.usage_source) == (("ok", "provider") if breaks_off is None else ("error", "estimated"))


def test_requested_tools_are_named(handler: TokenUsageHandler) -> None:
    """The names of the tools that a model asks for are kept in its order, each as often as it asks."""
    ScriptedChat(script=in_turn(Reply(tool_calls=("search", "add", "search")))).invoke("q", {"callbacks": [handler]})

    assert only_call(handler).tool_calls == ("search", "add", "search")


def test_answer_from_the_cache_costs_nothing(handler: TokenUsageHandler) -> None:
    """Answers of LangChain's cache are rows of their own that used and cost nothing and say what they saved; the row of
    the answer that was paid stays as it was.
    """
    model = ScriptedChat(cache=InMemoryCache())
    answers = [model.invoke("q", {"callbacks": [handler]}).content for _ in range(3)]
    assert handler.flush(LONG)
    paid, *cached = handler.store.calls(order="started_at")
    used = TokenUsage(input_tokens=10, output_tokens=5, total_tokens=15)

    assert answers == ["a short answer"] * 3
    assert (paid.status, paid.usage, paid.saved_usage) == ("ok", used, None)
    assert (paid.cost_usd or 0) > 0
    assert [(call.status, call.usage, call.saved_usage) for call in cached] == [("cached", ZERO, used)] * 2
    assert [(call.cost_usd, call.price_status) for call in cached] == [(Decimal(0), "free")] * 2
    for total in (handler.breakdown().total, handler.store.breakdown().total):
        assert (total.calls, total.cached_calls, total.total_tokens, total.cost_usd) == (3, 2, 15, paid.cost_usd)
        assert (total.unpriced_calls, total.calls_without_usage, total.success_rate) == (0, 0, 1)


def test_no_usage_is_unknown(path: Path) -> None:
    """Without estimates, a call whose provider says nothing has unknown usage and cost, and is counted beside every
    sum.
    """
    handler = TokenUsageHandler(path, estimate=False)
    ScriptedChat(script=in_turn(Reply(usage=None))).invoke("q", {"callbacks": [handler]})
    call, total = only_call(handler), handler.store.breakdown().total

    assert (call.usage, call.usage_source, call.cost_usd, call.status) == (None, "missing", None, "ok")
    assert (total.calls, total.calls_without_usage, total.unpriced_calls) == (1, 1, 1)
    assert (total.total_tokens, total.cost_usd) == (None, None)
