"""May a signal's handler use ours, whatever of ours it interrupted? It comes back, and nothing is lost or doubled."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.runnables import RunnableLambda

from langchain_tokens import Budget, TokenUsageHandler, track
from langchain_tokens.call import Call
from langchain_tokens.errors import QueryError
from langchain_tokens.memory import RunMemory
from langchain_tokens.query import make_query
from langchain_tokens.registry import REGISTRY
from langchain_tokens.runlog import RunLog
from tests.builders import make_call, make_fact, make_usage
from tests.conformance.models import ScriptedModel, StreamingModel
from tests.interrupting import Point, interrupting

USAGE = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
MEMORY = ("langchain_tokens/memory.py", "langchain_tokens/runlog.py")
HOST = (
    *MEMORY,
    *(f"langchain_tokens/{name}.py" for name in ("runs", "repeats", "hits", "learned", "gate", "registry", "capture")),
)
LOOKS = 24
"""Points at which a whole handler is interrupted, which takes a while each."""


def priced(call: Call) -> Call:
    """A call as the writer thread would make it."""
    return replace(call, price_status="free")


def note(memory: RunMemory, run_id: str, status: str = "ok") -> Call:
    """Note a call of a run, and that this has ended, unless it goes on."""
    call = make_call(run_id=run_id, status="cancelled" if status == "cancelled" else "ok", tokens=(1, 1))
    memory.note_call(call, lambda: RunLog(make_fact(run_id, status=status)))
    return call


def correct(memory: RunMemory, call: Call) -> None:
    """Say of a call that was cancelled how it ended."""
    ended = replace(call, status="ok", usage=make_usage(1, 2), revision=call.revision + 1)
    memory.note_call(ended, lambda: RunLog(make_fact(call.run_id)))


def fill(memory: RunMemory) -> int:
    """Note ten calls of seven runs, which is more than it keeps, look at them, and correct one that has left."""
    given_up = note(memory, "run-0", "cancelled")
    for run_id in ("run-1", "run-1", "run-2", "run-3", "run-4", "run-4", "run-4"):
        note(memory, run_id, "running" if run_id == "run-4" else "ok")
    assert memory.breakdown(make_query()).total.calls >= 8
    memory.note_end(make_fact("run-4"))
    memory.open_run("run-5", lambda: RunLog(make_fact("run-5", status="running")))
    note(memory, "run-5", "running")
    correct(memory, given_up)
    memory.settle(priced(note(memory, "run-6")))
    assert sum(run.total.calls for run in memory.runs()) >= 2
    return 10


def come_back(memory: RunMemory) -> int:
    """Do there what a signal's handler may do: note five calls, one of a run that goes on, and look."""
    note(memory, "run-4", "running")
    given_up = note(memory, "handled-0", "cancelled")
    for number in range(1, 4):
        note(memory, f"handled-{number}")
    correct(memory, given_up)
    assert [run.total for run in memory.runs()]
    with suppress(QueryError):  # where it interrupted the sums themselves
        assert memory.breakdown(make_query()).total.calls >= 5
    return 5


def remembered(at: Point | None) -> tuple[list[Point], bool]:
    """Fill a memory that is interrupted once, and check all that it says; returns the points that were come to."""
    memory = RunMemory(priced, keep_runs=2, keep_calls=4)
    handled: list[int] = []
    with interrupting(MEMORY, at, lambda: handled.append(come_back(memory))) as points:
        expected = fill(memory)
    total = memory.breakdown(make_query()).total
    assert (total.calls, total.unpriced_calls) == (expected + sum(handled), 0), at
    assert total.output_tokens == total.calls + 1 + len(handled), at  # the corrections
    assert memory._calls == sum(log.count for log in memory._runs.values()), at
    assert (memory._leaving_calls, len(memory._leaving), len(memory._corrections)) == (0, 0, 0), at
    return points.seen, points.is_met


def test_memory_that_a_handler_comes_back_to() -> None:
    """At whatever point it is interrupted, the memory counts each call once, and as it was corrected."""
    points, _ = remembered(None)
    assert len(points) > 500
    assert all(remembered(point)[1] for point in points)


def use(handler: TokenUsageHandler) -> None:
    """Make five calls in three runs, two of them cached or cancelled, and look at what was seen."""
    chain = RunnableLambda(lambda text: text) | ScriptedModel(cache=InMemoryCache())
    with track(handler.store, budgets=[Budget(limit_calls=1_000)]):
        chain.batch(["a", "a"], {"callbacks": [handler], "max_concurrency": 1})
    chain.invoke("b", {"callbacks": [handler]})
    pieces = StreamingModel().stream("c", {"callbacks": [handler]})
    next(pieces)
    pieces.close()
    chain.invoke("d", {"callbacks": [handler]})
    assert handler.breakdown("chain").total.calls >= 5


def handle(handler: TokenUsageHandler) -> None:
    """What a signal's handler may do: record, look, and close."""
    handler.record(USAGE)
    assert handler.last_run is not None
    assert [run.total for run in handler.runs]
    with suppress(QueryError):  # where it interrupted the sums themselves
        handler.breakdown()
    handler.flush(0)
    handler._capture.close_open_calls()
    handler._capture.recorder.close(0.02)  # as `close` does, which waits for seconds where the store is held up


def played(path: Path, at: Point | None) -> list[Point]:
    """Use a handler whose memory is soon full, interrupted once, and check that nothing is lost or doubled."""
    handler = TokenUsageHandler(path, budgets=[Budget(limit_tokens=1_000_000)], estimate=False)
    before = handler.store.breakdown().total.calls
    handler._capture.memory = RunMemory(handler._capture.refine, keep_runs=2)
    with interrupting(HOST, at, lambda: handle(handler)) as points:
        use(handler)
    handler.close()
    expected = 6 if points.is_met else 5
    assert handler.store.breakdown().total.calls - before == expected, at
    assert handler.breakdown().total.calls == expected, at
    return points.seen


@pytest.mark.timeout(120)
def test_signal_handler_comes_back_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever of ours it interrupts, each call is stored once, and the memory says so, too."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "one.db"
    played(path, None)  # what is done only once in a process
    points = [point for point in played(path, None) if point[2] == 1]
    assert len(points) > 300
    for point in points[:: len(points) // LOOKS]:
        played(path, point)
    REGISTRY.drain()
