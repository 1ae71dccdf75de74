"""A PostgreSQL server that goes, comes back, or stands still: nothing is lost or stored twice, and no host notices.

`LANGCHAIN_TOKENS_OUTAGE_SECONDS` says how long the server is away; two seconds, unless somebody wants to know.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import pytest

from langchain_tokens import TokenUsageHandler, open_store
from tests.builders import make_usage
from tests.models import ScriptedChat, acknowledged_graph
from tests.servers import Server, started_server

SECONDS = float(os.environ.get("LANGCHAIN_TOKENS_OUTAGE_SECONDS", "2"))
PATIENCE_SECONDS = 60 + SECONDS
"""Longer than the writer ever waits between two tries."""
ROOT = Path(__file__).resolve().parent.parent
TOKENS = 15
"""What each call uses, of the scripted model and of those that are recorded."""
NUMBERS = count(1)
HOST = """
import sys, threading
from langchain_tokens import TokenUsageHandler
from tests.models import ScriptedChat, acknowledged_graph

handler, graph = TokenUsageHandler(sys.argv[1]), acknowledged_graph(ScriptedChat())
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), over.set()), daemon=True).start()
while not over.is_set():
    print(*graph.invoke({"question": "q"}, {"callbacks": [handler]})["call_ids"], sep="\\n", flush=True)
    over.wait(0.005)
"""
ABRUPT_HOST = """
import os, sys
from langchain_tokens import TokenUsageHandler
from tests.models import ScriptedChat, acknowledged_graph

handler, graph = TokenUsageHandler(sys.argv[1]), acknowledged_graph(ScriptedChat())
for _ in range(20):
    print(*graph.invoke({"question": "q"}, {"callbacks": [handler]})["call_ids"], sep="\\n", flush=True)
