"""Is nothing lost or wrong when old rows go? Pruning, what can still be asked, and what becomes of kept sums."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from langchain_tokens.breakdown import aggregate
from langchain_tokens.call import Call
from langchain_tokens.errors import MissingExtraError, QueryError, StoreError
from langchain_tokens.query import Query, make_query
from langchain_tokens.store import pruning
from langchain_tokens.store.answers import read_answer
from langchain_tokens.store.engine import reading, writing
from langchain_tokens.store.partitioning import partition_store
from langchain_tokens.store.partitions import partitions
from langchain_tokens.store.pruning import midnight_before
from langchain_tokens.store.retention import answered
from langchain_tokens.store.rolluptables import NAMES, ROLLUPS
from langchain_tokens.store.state import rows_since
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target
from langchain_tokens.store.writes import delete_calls
from langchain_tokens.syncing import sync_file
from tests.builders import NOON, make_call, make_fact
from tests.test_exporting import read_back
from tests.test_rollups import repriced, same, some_call

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)

MakeStore = Callable[["Database"], UsageStore]
CUT = datetime(2026, 10, 1, tzinfo=UTC)
EARLIER = CUT - timedelta(days=20)
QUESTIONS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    ((), {}),
    (("session",), {}),
    (("user",), {}),
    (("day", "session"), {}),
    (("month", "agent", "model"), {}),
    (("hour", "chain"), {"since": "2026-09-05T07:00", "until": "2026-10-20T03:00"}),
    (("path", "status", "attempt"), {"mode": "mode-1", "until": "2026-09-30"}),
)
"""Questions that kept sums answer, of whole hours."""


def history(count: int = 300, seed: int = 11) -> list[Call]:
    """Calls of ninety days; the cut lies in the middle."""
    chance = random.Random(seed)
    return [some_call(chance) for _ in range(count)]


def filled(store: UsageStore, calls: Sequence[Call]) -> UsageStore:
    store.add(calls, [make_fact(run_id) for run_id in sorted({call.run_id for call in calls})])
    return store


def after(calls: Sequence[Call], cut: datetime = CUT) -> list[Call]:
    return [call for call in calls if call.started_at >= cut]


def stored(store: UsageStore) -> dict[str, Call]:
    return {call.call_id: call for call in store.calls(limit=10_000)}


def kept_since(store: UsageStore) -> str | None:
    with reading(store._engine(), store.target) as connection:
        return rows_since(connection)


def sums(store: UsageStore) -> list[list[Any]]:
    """All rows of all tables of sums."""
    with reading(store._engine(), store.target) as connection:
        return [sorted(map(tuple, connection.execute(rollup.table.select()))) for rollup in ROLLUPS]


def test_prune_keeps_what_the_sums_say(store: UsageStore) -> None:
    """Old calls and their runs are gone, and every question that sums can answer is answered as before."""
    calls = history()
    filled(store, calls).add([], [make_fact("old", started_at=EARLIER), make_fact("new", started_at=NOON)])
    planned = store.prune(CUT + timedelta(hours=7), dry_run=True)
    assert len(stored(store)) == len(calls)
    done = store.prune(CUT + timedelta(hours=7))
    assert done == planned
    gone = len(calls) - len(after(calls))
    assert (done.before, done.calls, done.runs, done.kept) == (CUT, gone, 1, True)
    assert done.first == min(call.started_at for call in calls)
    assert stored(store) == {call.call_id: call for call in after(calls)}
    assert {run.run_id for run in store.runs(limit=1_000)} == {"new", *(call.run_id for call in calls)}
    for by, filters in QUESTIONS:
        assert same(store.breakdown(*by, **filters), aggregate(calls, make_query(by, filters))), (by, filters)
    assert store.check().is_clean
    assert kept_since(store) == "2026-10-01T00:00Z"


def test_runs_go_with_their_last_call(store: UsageStore) -> None:
    """A run whose calls are all old goes; one with a later call stays, with the totals of what is left."""
    store.add(
        [
            make_call(run_id="old", started_at=EARLIER),
            make_call(run_id="long", started_at=EARLIER),
            make_call(run_id="long", started_at=NOON, tokens=(7, 1)),
        ],
        [make_fact("old", started_at=EARLIER), make_fact("long", started_at=EARLIER)],
    )
    assert store.prune(CUT).runs == 1
    (run,) = store.runs()
    assert (run.run_id, [call.usage.total_tokens for call in run.calls if call.usage]) == ("long", [8])
    assert store.check().is_clean


def test_rows_since_never_goes_back(store: UsageStore) -> None:
    """An earlier cut after a later one changes nothing, and a prune that finds no calls forbids no question."""
    assert (store.prune("90d").calls, kept_since(store)) == (0, None)
    filled(store, history(60))
    store.prune(CUT)
    store.prune(EARLIER)
    assert kept_since(store) == "2026-10-01T00:00Z"


@pytest.mark.parametrize("first_cut", [None, EARLIER, CUT + timedelta(days=9)])
def test_prune_without_sums_leaves_what_later_calls_leave(
    database: Database, make_store: MakeStore, first_cut: datetime | None
) -> None:
    """Without sums, nothing of the time before the cut is left, whatever an earlier prune had kept of it."""
    calls = history()
    store = filled(make_store(database), calls)
    if first_cut is not None:
        store.prune(first_cut)
    store.prune(CUT, keep_rollups=False)
    assert store.check().is_clean
    right = filled(UsageStore(parse_target("sqlite://")), after(calls))
    assert sums(store) == sums(right)
    right._opener._engine.dispose()
    assert kept_since(store) == ("2026-10-10T00:00Z" if first_cut and first_cut > CUT else None)


@pytest.mark.parametrize("keeps", [True, False])
def test_days_with_many_calls_go_hour_by_hour(
    database: Database, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, keeps: bool
) -> None:
    """A day with very many calls is deleted in smaller transactions, with the same result."""
    monkeypatch.setattr(pruning, "_MOST", 2)
    calls = [make_call(started_at=EARLIER + timedelta(minutes=25 * number)) for number in range(30)]
    store = filled(make_store(database), calls)
    store.prune(CUT, keep_rollups=keeps)
    assert (stored(store), store.breakdown().total.calls) == ({}, 30 if keeps else 0)
    assert store.check().is_clean


@pytest.mark.parametrize("keeps", [True, False])
def test_an_interrupted_prune_leaves_a_store_in_order(
    database: Database, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, keeps: bool
) -> None:
    """When the database fails after some days, all numbers are right, and the same prune goes on."""
    calls = history(120)
    store = filled(make_store(database), calls)
    done: list[int] = []

    def failing(*arguments: Any, **more: Any) -> int:
        done.append(1)
        deleted = delete_calls(*arguments, **more)
        if len(done) == 5:
            raise StoreError("the connection is gone")
        return deleted

    monkeypatch.setattr("langchain_tokens.store.pruning.delete_calls", failing)
    with pytest.raises(StoreError, match="gone"):
        store.prune(CUT, keep_rollups=keeps)
    assert 0 < len(stored(store)) < len(calls)
    assert store.check().is_clean
    if keeps:
        assert same(store.breakdown("session"), aggregate(calls, make_query(("session",))))
    store.prune(CUT, keep_rollups=keeps)
    assert stored(store) == {call.call_id: call for call in after(calls)}
    assert store.check().is_clean


def test_calls_that_come_late_count(store: UsageStore) -> None:
    """A call of a pruned time that comes in afterwards is stored and counted, changed, repriced, deleted and pruned."""
    calls = history(80)
    filled(store, calls).prune(CUT)
    late = [replace(call, call_id=f"late-{call.call_id}", started_at=EARLIER) for call in history(6, seed=3)]
    filled(store, late)
    corrected = replace(late[0], revision=1, model="another", usage=None, usage_source="missing")
    store.add([corrected])
    store.change_costs([(late[1], repriced(late[1]))])
    store.rebuild_rollups()
    now = [*calls, corrected, repriced(late[1]), *late[2:]]
    assert store.check().is_clean
    assert same(store.breakdown("model"), aggregate(now, make_query(("model",))))
    assert set(stored(store)) == {call.call_id for call in (*after(calls), *late)}
    store.prune(CUT)
    assert set(stored(store)) == {call.call_id for call in after(calls)}
    assert store.breakdown().total.calls == len(now)
    assert store.check().is_clean


def test_what_only_a_late_call_knew_is_unknown_without_it(store: UsageStore) -> None:
    """Where the calls without a row knew neither tokens nor cost, both are unknown again when a late call goes."""
    store.add([make_call(session="s", tokens=None, started_at=EARLIER)])
    store.prune(CUT)
    store.add([make_call(session="s", run_id="late", tokens=(5, 5), cost="1", started_at=EARLIER)])
    store.delete(run="late")
    for by in ((), ("session",), ("day", "chain"), ("hour",), ("status", "attempt")):
        (row,) = store.breakdown(*by)
        assert (row.calls, row.total_tokens, row.input_tokens, row.cost_usd) == (1, None, None, None), by
    assert store.check().is_clean


def test_what_calls_without_a_row_knew_stays_known(store: UsageStore) -> None:
    """A 0 that a pruned call knew is still 0 when a late call of its hour that knew more is gone."""
    store.add([make_call(tokens=tokens, cost="0", started_at=EARLIER) for tokens in ((0, 0), None)])
    store.prune(CUT)
    store.add([make_call(run_id="late", tokens=(5, 5), cost="1", started_at=EARLIER)])
    store.delete(run="late")
    assert (store.breakdown().total.total_tokens, store.breakdown().total.cost_usd) == (0, 0)
    assert store.check().is_clean


@pytest.mark.parametrize("last", ["deleted", "moved"])
def test_late_calls_that_know_less_and_less_leave_sums_in_order(store: UsageStore, last: str) -> None:
    """A late call that is corrected to know nothing, and then goes or counts elsewhere, leaves no 0 behind."""
    store.add([make_call(started_at=EARLIER - timedelta(days=9))])
    store.prune(CUT)
    late = make_call(run_id="late", session="s", chain="a", cost="1", started_at=EARLIER)
    unknown = make_call(session="s", tokens=None, started_at=EARLIER + timedelta(hours=1))
    store.add([late, unknown])
    emptied = replace(late, revision=1, usage=None, usage_source="missing", cost_usd=None, price_status="unpriced")
    store.add([emptied])
    assert store.breakdown("session", session="s").total.total_tokens is None
    if last == "deleted":
        store.delete(run="late")
    else:
        store.add([replace(emptied, revision=2, chain="b")])
    assert store.check().is_clean
    total = store.breakdown(since=EARLIER).total
    assert (total.total_tokens, total.cost_usd) == (None, None)


def test_rebuilding_says_what_was_wrong(store: UsageStore) -> None:
    """Wrong numbers are counted and mended, and sums without rows stay."""
    calls = history(80)
    filled(store, calls).prune(CUT)
    assert store.rebuild_rollups() == 0
    with writing(store._engine(), store.target) as connection:
        connection.execute(ROLLUPS[1].table.update().values(calls=ROLLUPS[1].table.c.calls + 1))
        daily = len(connection.execute(ROLLUPS[1].table.select()).all())
    assert store.rebuild_rollups() >= daily
    assert store.check().is_clean
    assert same(store.breakdown("model"), aggregate(calls, make_query(("model",))))


# What can be asked


@pytest.mark.parametrize(
    ("by", "filters"),
    [
        (("tag:team",), {}),
        (("session", "chain"), {}),
        (("run",), {"until": "2026-09-20"}),
        ((), {"tags": {"team": "a"}, "since": "2026-09-30T23:00"}),
        (("chain",), {"session": ["session-1", "nobody", None]}),
    ],
)
def test_what_rows_alone_can_tell_is_refused(store: UsageStore, by: tuple[str, ...], filters: dict[str, Any]) -> None:
    """A question that needs rows, of a time whose rows are gone, is refused with the date from which on it can be asked."""
    calls = history(80)
    filled(store, calls).prune(CUT)
    for limit in (None, 3):
        with pytest.raises(QueryError, match='since="2026-10-01"'):
            store.breakdown(*by, limit=limit, **filters)
    allowed = {**filters, "since": "2026-10-01", "until": None}
    assert same(store.breakdown(*by, **allowed), aggregate(after(calls), make_query(by, allowed)))


def test_a_timeline_that_needs_rows_is_refused(store: UsageStore) -> None:
    """So is a timeline by a tag; by a name whose sums are kept, it reaches back as ever."""
    calls = history(80)
    filled(store, calls).prune(CUT)
    with pytest.raises(QueryError, match="pruned"):
        store.timeline("day", by="tag:team")
    assert store.timeline("day", by="chain").total.calls == len(calls)


def test_a_session_that_lost_no_row_is_answered(store: UsageStore) -> None:
    """A session, a user or a run all of whose calls are there can be asked for anything, without a range."""
    store.add(
        [
            make_call(session="new", user="u", run_id="r", chain="a", started_at=NOON),
            make_call(session="old", user="u", chain="a", started_at=EARLIER),
        ],
        [make_fact("r", started_at=NOON)],
    )
    store.prune(CUT)
    assert store.breakdown("chain", session="new").total.calls == 1
    assert store.breakdown("chain", run="r", user="u").total.calls == 1
    for filters in ({"session": "old"}, {"user": "u"}, {"run": "gone"}, {"session": ["new", "old"]}):
        with pytest.raises(QueryError, match="pruned"):
            store.breakdown("chain", **filters)


def test_ends_within_a_pruned_hour_are_widened(store: UsageStore) -> None:
    """A range that begins or ends within an hour whose rows are gone has that whole hour."""
    moments = [EARLIER + timedelta(minutes=minutes) for minutes in (1, 59, 61, 119, 121)]
    store.add([make_call(started_at=moment) for moment in (*moments, NOON)])
    store.prune(CUT)

    def count(since: datetime | None, until: datetime | None) -> int:
        return store.breakdown(since=since, until=until).total.calls

    assert count(moments[1], None) == 6
    assert count(moments[1], moments[2]) == 4
    assert count(moments[2], moments[3]) == 2
    assert count(None, moments[0]) == 2
    assert count(moments[2], NOON) == 3
    assert count(NOON + timedelta(seconds=1), None) == 0


@pytest.mark.parametrize(("by", "since"), [(("session", "chain"), None), ((), EARLIER + timedelta(minutes=1))])
def test_a_prune_while_a_question_is_answered_takes_nothing_from_it(
    lasting_database: Database, make_store: MakeStore, by: tuple[str, ...], since: datetime | None
) -> None:
    """When rows go between two statements of an answer, it is as before."""
    store, other = make_store(lasting_database), make_store(lasting_database)
    store.add([make_call(started_at=EARLIER), make_call(started_at=EARLIER + timedelta(minutes=2)), make_call()])
    query = make_query(by, {"since": since})

    def read(asked: Query) -> int:
        other.prune(CUT)
        return sum(sums.calls for _, sums in read_answer(connection, asked))

    before = store.breakdown(*by, since=since).total.calls
    with reading(store._engine(), store.target) as connection:
        assert answered(connection, query, read) == before


# What deleting means for sums without rows


@pytest.mark.parametrize("dimension", ["session", "user"])
def test_a_deleted_name_is_gone_from_kept_sums(store: UsageStore, dimension: str) -> None:
    """Of sums without rows a deleted session or user loses its name; they count as of calls that have none."""
    calls = history()
    filled(store, calls).prune(CUT)
    name = f"{dimension}-1"
    store.delete(**{dimension: name})
    assert store.check().is_clean
    gone: dict[str, Any] = {dimension: None}
    nameless = [replace(call, **gone) if getattr(call, dimension) == name else call for call in calls]
    left = [new for old, new in zip(calls, nameless, strict=True) if new == old or old.started_at < CUT]
    for by in ((dimension,), ("day", dimension), ("month", "model"), ()):
        assert same(store.breakdown(*by), aggregate(left, make_query(by))), by
    assert not any(name in row for table in sums(store) for row in table)
    store.rebuild_rollups()
    assert same(store.breakdown(dimension), aggregate(left, make_query((dimension,))))


def test_a_deleted_name_within_a_range_loses_it_there(store: UsageStore) -> None:
    """With a range, the name goes from the hours that the range touches, and stays in others."""
    moments = [EARLIER + timedelta(minutes=minutes) for minutes in (0, 90, 200)]
    store.add([make_call(session="s", started_at=moment) for moment in moments])
    store.prune(CUT)
    store.delete(session="s", since=moments[1], until=moments[1] + timedelta(minutes=1))
    assert {row.key["session"]: row.calls for row in store.breakdown("session")} == {"s": 2, None: 1}
    assert store.check().is_clean


@pytest.mark.parametrize("dimension", ["session", "user"])
def test_a_deleted_name_keeps_the_calls_that_a_range_leaves(store: UsageStore, dimension: str) -> None:
    """Late calls of a pruned hour that lie beyond a range's end keep their name, and are counted out of it later."""
    named: dict[str, Any] = {dimension: "s"}
    store.add([make_call(**named, tokens=None, started_at=EARLIER), make_call(tokens=None, started_at=EARLIER)])
    store.prune(CUT)
    store.add([make_call(**named, chain="late", tokens=(7, 1), started_at=EARLIER + timedelta(minutes=45))])
    store.delete(**named, until=EARLIER + timedelta(minutes=30))

    def found() -> dict[Any, tuple[int, int | None]]:
        return {row.key[dimension]: (row.calls, row.total_tokens) for row in store.breakdown(dimension)}

    assert found() == {"s": (1, 8), None: (2, None)}
    assert store.breakdown("day", dimension, **named).total.calls == 1
    assert store.check().is_clean
    store.delete(chain="late")
    assert found() == {None: (2, None)}
    assert store.check().is_clean


