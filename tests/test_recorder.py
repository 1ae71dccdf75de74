"""The way of a fact: to the journal at once, to the store later, whatever the store does in between."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from langchain_tokens import TokenUsageHandler, UsageStore, open_store
from langchain_tokens import delivery as delivery_module
from langchain_tokens import tally as tally_module
from langchain_tokens import writer as writer_module
from langchain_tokens.call import Call, RunFact
from langchain_tokens.codec import encode
from langchain_tokens.errors import TokensError
from langchain_tokens.recorder import Recorder
from langchain_tokens.recovery import Recovered
from langchain_tokens.segments import Segment
from langchain_tokens.store.target import parse_target
from tests.builders import make_call, make_fact
from tests.models import FailingStore, StuckStore
from tests.opened import open_files

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


def record_stuck(recorder: Recorder, store: StuckStore, calls: Sequence[Call]) -> None:
    """Record calls while the store holds up the first of them."""
    recorder.record(calls[0])
    assert store.reached.wait(LONG)
    record_each(recorder, calls[1:])


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


@pytest.mark.parametrize("trouble", [TypeError("no such value"), ValueError("no such value")])
def test_value_that_the_store_stumbles_over_holds_up_no_other(path: Path, folder: Path, trouble: Exception) -> None:
    """A record at which a store fails with an error of Python's is kept aside like one that the database refuses."""

    class Stumbling(UsageStore):
        def add(self, calls: Sequence[Call], runs: Sequence[RunFact] = ()) -> None:
            if any(call.chain == "stone" for call in calls):
                raise trouble
            super().add(calls, runs)

    with recording(Stumbling(parse_target(path)), folder) as recorder:
        record_each(recorder, [make_call(), make_call(chain="stone"), make_call()])
        assert recorder.flush(LONG)

        assert (recorder.stats().stored, recorder.stats().refused) == (2, 1)
    assert len(stored_ids(path)) == 2


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


@pytest.mark.parametrize("bound", [tally_module._QUEUE_BOUND, 2], ids=["held in memory", "spilled"])
def test_refused_value_that_cannot_be_kept_aside_stays_in_the_journal(
    path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, bound: int
) -> None:
    """Where the .bad file cannot be written, a refused record stays in the journal for the next opener, who keeps it
    aside; the others are stored once.
    """
    monkeypatch.setattr(tally_module, "_QUEUE_BOUND", bound)
    store = StuckStore(path)
    calls = [make_call() for _ in range(6)]
    calls[4] = make_call(tokens=POISON)
    with recording(store, folder) as recorder:
        (folder / "refused.bad").mkdir(parents=True)
        record_stuck(recorder, store, calls)
        store.let_go.set()
        assert recorder.flush(LONG)
        recorder.record(calls[0])
        assert recorder.flush(LONG)
        stats = recorder.stats()
        assert (stats.stored, stats.refused, stats.dropped, stats.pending) == (6, 1, 0, 0)
    assert calls[4].call_id.encode() in b"".join(file.read_bytes() for file in folder.glob("*.jsonl"))
    (folder / "refused.bad").rmdir()

    assert stored_ids(path) == {call.call_id for call in calls if call is not calls[4]}
    assert [calls[4].call_id.encode() in file.read_bytes() for file in folder.iterdir()] == [True]
    assert (folder / "refused.bad").stat().st_mode & 0o777 == 0o600


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
    monkeypatch.setattr(tally_module, "_QUEUE_BOUND", 5)
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

        stats = recorder.stats()
    assert (stats.recorded, stats.stored, stats.pending) == (61, 61, 0)
    assert stored_ids(path) >= {call.call_id for call in calls}
    assert {call.price_status for call in open_store(path).calls()} == {"priced"}
    assert not folder.exists()