os._exit(0)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server for the tests of this file alone, which stop it."""
    with started_server() as started:
        yield started


@pytest.fixture
def url(server: Server) -> str:
    """An empty database on it."""
    name = f"tokens_{next(NUMBERS)}"
    server.execute(f"CREATE DATABASE {name}")
    return server.url(name)


class Load:
    """Threads of a host that make calls for as long as the block goes on, by LangChain and without it."""

    def __init__(self, handler: TokenUsageHandler, threads: int = 3) -> None:
        self._handler = handler
        self._graph = acknowledged_graph(ScriptedChat())
        self._over = threading.Event()
        ways = (self._invoke, self._record)
        self._threads = [threading.Thread(target=self._go_on, args=(ways[n % 2],)) for n in range(threads)]
        self.acknowledged: list[str] = []
        self.errors: list[BaseException] = []
        """What the host had to notice."""

    def __enter__(self) -> Load:  # noqa: PYI034  # no class inherits from it
        for thread in self._threads:
            thread.start()
        self.more()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def more(self, calls: int = 20) -> None:
        """Wait until some more calls were made."""
        goal = len(self.acknowledged) + calls
        wait_until(lambda: len(self.acknowledged) >= goal or bool(self.errors))

    def _go_on(self, make: Callable[[], list[str]]) -> None:
        try:
            while not self._over.wait(0.01):
                self.acknowledged += make()
        except BaseException as error:  # noqa: BLE001  # a test says what it was
            self.errors.append(error)

    def _invoke(self) -> list[str]:
        return list(self._graph.invoke({"question": "q"}, {"callbacks": [self._handler]})["call_ids"])

    def _record(self) -> list[str]:
        return [self._handler.record(make_usage(10, 5), chain="recorded", model="gpt-4o-mini").call_id]


@contextmanager
def handling(url: str) -> Iterator[TokenUsageHandler]:
    """A handler on a database."""
    handler = TokenUsageHandler(url)
    try:
        yield handler
    finally:
        handler.close()


def wait_until(is_so: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for what comes by itself."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_for_delivery(handler: TokenUsageHandler) -> None:
    """Wait until all is stored, without a word to the handler that would hurry it."""
    wait_until(lambda: handler.stats().pending == 0)
    stats = handler.stats()
    assert (stats.stored, stats.dropped, stats.refused) == (stats.recorded, 0, 0)


def check_stored(url: str, acknowledged: list[str]) -> None:
    """Assert that exactly these calls are stored, each once, also in every kind of sum."""
    with closing(open_store(url)) as store:
        stored = [call.call_id for call in store.calls(limit=1_000_000)]
        assert sorted(stored) == sorted(acknowledged)
        for total in (store.breakdown().total, store.timeline("hour").total, store.breakdown("chain").total):
            assert (total.calls, total.total_tokens) == (len(stored), TOKENS * len(stored))
        assert store.check().is_clean


def wait_for_calls(url: str, number: int) -> None:
    """Wait until so many calls are stored."""
    with closing(open_store(url)) as store:
        wait_until(lambda: store.breakdown().total.calls == number)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("trouble", ["away", "frozen"])
@pytest.mark.timeout(180 + 3 * SECONDS)
def test_server_is_gone_for_a_while(server: Server, url: str, trouble: str) -> None:
    """A server that crashes under load, or stands still, and comes back has everything, and the host saw nothing."""
    with handling(url) as handler:
        with Load(handler) as load:
            with getattr(server, trouble)():
                load.more()
                time.sleep(SECONDS)
                load.more()
            load.more()
        assert load.errors == []
        wait_for_delivery(handler)
    check_stored(url, load.acknowledged)


def test_server_crashes_again_and_again(server: Server, url: str) -> None:
    """Crashes at any moment, also while a batch is being committed, neither lose a batch nor store one twice."""
    with handling(url) as handler:
        with Load(handler) as load:
            for calls in (1, 7, 40, 90, 150):
                load.more(calls)
                with server.away():
                    load.more(10)
                stored = handler.stats().stored
                wait_until(lambda: handler.stats().stored > stored)  # noqa: B023  # it is called at once
        assert load.errors == []
        wait_for_delivery(handler)
    check_stored(url, load.acknowledged)


def test_server_restarts_between_two_batches(server: Server, url: str, caplog: pytest.LogCaptureFixture) -> None:
    """A restart while nothing is being written costs no try: nothing is said of it."""
    with handling(url) as handler:
        with Load(handler) as load:
            load.more()
        wait_for_delivery(handler)
        with server.away():
            pass
        with Load(handler) as again:
            again.more()
        wait_for_delivery(handler)
        assert handler.stats().last_error is None
    assert caplog.text == ""
    check_stored(url, load.acknowledged + again.acknowledged)


def test_server_comes_after_the_host(server: Server, url: str) -> None:
    """A host that starts while the server is away delivers to the empty database once it is there."""
    with server.away(), handling(url) as handler, Load(handler) as load:
        load.more()
        wait_until(lambda: handler.stats().last_error is not None)
    with handling(url):
        wait_for_calls(url, len(load.acknowledged))
    assert load.errors == []
    check_stored(url, load.acknowledged)


@pytest.mark.timeout(180 + 3 * SECONDS)
def test_two_hosts_wait_for_the_server(server: Server, url: str, tmp_path: Path) -> None:
    """Two processes that write to the same database both wait for it, and both deliver."""
    with (
        (tmp_path / "said").open("w") as said,
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", HOST, url],
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=said,
            text=True,
        ) as other,
        handling(url) as handler,
    ):
        wait_until(lambda: (tmp_path / "said").stat().st_size > 0)  # it is at work
        with Load(handler) as load:
            with server.away():
                time.sleep(SECONDS)
            load.more()
        wait_for_delivery(handler)
        other.communicate("enough\n", timeout=PATIENCE_SECONDS)
    assert (other.returncode, load.errors) == (0, [])
    check_stored(url, [*load.acknowledged, *(tmp_path / "said").read_text().split()])


def test_host_that_ends_while_the_server_is_away_leaves_a_journal(server: Server, url: str) -> None:
    """What a process could not deliver before it ended, the next one delivers."""
    with server.away():
        arguments = [sys.executable, "-W", "error", "-c", ABRUPT_HOST, url]
        ended = subprocess.run(arguments, env=_environment(), stdout=subprocess.PIPE, text=True, check=True)
    with handling(url) as handler:
        call = handler.record(make_usage(10, 5), chain="recorded", model="gpt-4o-mini")
        wait_for_calls(url, 41)
    check_stored(url, [call.call_id, *ended.stdout.split()])