def test_a_negative_count_of_a_pruned_hour_is_reported(store: UsageStore) -> None:
    """Where no rows can tell what is right, a number of calls below 0 is still found to be wrong."""
    filled(store, history(80)).prune(CUT)
    with writing(store._engine(), store.target) as connection:
        table = NAMES["hour"].table
        of_gone = (table.c.dimension == "user") & (table.c.hour < f"{CUT:%Y-%m-%d}")
        connection.execute(table.update().where(of_gone).values(cached_calls=-1))
    found = {(item.row.split()[0], item.column, item.stored) for item in store.check().differences}
    assert ("usage_hourly_by_name", "cached_calls", -1) in found


def test_a_deleted_range_takes_kept_sums_along(store: UsageStore) -> None:
    """A range takes the sums of its whole hours away; a filter that sums cannot tell apart leaves them."""
    calls = history()
    filled(store, calls).prune(CUT)
    store.delete(model="model-1", session="session-1")
    left = [call for call in calls if call.started_at < CUT or (call.model, call.session) != ("model-1", "session-1")]
    store.delete(since="2026-09-02T10:30", until="2026-09-20T10:30")
    first, last = datetime(2026, 9, 2, 11, tzinfo=UTC), datetime(2026, 9, 20, 10, tzinfo=UTC)
    left = [call for call in left if not first <= call.started_at < last]
    assert store.check().is_clean
    for by in ((), ("session",), ("day", "user"), ("month", "chain")):
        assert same(store.breakdown(*by), aggregate(left, make_query(by))), by


