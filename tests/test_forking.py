"""Before a fork, connections of SQLite are closed and nobody opens another; what a child does, see test_durability.py."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from langchain_tokens.store import forking
from langchain_tokens.store.engine import writing
from langchain_tokens.store.forking import Gate
from langchain_tokens.store.stamping import Stamps
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target
from langchain_tokens.store.watching import make_watch
from tests.builders import make_call

OPEN_FILES = Path("/proc/self/fd")


@pytest.fixture
def store(tmp_path: Path) -> UsageStore:
    """A store in a file, with a call."""
    store = UsageStore(parse_target(tmp_path / "usage.db"))
    store.add([make_call()])
    return store


def open_files(path: Path) -> list[str]:
    """What this process has open of a database."""
    return sorted(name for link in OPEN_FILES.iterdir() if (name := _name(link)).startswith(str(path)))


def _name(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:  # the list's own
        return ""


def gate_of(store: UsageStore) -> Gate:
    return store._engine().get_execution_options()["tokens_gate"]  # type: ignore[no-any-return]


@pytest.mark.skipif(not OPEN_FILES.exists(), reason="there is no list of open files here")
def test_nothing_is_open_in_a_fork(store: UsageStore) -> None:
    """Neither the store's connections, nor those that look out for changes; all go on afterwards."""
    path, watch, stamps = store.target.path, make_watch(store), Stamps(store)
    assert path is not None
    store.breakdown()
    watch.has_changed()
    before = stamps.now()
    assert open_files(path)
    gate = gate_of(store)

    forking._let_go(forking._closers())
    gate.shut()
    assert open_files(path) == []

    gate.reopen()
    store.add([make_call(call_id="later")])
    assert watch.has_changed()
    assert stamps.now() != before
    assert store.breakdown().total.calls == 2
    watch.close()
    store.close()


def test_fork_waits_for_a_writer_longer_than_for_a_reader(store: UsageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who holds the lock for writing is waited for beyond the patience with readers: the child could never write."""
    monkeypatch.setattr(forking, "_PATIENCE_SECONDS", 0.0)
    gate, happened, is_in = gate_of(store), [], threading.Event()
    is_shutting = threading.Event()

    def write() -> None:
        with writing(store._engine(), store.target):
            is_in.set()
            is_shutting.wait(10)
            happened.append("written")

    def shut() -> None:
        gate.shut()
        happened.append("shut")

    threads = [threading.Thread(target=write), threading.Thread(target=shut)]
    threads[0].start()
    assert is_in.wait(10)
    threads[1].start()
    while not gate._is_shut:
        threads[1].join(0.001)
    is_shutting.set()
    for thread in threads:
        thread.join(10)
    assert happened == ["written", "shut"]
    gate.reopen()


def test_nobody_gets_in_while_it_is_shut() -> None:
    """A thread that comes while the process forks waits until it has; one that forks within a block does not wait for
    itself, and gets into further ones.
    """
    happened: list[str] = []
    gate = Gate(lambda: happened.append("closed"))

    def come() -> None:
        with gate.passed():
            happened.append("in")

    with gate.passed():
        gate.shut()
        with gate.passed():
            happened.append("again")
    thread = threading.Thread(target=come)
    thread.start()
    happened.append("reopened")
    gate.reopen()
    thread.join(10)
    assert happened == ["closed", "again", "reopened", "in"]


def test_child_begins_anew() -> None:
    """What its parent's other threads were in is nothing to a child."""
    gate = Gate(lambda: None)
    with gate.passed(), gate.locked():
        gate.renew()
        assert (gate._inside, gate._writing, gate._is_shut) == ({}, set(), False)
    assert (gate._inside, gate._writing) == ({}, set())
