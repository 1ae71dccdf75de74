"""May a signal's handler use ours, whatever of ours it interrupted? It comes back, and nothing is lost or doubled."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.runnables import RunnableLambda

import langchain_tokens
from langchain_tokens import Budget, TokenUsageHandler, track
from langchain_tokens.errors import QueryError
from langchain_tokens.memory import RunMemory
from langchain_tokens.registry import REGISTRY
from tests.conformance.models import ScriptedModel, StreamingModel

FOLDER = str(Path(langchain_tokens.__file__).parent)
USAGE = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
EVERY = 271
"""Of the lines that the host's thread runs of ours; a prime, so that loops are interrupted at each of their lines."""


@contextmanager
def interrupting(act: Callable[[], None], at: int) -> Iterator[list[int]]:
    """Do something as a signal's handler would, in this thread, before the so-manieth line of ours that it runs.

    Yields:
        How many lines were run.

    """
    lines = [0]

    def trace(frame: Any, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(FOLDER):
            return None
        if event == "line":
            lines[0] += 1
            if lines[0] == at:
                sys.settrace(None)
                act()
                sys.settrace(trace)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(before)


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
    assert all(run.total.calls for run in handler.runs)
    with suppress(QueryError):  # where it interrupted the sums themselves
        handler.breakdown()
    handler.flush(0)
    handler._capture.close_open_calls()
    handler._capture.recorder.close(0.02)  # as `close` does, which waits for seconds where the store is held up


def played(path: Path, at: int) -> tuple[TokenUsageHandler, int]:
    """Use a handler whose memory is soon full, interrupted once; returns how many lines of ours that took."""
    handler = TokenUsageHandler(path, budgets=[Budget(limit_tokens=10_000)])
    memory = RunMemory(handler._capture.refine, keep_runs=2)
    handler._capture.memory = memory
    with interrupting(lambda: handle(handler), at) as lines:
        use(handler)
    handler.close()
    return handler, lines[0]


@pytest.mark.timeout(300)
def test_signal_handler_comes_back_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever line of ours it interrupts, each call is stored once, and the memory says so, too."""
    monkeypatch.chdir(tmp_path)
    _, lines = played(tmp_path / "all.db", -1)
    for at in range(1, lines, EVERY):
        handler, _ = played(tmp_path / f"{at}.db", at)
        assert handler.store.breakdown().total.calls == 6, f"at line {at}"
        assert handler.breakdown().total.calls == 6, f"at line {at}"
        handler.close()
    REGISTRY.drain()