def test_deleting_everything_leaves_nothing(store: UsageStore) -> None:
    """After a prune, too, deleting everything leaves no sum and no name, and every question can be asked again."""
    filled(store, history(80)).prune(CUT)
    store.delete(until="9999-12-31T23:59:59.999999")
    assert sums(store) == [[]] * len(ROLLUPS)
    assert (kept_since(store), store.breakdown("tag:team").total.calls) == (None, 0)


# The calls are in a file before they are gone


def test_pruned_calls_are_in_the_file(store: UsageStore, tmp_path: Path) -> None:
    """Every call that is deleted is in the file, once and whole."""
    calls = history(120)
    filled(store, calls)
    goal = tmp_path / "old.parquet"
    done = store.prune(CUT, export=goal)
    assert done.export == goal
    assert {**read_back(goal), **stored(store)} == {call.call_id: call for call in calls}
    assert len(read_back(goal)) == done.calls
    assert list(tmp_path.glob("old*")) == [goal]
    assert store.prune(CUT, export=tmp_path / "none.parquet").export is None


def test_a_file_that_cannot_be_written_deletes_nothing(
    store: UsageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, a file that is there, another kind of file, or no pyarrow: no call is deleted that is not in a file."""
    calls = history(60)
    filled(store, calls)
    there = tmp_path / "there.parquet"
    there.write_text("mine")
    for path, error in (
        (there, StoreError),
        (tmp_path / "old.csv", QueryError),
        (tmp_path / "no" / "x.parquet", StoreError),
    ):
        with pytest.raises(error):
            store.prune(CUT, export=path)
    synced: list[int] = []

    def full(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) > 3:
            raise OSError(28, "No space left on device")
        sync_file(descriptor)

    goal = tmp_path / "old.parquet"
    with monkeypatch.context() as patch:
        patch.setattr("langchain_tokens.wholefile.sync_file", full)
        with pytest.raises(StoreError, match=r"No space left.*calls are deleted, and whole in .*old\.parquet\.parts"):
            store.prune(CUT, export=goal)
    parts: dict[str, Call] = {}
    for part in sorted((tmp_path / "old.parquet.parts").iterdir()):
        parts |= read_back(part)
    assert len(parts) + len(stored(store)) == len(calls)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(MissingExtraError, match=r"langchain_tokens\[export\]"):
            store.prune(CUT, export=goal)
    assert {**parts, **stored(store)} == {call.call_id: call for call in calls}
    store.prune(CUT, export=goal)
    assert {**read_back(goal), **stored(store)} == {call.call_id: call for call in calls}


KILLED = """
import os, pathlib, signal, sys
from langchain_tokens.exporting import Parts
from langchain_tokens.store import pruning
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target

url, goal, place = sys.argv[1:]
done = []

def killed(real):
    def dying(*arguments, **more):
        done.append(1)
        if len(done) == 4 and place == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        found = real(*arguments, **more)
        if len(done) == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return found
    return dying

unlink = pathlib.Path.unlink

def dying_unlink(path, missing_ok=False):
    if path.parent.name.endswith(".parts") and path.suffix == ".parquet":
        done.append(1)
        if len(done) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
    unlink(path, missing_ok)

if place == "dropping":
    pathlib.Path.unlink = dying_unlink
elif place == "between":
    pruning._next_piece = killed(pruning._next_piece)
else:
    Parts.add = killed(Parts.add)
UsageStore(parse_target(url)).prune("2026-10-01", export=goal)
"""


def killed_prune(url: str, goal: Path, place: str) -> int:
    """Prune in another process, which is killed at some place."""
    command = [sys.executable, "-c", KILLED, url, str(goal), place]
    return subprocess.run(command, check=False, env={**os.environ}).returncode


@pytest.mark.parametrize("place", ["between", "before", "after"])
def test_a_killed_prune_loses_nothing_and_goes_on(
    lasting_database: Database, make_store: MakeStore, tmp_path: Path, place: str
) -> None:
    """Killed between two days, before or after a day's calls are in the file: each call is in the store or the file."""
    calls = history(80)
    store = filled(make_store(lasting_database), calls)
    goal = tmp_path / "old.parquet"
    assert killed_prune(lasting_database.url, goal, place) == -signal.SIGKILL
    left = len(stored(store))
    assert len(after(calls)) < left < len(calls)
    assert store.check().is_clean
    assert same(store.breakdown("user"), aggregate(calls, make_query(("user",))))
    done = store.prune(CUT, export=goal)
    assert done.calls == left - len(after(calls))
    assert len(read_back(goal)) == len(calls) - len(after(calls))
    assert {**read_back(goal), **stored(store)} == {call.call_id: call for call in calls}


def test_a_prune_killed_at_its_end_has_a_whole_file(
    lasting_database: Database, make_store: MakeStore, tmp_path: Path
) -> None:
    """Killed when the file is made, while its parts are dropped: the same again drops the others and ends well."""
    calls = history(80)
    store = filled(make_store(lasting_database), calls)
    goal = tmp_path / "old.parquet"
    assert killed_prune(lasting_database.url, goal, "dropping") == -signal.SIGKILL
    assert (len(stored(store)), goal.exists()) == (len(after(calls)), True)
    done = store.prune(CUT, export=goal)
    assert (done.calls, done.export) == (0, goal)
    assert {**read_back(goal), **stored(store)} == {call.call_id: call for call in calls}
    assert list(tmp_path.glob("old*")) == [goal]


def test_a_file_that_is_whole_takes_no_more_calls(
    lasting_database: Database, make_store: MakeStore, tmp_path: Path
) -> None:
    """Killed while the parts of a file go: later calls are not deleted with the same name, and the parts are dropped."""
    calls = history(80)
    store = filled(make_store(lasting_database), calls)
    goal = tmp_path / "old.parquet"
    assert killed_prune(lasting_database.url, goal, "dropping") == -signal.SIGKILL
    before = read_back(goal)
    with pytest.raises(StoreError, match="is there already"):
        store.prune(NOON, export=goal)
    assert (len(stored(store)), read_back(goal)) == (len(after(calls)), before)
    with pytest.raises(StoreError, match="is there already"):
        store.prune(CUT, export=goal)
    assert not [*(tmp_path / "old.parquet.parts").glob("*")]


@pytest.mark.parametrize(("keeps", "exports"), [(True, False), (True, True), (False, False)])
def test_others_write_while_days_are_pruned(
    lasting_database: Database, make_store: MakeStore, tmp_path: Path, keeps: bool, exports: bool
) -> None:
    """Calls of old and new time that come in during a prune are counted, and none is deleted that is not exported."""
    calls = history(150)
    store, other = filled(make_store(lasting_database), calls), make_store(lasting_database)
    came = history(400, seed=5)
    begun, done = threading.Event(), threading.Event()

    def write() -> None:
        for start in range(0, len(came), 4):
            other.add(came[start : start + 4], [make_fact(call.run_id) for call in came[start : start + 4]])
            begun.set()
            if done.is_set():
                break
            written.extend(came[start : start + 4])

    written: list[Call] = []
    writer = threading.Thread(target=write)
    writer.start()
    begun.wait(30)
    goal = tmp_path / "old.parquet" if exports else None
    store.prune(CUT, keep_rollups=keeps, export=goal)
    done.set()
    writer.join(60)
    assert store.check().is_clean
    if keeps:
        assert store.breakdown().total.calls in (len(calls) + len(written), len(calls) + len(written) + 4)
    if goal is not None:
        assert {call.call_id for call in (*calls, *written)} <= {*read_back(goal), *stored(store)}


@pytest.mark.parametrize(("keeps", "exports"), [(True, False), (True, True), (False, False)])
def test_whole_partitions_are_dropped(
    postgresql_database: Database, make_store: MakeStore, tmp_path: Path, keeps: bool, exports: bool
) -> None:
    """Of a partitioned table, partitions before the cut are dropped, with the same result as row by row."""
    calls = history()
    plain = filled(UsageStore(parse_target("sqlite://")), calls)
    store = filled(make_store(postgresql_database), calls)
    partition_store(store.target, by="month", now=NOON)
    cut, goal = CUT + timedelta(days=12), tmp_path / "old.parquet" if exports else None
    done = store.prune(cut, keep_rollups=keeps, export=goal)
    assert replace(done, export=None) == plain.prune(cut, keep_rollups=keeps)
    assert (stored(store), sums(store), kept_since(store)) == (stored(plain), sums(plain), kept_since(plain))
    assert store.check().is_clean
    with reading(store._engine(), store.target) as connection:
        assert min(partition.since for partition in partitions(connection)) == CUT
    if goal is not None:
        assert {**read_back(goal), **stored(store)} == {call.call_id: call for call in calls}
    plain._opener._engine.dispose()


@pytest.mark.parametrize(
    ("older_than", "cut"),
    [
        ("90d", datetime(2026, 8, 22, tzinfo=UTC)),
        ("today", datetime(2026, 11, 20, tzinfo=UTC)),
        ("12h", datetime(2026, 11, 20, tzinfo=UTC)),
        (timedelta(days=1), datetime(2026, 11, 19, tzinfo=UTC)),
        (date(2026, 1, 31), datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T23:59:59-05:00", datetime(2026, 2, 1, tzinfo=UTC)),
    ],
)
def test_the_cut_is_a_midnight(older_than: Any, cut: datetime) -> None:
    """Whatever says how old, the cut is the last midnight in UTC at or before it."""
    assert midnight_before(older_than, NOON) == cut


@pytest.mark.parametrize("older_than", ["2026-11-21", "2100-01-01", "old", NOON.replace(tzinfo=None), None])
def test_what_is_yet_to_come_cannot_be_pruned(older_than: Any) -> None:
    """A cut after now, or what is no moment, is refused."""
    with pytest.raises(QueryError, match="older_than"):
        midnight_before(older_than, NOON)


def test_what_a_prune_exported_is_not_counted_again(store: UsageStore, tmp_path: Path) -> None:
    """An import with calls whose rows were pruned stores nothing and says why, dry or not; without their sums it may."""
    calls, path = history(), tmp_path / "old.parquet"
    filled(store, calls).prune(CUT, export=path)
    before, gone = store.breakdown().total, len(calls) - len(after(calls))
    for dry_run in (True, False):
        with pytest.raises(StoreError, match=rf"has {gone} calls from before 2026-10-01 .* nothing was stored"):
            store.import_file(path, dry_run=dry_run)
    assert (store.breakdown().total, len(stored(store))) == (before, len(after(calls)))
    store.prune(CUT, keep_rollups=False)
    assert store.import_file(path).stored == gone
    assert store.breakdown().total == before
    assert store.check().is_clean


def test_a_poller_may_hand_over_what_is_kept_after_a_prune(store: UsageStore) -> None:
    """Results from after a cut are stored, and so is what is there from before it left alone; new ones are refused."""
    filled(store, history()).prune(CUT)
    late = make_call(call_id="late", started_at=EARLIER)
    store.add([late])
    kept, old = (
        {"id": name, "input_tokens": 1, "timestamp": moment.isoformat()}
        for name, moment in (("a", NOON), ("b", EARLIER))
    )
    assert store.import_results(iter([kept])).stored == 1
    before = store.breakdown().total
    with pytest.raises(StoreError, match="results has 1 call from before 2026-10-01"):
        store.import_results(iter([kept, old]))
    store.export("late.jsonl", until=CUT)
    assert store.import_file("late.jsonl").there == 1
    assert store.breakdown().total == before
