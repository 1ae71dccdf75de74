"""The way of a fact: to the journal at once, to the store later, whatever the store does in between."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from langchain_tokens import UsageStore, open_store
from langchain_tokens import recorder as recorder_module
from langchain_tokens.call import Call
from langchain_tokens.recorder import Recorder
from langchain_tokens.store.target import parse_target
from tests.builders import make_call, make_fact
from tests.models import FailingStore, StuckStore

LONG = 15.0
"""Seconds that no test takes: a limit for what must come soon."""
POISON = (2**70, 1)
"""Tokens that no column holds."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database lies."""
    return tmp_path / "usage.db"


@pytest.fixture
def folder(path: Path) -> Path:
    """Where its journal lies."""
    return path.with_name("usage.db.pending")


@contextmanager
def recording(store: UsageStore, folder: Path | None) -> Iterator[Recorder]:
    """A recorder that is closed at the end, its store freed."""
    recorder = Recorder(store, folder)
    try:
        yield recorder
    finally:
        if isinstance(store, StuckStore):
            store.let_go.set()
        if isinstance(store, FailingStore):
            store.trouble = None
        recorder.close(LONG)


def journal_lines(folder: Path) -> int:
    """How many records lie in the journal."""
    return sum(len(path.read_bytes().splitlines()) for path in folder.glob("*.jsonl"))


def stored_ids(path: Path) -> set[str]:
    """The ids of the calls in the database."""
    return {call.call_id for call in open_store(path).calls(limit=100_000)}


def record_each(recorder: Recorder, calls: Sequence[Call]) -> None:
    """Record calls one by one."""
    for call in calls:
        recorder.record(call)


def priced(call: Call) -> Call:
    """A price for a call."""
    return replace(call, cost_usd=Decimal("0.5"), price_status="priced")


def failing_price(call: Call) -> Call:
    """No price, but an error."""
    raise ZeroDivisionError("no price today")


def test_recorded_fact_reaches_the_store(path: Path, folder: Path) -> None:
    """What was recorded is stored, refined, counted, and no longer in the journal."""
    with recording(UsageStore(parse_target(path)), folder) as recorder:
        recorder.record(make_call(), refine=priced)
        recorder.record(make_fact())
        assert recorder.flush(LONG)
        stats = recorder.stats()

    assert (stats.recorded, stats.stored, stats.pending, stats.dropped, stats.refused) == (2, 2, 0, 0, 0)
    assert [call.cost_usd for call in open_store(path).calls()] == [Decimal("0.5")]
    assert not folder.exists()


def test_settle_is_told_the_refined_call(path: Path, folder: Path) -> None:
    """Whoever recorded a call learns its price from the writer thread."""
    settled: list[Call] = []
    with recording(UsageStore(parse_target(path)), folder) as recorder:
        recorder.record(make_call(), refine=priced, settle=settled.append)
        recorder.flush(LONG)

    assert [call.cost_usd for call in settled] == [Decimal("0.5")]


def test_store_is_written_by_one_thread_of_its_own(path: Path, folder: Path) -> None:
    """No thread of the host ever writes to the store."""
    store = StuckStore(path)
    with recording(store, folder) as recorder:
        hosts = [threading.Thread(target=recorder.record, args=(make_call(),)) for _ in range(8)]
        for host in hosts:
            host.start()
        for host in hosts:
            host.join()
        assert store.reached.wait(LONG)
        store.let_go.set()
        assert recorder.flush(LONG)

    assert store.threads == {"langchain_tokens-writer"}
    assert len(stored_ids(path)) == 8


def test_flush_gives_up_after_its_time(path: Path, folder: Path) -> None:
    """With a store that does not come back flush says so, and says otherwise once it did."""
    store = StuckStore(path)
    with recording(store, folder) as recorder:
        recorder.record(make_call())
        assert not recorder.flush(0.01)
        assert (recorder.stats().pending, journal_lines(folder)) == (1, 1)
        store.let_go.set()

        assert recorder.flush(LONG)


def test_journal_keeps_all_until_it_is_stored(path: Path, folder: Path) -> None:
    """However much waits for a store that does not come back, the journal gives none of it up."""
    store = StuckStore(path)
    with recording(store, folder) as recorder:
        for _ in range(200):
            recorder.record(make_call())
        assert store.reached.wait(LONG)
        assert not recorder.flush(0.01)

        assert (recorder.stats().pending, journal_lines(folder)) == (200, 200)


def test_nothing_recorded_is_flushed_at_once(path: Path, folder: Path) -> None:
    """A recorder that was never used has nothing to wait for, makes no files, and closes."""
    recorder = Recorder(UsageStore(parse_target(path)), folder)

    assert recorder.flush(0)
    assert recorder.close(0)
    assert not path.exists()
    assert not folder.exists()


