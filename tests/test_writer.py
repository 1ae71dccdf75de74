"""What the writer thread goes on through: forks, closes that cross each other, interrupts, and code that ends threads."""

from __future__ import annotations

import asyncio
import logging
import queue
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from langchain_tokens import UsageStore
from langchain_tokens import registry as registry_module
from langchain_tokens import tally as tally_module
from langchain_tokens import writer as writer_module
from langchain_tokens.call import Call
from langchain_tokens.delivery import Pending
from langchain_tokens.recorder import Recorder
from langchain_tokens.recovery import refined_call
from langchain_tokens.registry import Registry
from langchain_tokens.store.target import parse_target
from langchain_tokens.trouble import LOGGER, Warnings
from tests.builders import make_call
from tests.models import FailingStore, StuckStore

LONG = 15.0
"""Seconds that no test takes: a limit for what must come soon."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database lies."""
    return tmp_path / "usage.db"


@pytest.fixture
def recorder(path: Path) -> Iterator[Recorder]:
    """A recorder on a database that works."""
    recorder = Recorder(UsageStore(parse_target(path)), path.with_name("usage.db.pending"))
    yield recorder
    recorder.close(LONG)


# Threads that ended


def test_spilled_facts_begin_a_thread(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a close with more waiting than memory is for, the next fact is enough for all to be delivered."""
    monkeypatch.setattr(tally_module, "_QUEUE_BOUND", 2)
    store = FailingStore(path)
    recorder = Recorder(store, path.with_name("usage.db.pending"))
    for _ in range(4):
        recorder.record(make_call())
    assert not recorder.close(0.01)
    store.trouble = None
    store.reached.clear()
    recorder.record(make_call())

    assert store.reached.wait(LONG)
    assert recorder.close(LONG)
    assert recorder.stats().stored == 5


class Ending:
    """Code of a host that ends the thread in which it is called, or tries to."""

    def __init__(self, trouble: type[BaseException]) -> None:
        self._trouble = trouble
        self.threads: list[str] = []
        """Where it was called."""
        self.is_called = threading.Event()

    def __call__(self, *_: object) -> Call:
        self.threads.append(threading.current_thread().name)
        self.is_called.set()
        raise self._trouble("that is all")

    after_store = __call__
    """As a watcher."""


@pytest.mark.parametrize("trouble", [SystemExit, pytest.fail.Exception, asyncio.CancelledError, KeyboardInterrupt])
@pytest.mark.parametrize("place", ["watch", "refine", "settle", "store"])
def test_code_that_ends_threads_does_not_end_the_writer(
    path: Path, recorder: Recorder, trouble: type[BaseException], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a watcher, a price or the store raises is logged, and calls are stored then and later."""
    ending: Any = Ending(trouble)
    if place == "watch":
        recorder.watch(ending)
    with monkeypatch.context() as patch:
        if place == "store":
            patch.setattr(recorder.sink, "add", ending)
        recorder.record(make_call(), **({place: ending} if place in ("refine", "settle") else {}))
        assert ending.is_called.wait(LONG)
        assert recorder.flush(0.01 if place == "store" else LONG) == (place != "store")
    recorder.record(make_call(), refine=lambda call: call)

    assert recorder.flush(LONG)
    assert set(ending.threads) == {"langchain_tokens-writer"}
    assert recorder.stats().stored == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_thread_that_a_log_ended_is_begun_anew(path: Path) -> None:
    """A log that ends the very thread costs nothing that waits: the next call begins another one."""
    ended = threading.Event()

    class Log(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "the writer thread" in record.getMessage():
                writer_threads.append(threading.current_thread())
                ended.set()
            raise SystemExit

    writer_threads: list[threading.Thread] = []
    store, log = FailingStore(path), Log()
    recorder = Recorder(store, path.with_name("usage.db.pending"))
    LOGGER.addHandler(log)
    try:
        recorder.record(make_call())
        assert ended.wait(LONG)
        writer_threads[0].join(LONG)
    finally:
        LOGGER.removeHandler(log)
    store.trouble = None
    recorder.record(make_call())

    assert recorder.flush(LONG)
    assert recorder.stats().stored == 2
    assert recorder.close(LONG)


def test_price_that_is_interrupted_reaches_the_host_in_its_main_thread_alone() -> None:
    """Ctrl+C that arrives while a price is asked for ends the host; in any other thread it is the price book's own."""
    call, price = make_call(), Ending(KeyboardInterrupt)
    with ThreadPoolExecutor(1) as other:
        assert other.submit(refined_call, call, price, Warnings()).result(LONG) is call
    with pytest.raises(KeyboardInterrupt):
        refined_call(call, price, Warnings())


def test_second_close_waits_for_the_thread_that_the_first_one_gave_up(path: Path) -> None:
    """While a thread that was told to end is still at the store, no close says that all has ended, nor closes the store."""
    store = StuckStore(path)
    recorder = Recorder(store, None)
    recorder.record(make_call())
    assert store.reached.wait(LONG)
    writer = recorder._writer
    assert [writer.stop(0.01), writer.stop(0.01)] == [False, False]
    store.let_go.set()

    assert writer.stop(LONG)
    assert recorder.close(LONG)
    assert recorder.stats().stored == 1


def test_thread_that_ends_takes_what_another_one_would_have_taken(recorder: Recorder) -> None:
    """Of what an earlier thread left, each item is taken once, though two threads see the same ones waiting."""

    class Seen(deque[Pending]):
        def __len__(self) -> int:
            return super().__len__() + 1  # as it was when it was looked at

    recorder.pause()
    left = [Pending((make_call(),), None, None, None) for _ in range(3)]
    recorder._writer._left = Seen(left)

    assert recorder._writer._next_batch(0) == left
    recorder.resume()


def test_close_does_not_wait_for_a_call_that_another_thread_takes(path: Path) -> None:
    """Where the last call that waited is gone between two looks, close goes on without it."""

    class Taken(queue.SimpleQueue[Any]):
        def empty(self) -> bool:
            return False  # as it was a moment ago

        def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT002  # as it is
            assert not block or timeout is not None, "this would wait for ever"
            return super().get(block, timeout)

    store = StuckStore(path)
    recorder = Recorder(store, None)
    recorder._writer._queue = Taken()
    recorder.record(make_call())
    assert store.reached.wait(LONG)
    assert not recorder.close(0.01)
    store.let_go.set()

    assert recorder.close(LONG)


def test_stuck_stores_share_the_time_at_exit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them together are waited for as long as one is, each for a moment at least; what waits is in the journals."""
    monkeypatch.setattr(registry_module, "_CLOSE_SECONDS", 0.3)
    times: list[float] = []

    class Timed(Recorder):
        def close(self, timeout: float = 5.0) -> bool:
            times.append(timeout)
            return super().close(timeout)

    stores = [StuckStore(tmp_path / f"{number}.db") for number in range(3)]
    recorders = [Timed(store, tmp_path / f"{number}.pending") for number, store in enumerate(stores)]
    for store, recorder in zip(stores, recorders, strict=True):
        recorder.record(make_call())
        assert store.reached.wait(LONG)
    registry: Any = Registry()
    registry._recorders = dict(enumerate(recorders))
    registry.drain()

    assert times[0] <= 0.3
    assert times[1:] == [registry_module._LEAST_SECONDS] * 2
    assert [recorder.stats().pending for recorder in recorders] == [1, 1, 1]
    for store, recorder in zip(stores, recorders, strict=True):
        store.let_go.set()
        assert recorder.close(LONG)


# Interrupts


def is_interrupted(act: Callable[[], object], calls: int) -> bool:
    """Raise once what Ctrl+C does, where Python looks for signals: as a function begins, or one of either kind has ended.
    Tells whether it was raised before all was done.
    """
    left = calls

    def look(_: object, event: str, __: object) -> None:
        nonlocal left
        left -= event in ("call", "return", "c_return")
        if left < 0:
            sys.setprofile(None)
            raise KeyboardInterrupt

    before = sys.getprofile()
    try:
        sys.setprofile(look)
        act()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(before)
    return False


@pytest.mark.parametrize(
    ("bound", "with_journal", "is_closed"),
    [(9, True, False), (9, False, True), (0, True, False), (0, False, False)],
    ids=["memory", "new thread", "spilled", "held"],
)
def test_interrupt_leaves_nothing_to_wait_for(
    path: Path, monkeypatch: pytest.MonkeyPatch, bound: int, with_journal: bool, is_closed: bool
) -> None:
    """Wherever recording is broken off, nothing of it is waited for that nobody delivers, and later calls are stored."""
    monkeypatch.setattr(tally_module, "_QUEUE_BOUND", bound)
    recorder = Recorder(UsageStore(parse_target(path)), path.with_name("usage.db.pending") if with_journal else None)
    for point in count():
        call = make_call()
        is_done = not is_interrupted(lambda: recorder.record(call), point)  # noqa: B023  # it is called at once
        assert recorder.flush(LONG)
        if is_closed:
            assert recorder.close(LONG)
        if is_done:
            break
    recorder.record(make_call())

    assert point > 10
    assert recorder.close(LONG)
    assert recorder.stats().pending == 0


# Forks


@pytest.fixture
def forkers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Callable[[Callable[[], None]], None]]]:
    """Two threads of the host, each of which does what it is told before the next is told something."""
    monkeypatch.setattr(writer_module, "_PAUSE_SECONDS", 0.05)
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        yield [lambda act: one.submit(act).result(LONG), lambda act: other.submit(act).result(LONG)]


@pytest.mark.parametrize("first_back", [0, 1])
def test_threads_that_fork_at_once_hold_the_delivery_up_together(
    recorder: Recorder, forkers: list[Callable[..., None]], first_back: int
) -> None:
    """Nothing is delivered until the last of them is back, in whatever order they come; then everything is."""
    for forker in forkers:
        forker(recorder.pause)
    recorder.record(make_call())
    forkers[first_back](recorder.resume)
    assert not recorder.flush(0.1)
    forkers[1 - first_back](recorder.resume)

    assert recorder.flush(LONG)


def test_one_store_that_fails_after_a_fork_leaves_the_others_going() -> None:
    """Every recorder goes on after a fork, whatever happens to another one."""
    going: list[str] = []

    class Part:
        def __init__(self, name: str) -> None:
            self._name = name

        def resume(self) -> None:
            going.append(self._name)
            raise KeyboardInterrupt

    registry: Any = Registry()
    registry._recorders = {name: Part(name) for name in ("one", "two", "three")}
    with pytest.raises(KeyboardInterrupt):
        registry._resume()

    assert sorted(going) == ["one", "three", "two"]