def test_flush_waits_for_what_only_the_journal_has(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush is over when all is stored that was recorded before it, however much is recorded meanwhile."""
    monkeypatch.setattr(tally_module, "_QUEUE_BOUND", 5)
    store = StuckStore(path)
    calls = [make_call() for _ in range(600)]
    with recording(store, folder) as recorder:
        record_stuck(recorder, store, calls)
        more = threading.Thread(target=record_each, args=(recorder, [make_call() for _ in range(300)]))
        store.let_go.set()
        more.start()
        assert recorder.flush(LONG)
        stored = stored_ids(path)
        more.join()

    assert stored >= {call.call_id for call in calls}


def test_spilled_journal_that_was_deleted_is_still_stored(
    path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When somebody deletes the only file that holds facts, the process that has it open still stores them."""
    monkeypatch.setattr(tally_module, "_QUEUE_BOUND", 2)
    store = StuckStore(path)
    calls = [make_call() for _ in range(6)]
    with recording(store, folder) as recorder:
        record_stuck(recorder, store, calls)
        shutil.rmtree(folder)
        store.let_go.set()
        assert recorder.flush(LONG)

        assert (recorder.stats().stored, recorder.stats().dropped, recorder.stats().pending) == (6, 0, 0)
    assert stored_ids(path) == {call.call_id for call in calls}


def test_spilled_journal_that_was_cut_off_is_counted_as_dropped(
    path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Facts that somebody cut from the only file that held them are counted as dropped, and the writer goes on."""
    monkeypatch.setattr(tally_module, "_QUEUE_BOUND", 2)
    store = StuckStore(path)
    calls = [make_call() for _ in range(6)]
    with recording(store, folder) as recorder:
        record_stuck(recorder, store, calls)
        (spilled,) = (file for file in folder.glob("*.jsonl") if calls[5].call_id.encode() in file.read_bytes())
        os.truncate(spilled, len(encode(calls[2]) + encode(calls[3])) + 20)
        store.let_go.set()
        assert recorder.flush(LONG)
        recorder.record(make_call())
        assert recorder.flush(LONG)

        assert (recorder.stats().stored, recorder.stats().dropped, recorder.stats().pending) == (5, 2, 0)


def test_spilled_line_that_was_spoiled_is_kept_aside(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that the disk spoiled meanwhile goes to the .bad file and is counted; it holds up no other."""
    monkeypatch.setattr(tally_module, "_QUEUE_BOUND", 2)
    store = StuckStore(path)
    calls = [make_call() for _ in range(6)]
    with recording(store, folder) as recorder:
        record_stuck(recorder, store, calls)
        (spilled,) = (file for file in folder.glob("*.jsonl") if calls[4].call_id.encode() in file.read_bytes())
        spilled.write_bytes(spilled.read_bytes().replace(calls[4].call_id.encode(), b"call-x"))
        store.let_go.set()
        assert recorder.flush(LONG)

        stats = recorder.stats()
        assert (stats.stored, stats.unreadable, stats.dropped, stats.pending) == (5, 1, 0, 0)
    assert [b"call-x" in file.read_bytes() for file in folder.iterdir()] == [True]
    assert stored_ids(path) == {call.call_id for call in calls if call is not calls[4]}


def test_spilled_facts_wait_where_the_journal_is_full(
    path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With more waiting than memory is for, and a journal that takes nothing, memory holds what it has room for."""
    monkeypatch.setattr(tally_module, "_QUEUE_BOUND", 1)
    store = StuckStore(path)
    with recording(store, folder) as recorder:
        record_stuck(recorder, store, [make_call() for _ in range(5)])
        monkeypatch.setattr(tally_module, "_HELD_BOUND", 3)
        shutil.rmtree(folder)
        folder.write_text("in the way")
        record_each(recorder, [make_call() for _ in range(3)])
        stats = recorder.stats()
        folder.unlink()
        store.let_go.set()
        assert recorder.flush(LONG)
        after = recorder.stats()

    assert (stats.recorded, stats.pending, stats.unprotected, stats.dropped) == (8, 7, 2, 1)
    assert (after.recorded, after.stored, after.unprotected, after.dropped) == (8, 7, 0, 1)


def test_what_nothing_can_hold_is_counted(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a journal, facts beyond the queue's bound are dropped: counted, with one warning, and never waited for."""
    monkeypatch.setattr(tally_module, "_QUEUE_BOUND", 2)
    monkeypatch.setattr(tally_module, "_HELD_BOUND", 5)
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


@pytest.mark.parametrize("timeout", ["5", True, float("nan"), -1, b"", [5]])
def test_time_to_flush_is_a_number_of_seconds(path: Path, timeout: object) -> None:
    """Anything else than seconds from 0 on is one clear error."""
    with TokenUsageHandler(path) as handler, pytest.raises(TokensError, match="expected seconds from 0 on, or None"):
        handler.flush(timeout)  # type: ignore[arg-type]


@pytest.mark.parametrize("timeout", [float("inf"), 10**12, None, 5, 5.5])
def test_any_time_may_be_given_to_flush(path: Path, folder: Path, timeout: float | None) -> None:
    """More seconds than a clock can hold are as good as no limit."""
    with recording(UsageStore(parse_target(path)), folder) as recorder:
        recorder.record(make_call())

        assert recorder.flush(timeout)


def test_flush_in_the_writer_thread_does_not_wait_for_itself(path: Path, folder: Path) -> None:
    """A price book that flushes is told at once that not all is stored."""
    told: list[bool] = []

    def flushing_price(call: Call) -> Call:
        told.append(recorder.flush())
        return call

    with recording(UsageStore(parse_target(path)), folder) as recorder:
        recorder.record(make_call(), refine=flushing_price)
        assert recorder.flush(LONG)

    assert told == [False]


@pytest.mark.parametrize("trouble", [KeyboardInterrupt, RecursionError])
def test_fact_that_is_not_taken_is_counted_as_dropped(
    path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, trouble: type[BaseException]
) -> None:
    """When recording is broken off before the journal has a fact, nobody waits for it."""

    def broken(*_: object) -> bytes:
        raise trouble

    with recording(UsageStore(parse_target(path)), folder) as recorder:
        with monkeypatch.context() as patch:
            patch.setattr(writer_module, "encode", broken)
            with pytest.raises(trouble):
                recorder.record(make_call())
        recorder.record(make_call())
        assert recorder.flush(LONG)
        stats = recorder.stats()

    assert (stats.recorded, stats.stored, stats.dropped) == (2, 1, 1)


def test_writer_that_cannot_be_started_leaves_all_in_the_journal(
    path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where no thread can be made (too many, or the interpreter ends) recording goes on, with one warning."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with recording(UsageStore(parse_target(path)), folder) as recorder:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            record_each(recorder, [make_call(), make_call()])
            assert not recorder.flush()
            assert journal_lines(folder) == 2
        assert len(caplog.messages) == 1
        recorder.record(make_call())
        assert recorder.flush(LONG)

    assert len(stored_ids(path)) == 3


def test_settling_that_raises_keeps_no_call_from_the_store(path: Path, folder: Path) -> None:
    """Whatever goes wrong where a call is told of its price, it is stored."""

    def broken(_: Call) -> None:
        raise ZeroDivisionError

    with recording(UsageStore(parse_target(path)), folder) as recorder:
        recorder.record(make_call(), settle=broken)
        assert recorder.flush(LONG)

    assert len(stored_ids(path)) == 1


def test_close_secures_what_only_memory_has(path: Path, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With a store that takes nothing, close puts into the journal what that could not take before: a full disk may
    have room again, a folder may have been deleted.
    """
    store = FailingStore(path)
    calls = [make_call() for _ in range(4)]
    folder.write_text("in the way")
    with recording(store, folder) as recorder:
        record_each(recorder, calls[:2])
        folder.unlink()
        recorder.record(calls[2])
        shutil.rmtree(folder)
        recorder.record(calls[3])
        assert (recorder.stats().unprotected, journal_lines(folder)) == (2, 1)
        assert not recorder.close(0.01)

        assert (recorder.stats().unprotected, journal_lines(folder)) == (0, 4)
    assert stored_ids(path) == {call.call_id for call in calls}
    assert not folder.exists()
    assert not any("end with this process" in message for message in caplog.messages)


INTERRUPTED: dict[str, tuple[Any, str]] = {
    "append": (Segment, "write"),
    "count": (tally_module.Lane, "waiting"),
    "start of the thread": (threading.Thread, "start"),
    "close": (UsageStore, "close"),
}
"""Where a signal's handler may run: inside of what, most of it under a lock, which its own thread then has already."""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("place", INTERRUPTED)
def test_signal_handler_that_records_and_closes_comes_back(
    path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """A signal's handler may record and close, whatever of ours it interrupted: it comes back, and nothing is lost."""
    owner, name = INTERRUPTED[place]
    original = getattr(owner, name)
    calls = [make_call(), make_call()]
    handled = iter([calls[1]])
    with recording(UsageStore(parse_target(path)), folder) as recorder:

        def interrupted(self: Any, *arguments: Any, **options: Any) -> Any:
            if threading.current_thread() is threading.main_thread() and (call := next(handled, None)) is not None:
                recorder.record(call)
                recorder.close(0.1)
            return original.fget(self) if isinstance(original, property) else original(self, *arguments, **options)

        monkeypatch.setattr(owner, name, property(interrupted) if isinstance(original, property) else interrupted)
        recorder.record(calls[0])
        assert recorder.flush(LONG)
        recorder.close(LONG)

    assert next(handled, None) is None
    assert stored_ids(path) == {call.call_id for call in calls}
    assert not folder.exists()


@pytest.mark.parametrize("with_journal", [True, False])
def test_close_says_what_ends_with_the_process(
    path: Path, folder: Path, with_journal: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """What neither the store nor the journal takes until the end is counted in a warning."""
    store = FailingStore(path)
    folder.write_text("in the way")
    with recording(store, folder if with_journal else None) as recorder:
        record_each(recorder, [make_call(), make_call()])
        assert not recorder.close(0.01)

        assert recorder.stats().unprotected == 2
    assert "2 records are neither stored nor in the journal; they end with this process" in caplog.messages


def test_journals_of_the_dead_are_delivered_when_the_store_is_back(
    path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is away when a process starts gets what others left later, without a new process."""
    monkeypatch.setattr(delivery_module, "_RECOVER_SECONDS", 0.0)
    folder.mkdir()
    left = make_call()
    (folder / "1-dead.jsonl").write_bytes(encode(left))
    store = FailingStore(path)
    with recording(store, folder) as recorder:
        recorder.record(make_call())
        assert store.reached.wait(LONG)
        assert not recorder.flush(0.01)
        store.trouble = None
        assert recorder.flush(LONG)
        assert recorder.close(LONG)

        assert recorder.stats().recovered == 1
    assert left.call_id in stored_ids(path)


def test_close_does_not_wait_for_a_recovery_that_nobody_goes_on_with(
    path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A close whose time was too short for a large journal leaves it to others; the next close waits for nothing."""
    repeated = [Recovered(delivered=0, refused=0, unreadable=0)] * 1_000_000
    monkeypatch.setattr(delivery_module, "recovering", lambda *_: iter(repeated))
    with recording(UsageStore(parse_target(path)), folder) as recorder:
        recorder.record(make_call())
        assert recorder.flush(LONG)
        recorder.close(0.05)
        waits: list[float] = []
        monkeypatch.setattr(threading.Condition, "wait", lambda _, seconds=None: waits.append(seconds))
        recorder.close(LONG)
        monkeypatch.undo()

    assert waits == []


def test_release_that_fails_is_no_obstacle(
    path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A journal file that cannot be emptied keeps what is stored already: counted as stored, and never doubled."""
    with recording(UsageStore(parse_target(path)), folder) as recorder:
        record_each(recorder, [make_call(raw_usage={"text": "x" * 70_000}) for _ in range(2)])
        with monkeypatch.context() as patch:

            def fail(*_: object) -> None:
                raise OSError(errno.EIO, "broken")

            patch.setattr(os, "ftruncate", fail)
            assert recorder.flush(LONG)
        assert recorder.stats().stored == 2

    assert open_store(path).breakdown().total.calls == 2


def test_journal_that_cannot_be_removed_is_no_obstacle_to_close(
    path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the journal's folder became read only, close says that all is stored, leaves no file open, and warns once;
    what lies there counts once.
    """

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "not allowed")

    with recording(UsageStore(parse_target(path)), folder) as recorder:
        for _ in range(2):
            recorder.record(make_call())
            assert recorder.flush(LONG)
            with monkeypatch.context() as patch:
                patch.setattr(Path, "unlink", refuse)
                assert recorder.close(LONG)
            assert open_files(folder) == []
    assert len([message for message in caplog.messages if "could not be removed" in message]) == 1
    assert open_store(path).breakdown().total.calls == 2
    assert list(folder.iterdir()) == []


def test_process_that_was_forked_behind_our_back_begins_anew(
    path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a child of a server that forks outside Python, whose hooks for it do not run, recording notices: what waited is
    the parent's, and the journal is the child's own.
    """
    store = FailingStore(path)
    calls = [make_call(), make_call()]
    with recording(store, folder) as recorder:
        recorder.record(calls[0])
        monkeypatch.setattr(os, "getpid", lambda: 1)
        recorder.record(calls[1])

        assert recorder.stats().pending == 1
        assert {file.name.split("-")[0] == "1": len(file.read_bytes().splitlines()) for file in folder.iterdir()} == {
            False: 1,
            True: 1,
        }
        stored = threading.Semaphore(0)
        add = store.add
        monkeypatch.setattr(store, "add", lambda *given: (add(*given), stored.release()))
        store.trouble = None
        assert recorder.flush(LONG)
        while stored_ids(path) != {call.call_id for call in calls}:
            assert stored.acquire(timeout=LONG)  # the parent's thread, here too, stores its own when it tries again


# Loss of power


class Watched(UsageStore):
    """A store that notes what happens in which order."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(parse_target(path))
        self.events: list[str] = []
        monkeypatch.setattr(os, "fdatasync", lambda descriptor: self.events.append(self._name(descriptor)))

    def add(self, calls: Sequence[Call], runs: Sequence[RunFact] = ()) -> None:
        """Store."""
        super().add(calls, runs)
        self.events.append("stored")

    @staticmethod
    def _name(descriptor: int) -> str:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        return "journal" if name.endswith(".jsonl") else name


@pytest.mark.parametrize(
    ("durability", "events"),
    [("process", ["stored"]), ("fsync", ["journal", "journal", "stored", "usage.db-wal"])],
)
def test_durability(path: Path, monkeypatch: pytest.MonkeyPatch, durability: Any, events: list[str]) -> None:
    """With `fsync` the device has a record when recording returns, and the database's log before the journal gives the
    record up; with `process`, as without, nothing waits for the device.
    """
    store = Watched(path, monkeypatch)
    with TokenUsageHandler(store, durability=durability) as handler:
        handler.record(None)
        before = list(store.events)
        handler.record(None)
        assert handler.flush(LONG)

    assert before == events[:1] * (durability == "fsync")
    assert [event for event, previous in zip(events, [None, *events], strict=False) if event != previous] == [
        event for event, previous in zip(store.events, [None, *store.events], strict=False) if event != previous
    ]


def test_two_handlers_on_one_store_share_the_stronger_durability(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that asks for `fsync` gets it for all that share its store's journal, whichever was first."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    with TokenUsageHandler(path) as weak:
        weak.record(None)
        assert synced == []
        with TokenUsageHandler(path, durability="fsync"):
            weak.record(None)
            assert synced


@pytest.mark.parametrize("durability", ["sync", "", None, True, 5, ["fsync"]])
def test_unknown_durability_is_refused(path: Path, durability: Any) -> None:
    """Anything but the two words is one clear error."""
    with pytest.raises(TokensError, match="expected 'process' or 'fsync'"):
        TokenUsageHandler(path, durability=durability)


def test_durability_without_a_journal_is_refused(path: Path) -> None:
    """Without a journal nothing could keep that promise."""
    with pytest.raises(TokensError, match="journal=False keeps none"):
        TokenUsageHandler(path, journal=False, durability="fsync")