def test_trouble_of_the_store_is_waited_out(path: Path, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While the store raises, facts wait in the journal; when it is well again all are stored, with one warning."""
    store = FailingStore(path)
    calls = [make_call() for _ in range(30)]
    with recording(store, folder) as recorder:
        for call in calls:
            recorder.record(call)
        assert store.reached.wait(LONG)
        assert not recorder.flush(0.01)
        stats, lines = recorder.stats(), journal_lines(folder)
        store.trouble = None
        assert recorder.flush(LONG)

    assert (stats.pending, stats.last_error, lines) == (30, "the store is on fire", 30)
    assert stored_ids(path) == {call.call_id for call in calls}
    assert caplog.messages == [
        "the store takes no calls now; they wait in the journal (RuntimeError: the store is on fire)"
    ]


@pytest.mark.parametrize("with_journal", [True, False], ids=["journal", "memory"])
def test_recorder_goes_on_after_a_close_that_could_not_deliver(path: Path, folder: Path, with_journal: bool) -> None:
    """A close in bad times gives up soon; when the store is well again, what waited and what is new is stored."""
    store = FailingStore(path)
    calls = [make_call(), make_call()]
    with recording(store, folder if with_journal else None) as recorder:
        recorder.record(calls[0])
        assert not recorder.close(0.01)
        store.trouble = None
        recorder.record(calls[1])
        assert recorder.flush(LONG)

        assert stored_ids(path) == {call.call_id for call in calls}
        assert recorder.stats().pending == 0


def test_recorder_goes_on_after_a_close_that_hung(path: Path, folder: Path) -> None:
    """A close while the store is stuck gives up soon; when it comes back, what waited and what is new is stored."""
    store = StuckStore(path)
    calls = [make_call(), make_call()]
    with recording(store, folder) as recorder:
        recorder.record(calls[0])
        assert store.reached.wait(LONG)
        assert not recorder.close(0.01)
        store.let_go.set()
        recorder.record(calls[1])
        assert recorder.flush(LONG)

    assert stored_ids(path) == {call.call_id for call in calls}


def test_closed_recorder_opens_again(path: Path, folder: Path) -> None:
    """A recorder may be used after close, and closed again."""
    recorder = Recorder(UsageStore(parse_target(path)), folder)
    for _ in range(3):
        recorder.record(make_call())
        assert recorder.close(LONG)

    assert len(stored_ids(path)) == 3


def test_price_that_raises_costs_the_price_only(path: Path, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A refining step that fails leaves the calls stored as they were recorded, with one warning."""
    calls = [make_call(), make_call()]
    with recording(UsageStore(parse_target(path)), folder) as recorder:
        for call in calls:
            recorder.record(call, refine=failing_price)
        assert recorder.flush(LONG)

    assert {(call.call_id, call.price_status) for call in open_store(path).calls()} == {
        (call.call_id, "unpriced") for call in calls
    }
    assert len(caplog.records) == 1


def test_refused_value_holds_up_no_other(path: Path, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A record that the database will never take is kept in a .bad file and counted; the rest of its batch is stored."""
    calls = [make_call() for _ in range(20)]
    with recording(UsageStore(parse_target(path)), folder) as recorder:
        for place, call in enumerate(calls):
            recorder.record(replace(call, usage=make_call(tokens=POISON).usage) if place == 7 else call)
        assert recorder.flush(LONG)
        stats = recorder.stats()

    assert (stats.stored, stats.refused, stats.pending) == (19, 1, 0)
    assert stored_ids(path) == {call.call_id for place, call in enumerate(calls) if place != 7}
    assert [calls[7].call_id.encode() in file.read_bytes() for file in folder.glob("*.bad")] == [True]
    assert journal_lines(folder) == 0
    assert len(caplog.records) == 1


@pytest.mark.parametrize("obstacle", ["file", "gone", "none"])
def test_refused_value_without_a_place_for_it(path: Path, tmp_path: Path, obstacle: str) -> None:
    """A refused record for which there is no .bad file (a file in the folder's place, a folder that went, no journal at
    all) is counted, and the writer goes on.
    """
    folder = tmp_path / "pending"
    if obstacle == "file":
        folder.write_text("in the way")
    with recording(UsageStore(parse_target(path)), None if obstacle == "none" else folder) as recorder:
        recorder.record(make_call())
        assert recorder.flush(LONG)
        if obstacle == "gone":
            shutil.rmtree(folder)
        recorder.record(make_call(tokens=POISON))
        recorder.record(make_call())
        assert recorder.flush(LONG)

        assert (recorder.stats().stored, recorder.stats().refused) == (2, 1)


def test_journal_that_cannot_be_written_is_no_obstacle(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the journal's folder cannot be made, facts go to the store from memory, with one warning."""
    folder = tmp_path / "pending"
    folder.write_text("in the way")
    with recording(UsageStore(parse_target(path)), folder) as recorder:
        for _ in range(5):
            recorder.record(make_call())
        assert recorder.flush(LONG)

    assert len(stored_ids(path)) == 5
    assert len(caplog.records) == 1
    assert "a kill loses what is not stored yet" in caplog.messages[0]


def test_journal_that_was_deleted_is_begun_anew(path: Path, folder: Path) -> None:
    """After somebody deleted the journal's folder, what is recorded next is in a file again."""
    store = StuckStore(path)
    with recording(store, folder) as recorder:
        recorder.record(make_call())
        shutil.rmtree(folder)
        recorder.record(make_call())
        recorder.record(make_call())
        assert journal_lines(folder) == 2
        store.let_go.set()
        assert recorder.flush(LONG)

    assert len(stored_ids(path)) == 3


def test_what_memory_cannot_hold_is_taken_from_the_journal(
    path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the bound of the queue facts lie in the journal only, and are stored from there when the store is back."""
    monkeypatch.setattr(recorder_module, "_QUEUE_BOUND", 5)
    store = StuckStore(path)
    calls = [make_call() for _ in range(60)]
    with recording(store, folder) as recorder:
        for call in calls:
            recorder.record(call, refine=priced)
        assert (recorder.stats().pending, recorder.stats().dropped, journal_lines(folder)) == (60, 0, 60)
        store.let_go.set()
        assert recorder.flush(LONG)
        recorder.record(make_call(), refine=priced)
        assert recorder.flush(LONG)

        assert (recorder.stats().recorded, recorder.stats().pending) == (61, 0)
    assert stored_ids(path) >= {call.call_id for call in calls}
    assert {call.price_status for call in open_store(path).calls()} == {"priced"}
    assert not folder.exists()


def test_spilled_journal_that_was_deleted_is_counted_as_dropped(
    path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When somebody deletes the only file that holds facts, they are counted as dropped, and the writer goes on."""
    monkeypatch.setattr(recorder_module, "_QUEUE_BOUND", 2)
    store = StuckStore(path)
    with recording(store, folder) as recorder:
        for _ in range(6):
            recorder.record(make_call())
        shutil.rmtree(folder)
        store.let_go.set()
        assert recorder.flush(LONG)
        recorder.record(make_call())
        assert recorder.flush(LONG)

        assert (recorder.stats().dropped, recorder.stats().pending) == (4, 0)


def test_what_nothing_can_hold_is_counted(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a journal, facts beyond the queue's bound are dropped: counted, with one warning, and never waited for."""
    monkeypatch.setattr(recorder_module, "_QUEUE_BOUND", 5)
    store = StuckStore(path)
    with recording(store, None) as recorder:
        for _ in range(20):
            recorder.record(make_call())
        assert (recorder.stats().pending, recorder.stats().dropped) == (5, 15)
        store.let_go.set()
        assert recorder.flush(LONG)

    assert len(stored_ids(path)) == 5
    assert len(caplog.records) == 1


def test_many_threads_record_at_once(path: Path, folder: Path) -> None:
    """Facts from many threads are all stored, each once, while batches go out."""
    calls = [[make_call() for _ in range(100)] for _ in range(8)]
    together = threading.Barrier(8)

    def work(mine: list[Call]) -> None:
        together.wait()
        record_each(recorder, mine)

    with recording(UsageStore(parse_target(path)), folder) as recorder:
        threads = [threading.Thread(target=work, args=(mine,)) for mine in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert recorder.flush(LONG)

    assert stored_ids(path) == {call.call_id for mine in calls for call in mine}
    assert open_store(path).breakdown().total.calls == 800


def test_close_in_the_middle_of_recording_loses_nothing(path: Path, folder: Path) -> None:
    """A recorder that is closed again and again while threads record delivers everything in the end."""
    calls = [make_call() for _ in range(200)]
    with recording(UsageStore(parse_target(path)), folder) as recorder:
        thread = threading.Thread(target=record_each, args=(recorder, calls))
        thread.start()
        while thread.is_alive():
            recorder.close(LONG)
        assert recorder.flush(LONG)

    assert stored_ids(path) == {call.call_id for call in calls}


def test_deleted_database_is_made_anew(path: Path, folder: Path) -> None:
    """After somebody deleted the database file, what is recorded next is stored in a new one, not in the deleted one."""
    with recording(UsageStore(parse_target(path)), folder) as recorder:
        recorder.record(make_call())
        assert recorder.flush(LONG)
        for file in path.parent.glob("usage.db*"):
            if file.is_file():
                file.unlink()
        later = make_call()
        recorder.record(later)
        assert recorder.flush(LONG)

    assert stored_ids(path) == {later.call_id}
