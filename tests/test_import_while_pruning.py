"""Is a call counted once when its rows are pruned while it is imported? Refused, or kept out until it is in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import event

from langchain_tokens.errors import StoreError
from langchain_tokens.store.store import UsageStore
from tests.builders import NOON, make_call

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)

MakeStore = Callable[["Database"], UsageStore]
CUT = datetime(2026, 10, 1, tzinfo=UTC)
EARLIER = CUT - timedelta(days=20)
WAITS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def result(name: str, moment: datetime) -> Mapping[str, Any]:
    return {"id": name, "input_tokens": 3, "output_tokens": 4, "timestamp": moment.isoformat()}


def test_results_of_a_time_that_is_pruned_meanwhile_are_refused(store: UsageStore) -> None:
    """A prune after an import's first look: the calls that it may have taken are not stored a second time."""
    old = [result(f"old-{number}", EARLIER) for number in range(3)]
    store.import_results(old)

    def pruned_when_asked() -> Iterator[Mapping[str, Any]]:
        store.prune(CUT)
        yield from [*old, result("new", NOON)]

    said = r"3 calls from before 2026-10-01T00:00Z may count in .* already: .*; nothing was stored\. Import what"
    with pytest.raises(StoreError, match=said):
        store.import_results(pruned_when_asked())
    assert store.breakdown().total.calls == 3
    assert store.check().is_clean
    assert store.import_results([result("new", NOON)]).stored == 1


def test_what_was_stored_before_a_prune_is_said(store: UsageStore) -> None:
    """Batches that were stored before are, and the refusal says how many calls; all count once."""
    old = [result(f"old-{number}", EARLIER + timedelta(minutes=number)) for number in range(1_500)]

    def pruned_when_half_is_in() -> Iterator[Mapping[str, Any]]:
        yield from old[:1_000]
        store.prune(CUT)
        yield from old[1_000:]

    with pytest.raises(StoreError, match=r"500 calls from before .*; 1,000 calls before that are stored\."):
        store.import_results(pruned_when_half_is_in())
    assert store.breakdown().total.calls == 1_000
    assert store.check().is_clean


def test_a_late_call_that_has_a_row_may_be_corrected(store: UsageStore, tmp_path: Path) -> None:
    """What came after the prune and is stored is corrected by an import that goes on meanwhile."""
    store.add([make_call(started_at=EARLIER)])
    store.prune(CUT)
    late = make_call(started_at=EARLIER, tokens=(1, 1))
    store.add([replace(late, revision=1, chain="right")])
    store.export(tmp_path / "late.jsonl")
    store.delete(chain="right")
    store.add([late])
    assert store.import_file(tmp_path / "late.jsonl").corrected == 1
    assert [call.chain for call in store.calls()] == ["right"]
    assert (store.breakdown().total.calls, store.check().is_clean) == (2, True)


def test_a_prune_waits_for_an_import(postgresql_database: Database, make_store: MakeStore, tmp_path: Path) -> None:
    """A correction is in before a prune may take the call's row, so that it never becomes a second call."""
    store, other = make_store(postgresql_database), make_store(postgresql_database)
    call = make_call(started_at=EARLIER)
    store.add([replace(call, revision=1, chain="right")])
    store.export(tmp_path / "old.jsonl")
    store.delete(chain="right")
    store.add([call])
    pruning = threading.Thread(target=other.prune, args=(CUT,))

    def prune_now(_connection: Any, _cursor: Any, statement: str, *_: object) -> None:
        if "INSERT INTO llm_call" not in statement or pruning.ident is not None:
            return
        pruning.start()
        with psycopg.connect(postgresql_database.url, autocommit=True) as watcher:
            while pruning.is_alive() and not watcher.execute(WAITS).fetchone()[0]:  # type: ignore[index]
                pass

    event.listen(store._engine(), "before_cursor_execute", prune_now)
    assert store.import_file(tmp_path / "old.jsonl").corrected == 1
    pruning.join(30)
    assert (store.breakdown().total.calls, len(store.calls())) == (1, 0)
    assert store.check().is_clean
