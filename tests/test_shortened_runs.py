"""Is a run that lost calls to a prune ever answered by those that are left? Refused, however it goes on later."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from langchain_tokens.errors import QueryError
from langchain_tokens.render import UNKNOWN
from langchain_tokens.store.partitioning import partition_store
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target
from tests.builders import NOON, make_call, make_fact
from tests.test_cli import Run, run

if TYPE_CHECKING:
    from tests.databases import Database

__all__ = ("run",)

pytest_plugins = ("tests.databases",)

MakeStore = Callable[["Database"], UsageStore]
CUT = datetime(2026, 10, 1, tzinfo=UTC)
EARLIER = CUT - timedelta(days=20)


def reborn(store: UsageStore, export: Path | None = None) -> UsageStore:
    """A run that a prune took whole, and that got one more call; and another that began after it."""
    store.add([make_call(run_id="r", started_at=EARLIER) for _ in range(3)], [make_fact("r", started_at=EARLIER)])
    store.prune(CUT, export=export)
    store.add([make_call(run_id="r"), make_call(run_id="new")], [make_fact("r"), make_fact("new")])
    return store


def assert_refused(store: UsageStore) -> None:
    for by, filters in (
        ((), {"run": "r"}),
        (("chain",), {"run": ["r", "new"]}),
        (("run",), {"run": "r"}),
        (("run",), {}),
    ):
        with pytest.raises(QueryError, match=r'were pruned.*since="2026-10-01"'):
            store.breakdown(*by, **filters)
    assert store.breakdown(run="new").total.calls == 1
    assert store.breakdown(run="r", since=CUT).total.calls == 1
    assert store.breakdown().total.calls == 5
    assert store.check().is_clean


@pytest.mark.parametrize("exports", [False, True])
def test_a_run_that_comes_again_is_not_answered_by_its_later_calls(
    store: UsageStore, tmp_path: Path, exports: bool
) -> None:
    """A run that went whole and got a call since is refused as other questions about a pruned time are."""
    assert_refused(reborn(store, tmp_path / "old.parquet" if exports else None))


def test_so_it_is_where_its_partition_was_dropped(postgresql_database: Database, make_store: MakeStore) -> None:
    """Runs of whole partitions are known to have lost calls, too."""
    store = make_store(postgresql_database)
    store.add([])
    partition_store(store.target, by="month", now=NOON)
    assert_refused(reborn(store))


def test_a_run_that_was_said_to_begin_after_its_first_call_is_refused(store: UsageStore) -> None:
    """What is told of a run's start is not believed where its calls know better."""
    store.add([make_call(run_id="r", started_at=EARLIER), make_call(run_id="r")], [make_fact("r")])
    store.prune(CUT)
    with pytest.raises(QueryError, match="were pruned"):
        store.breakdown(run="r")


def test_a_run_whose_rest_was_deleted_stays_known(store: UsageStore) -> None:
    """A run that lost calls twice, to a prune and to a deletion, and comes again is still refused."""
    store.add([make_call(run_id="r", started_at=EARLIER), make_call(run_id="r", chain="a")], [make_fact("r")])
    store.prune(CUT)
    store.delete(chain="a")
    store.add([make_call(run_id="r")], [make_fact("r")])
    with pytest.raises(QueryError, match="were pruned"):
        store.breakdown(run="r")


@pytest.mark.parametrize("way", ["prune", "delete"])
def test_runs_are_forgotten_with_the_sums(store: UsageStore, way: str) -> None:
    """Once nothing is left of the pruned time, what came since is all that there is of a run."""
    reborn(store)
    if way == "prune":
        store.prune(CUT, keep_rollups=False)
    else:
        store.delete(until=CUT)
    assert store.breakdown(run="r").total.calls == 1
    assert store.check().is_clean


def test_sums_of_a_run_that_lost_calls_are_refused(store: UsageStore) -> None:
    """A stored run shows the calls that are left, and no sum of them; one that lost none has all."""
    reborn(store)
    lost, other = (store.runs(run=name)[0] for name in ("r", "new"))
    assert len(lost.calls) == 1
    for ask in (lambda: lost.total, lost.tree, lost.summary, lost.to_response, lost.totals, lost.to_dict):
        with pytest.raises(QueryError, match=r"calls of the run r were pruned; what is left of them \(1\) is no total"):
            ask()
    assert other.total.calls == 1


def test_the_command_lists_runs_without_sums_that_are_not_known(run: Run, tmp_path: Path) -> None:
    """A list with such a run shows it without numbers, beside others with theirs; it was refused as a whole."""
    url = f"sqlite:///{tmp_path / 'tokens.db'}"
    store = reborn(UsageStore(parse_target(url)))
    store.add([], [make_fact("empty")])
    store.close()
    said = run("runs", "--db", url, "--json")
    assert said.code == 0, said.err
    totals = {each["run_id"]: each["total"] and each["total"]["calls"] for each in said.document["runs"]}
    assert totals == {"r": None, "new": 1, "empty": None}
    lines = {line.split()[0]: line.split() for line in run("runs", "--db", url).out.splitlines() if line.strip()}
    assert (UNKNOWN in lines["r"], "0" in lines["r"], "0" in lines["empty"]) == (True, False, True)
