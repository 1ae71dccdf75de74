"""Calls partitioned by time in PostgreSQL: made and taken back with nothing lost, and all else goes on as before."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import text

from langchain_tokens.cli import main
from langchain_tokens.errors import SchemaError, StoreError
from langchain_tokens.store.downgrade import downgrade_store
from langchain_tokens.store.dropping import drop_partitions_before
from langchain_tokens.store.engine import make_engine, reading, writing
from langchain_tokens.store.inspection import inspect_store
from langchain_tokens.store.ours import is_ours
from langchain_tokens.store.partitioning import MOST, Partitioning, partition_store, unpartition_store
from langchain_tokens.store.partitions import (
    REST,
    STEPS,
    PartitionStep,
    is_partition_name,
    is_partitioned,
    make_partition,
    partitions,
    partitions_before,
)
from langchain_tokens.store.schema import HEAD, upgrade
from langchain_tokens.store.state import keep_rows_since
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target
from langchain_tokens.store.upgrade import upgrade_store
from tests.builders import NOON, make_call, make_fact
from tests.test_rollups import changed, repriced, some_call

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)

MakeStore = Callable[["Database"], UsageStore]
LAST_MONTH, LONG_AGO = NOON - timedelta(days=30), NOON - timedelta(days=900)


@pytest.fixture
def store(postgresql_database: Database, make_store: MakeStore) -> UsageStore:
    """An empty store on PostgreSQL."""
    return make_store(postgresql_database)


@pytest.fixture
def partitioned(store: UsageStore) -> UsageStore:
    """A store with a call of this month and one of the last, partitioned by month."""
    store.add([make_call(call_id="new", run_id="r"), make_call(call_id="old", run_id="r", started_at=LAST_MONTH)])
    divide(store, ahead=1)
    return store


def divide(store: UsageStore, **options: Any) -> Partitioning:
    """Partition a store as if it were the builders' noon."""
    return partition_store(store.target, **{"now": NOON, **options})


def names(store: UsageStore) -> list[str]:
    """The partitions of a store, oldest first."""
    with reading(store._engine(), store.target) as connection:
        return [partition.name for partition in partitions(connection)]


def lies_in(store: UsageStore) -> dict[str, str]:
    """Each call's partition."""
    with reading(store._engine(), store.target) as connection:
        found = connection.execute(text("SELECT call_id, tableoid::regclass::text FROM llm_call"))
        return {str(row[0]): str(row[1]) for row in found}


def run_sql(store: UsageStore, *statements: str) -> None:
    """Run statements as the owner, beside the store."""
    with writing(store._engine(), store.target) as connection:
        for statement in statements:
            connection.execute(text(statement))


def answers(store: UsageStore) -> list[Any]:
    """What a store says of everything it holds."""
    questions = ((), ("chain",), ("day",), ("session",), ("run",), ("month", "model"))
    calls = store.calls(limit=10_000)
    said = [store.breakdown(*by).to_records() for by in questions]
    return [calls, [run.to_dict() for run in store.runs(limit=10_000)], *said, store.timeline("hour").to_records()]


@pytest.mark.parametrize("by", STEPS)
def test_partitions_are_made_for_the_times_that_have_calls_and_ahead(store: UsageStore, by: PartitionStep) -> None:
    """Every call lies in the partition of its time, and the store answers everything as before."""
    chance = random.Random(11)
    store.add([some_call(chance) for _ in range(150)], [make_fact(f"run-{number}") for number in range(9)])
    before = answers(store)
    done = divide(store, by=by, ahead=3)
    assert (done.by, done.was_partitioned, done.calls, done.in_rest) == (by, False, 150, 0)
    ahead = [new for new in done.made if new.partition.since > NOON]
    assert ([new.calls for new in ahead[-3:]], done.made[-1].partition) == ([0] * 3, ahead[-1].partition)
    made = {call.call_id: make_partition(call.started_at, by) for call in store.calls(limit=1_000)}
    assert lies_in(store) == {call_id: found.name for call_id, found in made.items() if found}
    assert answers(store) == before
    assert store.check().is_clean


@pytest.mark.parametrize(
    ("moment", "step", "name", "since", "until"),
    [
        ("2026-11-20T12:00", "month", "llm_call_2026_11", "2026-11-01", "2026-12-01"),
        ("2026-12-31T23:59", "month", "llm_call_2026_12", "2026-12-01", "2027-01-01"),
        ("2026-11-22T12:00", "week", "llm_call_2026_w47", "2026-11-16", "2026-11-23"),
        ("2027-01-02T00:00", "week", "llm_call_2026_w53", "2026-12-28", "2027-01-04"),
        ("2028-02-29T00:00", "day", "llm_call_2028_02_29", "2028-02-29", "2028-03-01"),
        ("0999-02-03T00:00", "day", "llm_call_0999_02_03", "0999-02-03", "0999-02-04"),
    ],
)
def test_partition_of_a_moment(moment: str, step: PartitionStep, name: str, since: str, until: str) -> None:
    """A partition begins and ends with its month, week or day in UTC, and is named after it."""
    found = make_partition(datetime.fromisoformat(f"{moment}+00:00"), step)
    assert found is not None
    assert (found.name, found.step) == (name, step)
    assert (found.since.isoformat()[:10], found.until.isoformat()[:10]) == (since, until)
    assert is_partition_name(found.name)
    assert is_ours(found.name)


@pytest.mark.parametrize("step", STEPS)
def test_last_moment_of_the_calendar_has_no_partition(store: UsageStore, step: PartitionStep) -> None:
    """What no partition can end after lies in the rest, and is read from there."""
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    store.add([make_call(call_id="last", started_at=last), make_call(call_id="now")])
    assert divide(store, by=step, ahead=0).in_rest == 1
    assert lies_in(store)["last"] == REST
    assert store.calls()[0].started_at == last
    assert store.check().is_clean


def test_again_adds_what_is_missing(partitioned: UsageStore) -> None:
    """Another run makes partitions ahead and for calls that went to the rest, and moves those; a third does nothing."""
    partitioned.add([make_call(call_id="ancient", started_at=LONG_AGO), make_call(call_id="newest")])
    assert lies_in(partitioned)["ancient"] == REST
    before = answers(partitioned)
    done = divide(partitioned, ahead=3)
    assert done.was_partitioned
    assert [(new.partition.name, new.calls) for new in done.made] == [
        ("llm_call_2024_06", 1),
        ("llm_call_2027_01", 0),
        ("llm_call_2027_02", 0),
    ]
    assert lies_in(partitioned)["ancient"] == "llm_call_2024_06"
    assert answers(partitioned) == before
    assert divide(partitioned, ahead=3).made == ()
    assert divide(partitioned, ahead=1).made == ()


def test_dry_run_changes_nothing(store: UsageStore) -> None:
    """A trial names what would be made, before and after the table is partitioned."""
    store.add([make_call(), make_call(started_at=LONG_AGO)])
    trial = divide(store, ahead=1, dry_run=True)
    assert names(store) == []
    assert divide(store, ahead=1) == trial
    there = names(store)
    assert [new.partition.name for new in divide(store, ahead=2, dry_run=True).made] == ["llm_call_2027_01"]
    assert names(store) == there


def test_undo_makes_a_plain_table(partitioned: UsageStore) -> None:
    """Taken back, the table has its old key, indexes and calls, and can be partitioned by another step."""
    partitioned.add([make_call(started_at=LONG_AGO)])
    before = answers(partitioned)
    assert unpartition_store(partitioned.target) == 3
    assert (names(partitioned), answers(partitioned)) == ([], before)
    assert inspect_store(partitioned.target).is_right
    assert unpartition_store(partitioned.target) == 3
    assert divide(partitioned, by="week", ahead=0).by == "week"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"by": "year"}, "allowed: month, week, day"),
        ({"by": "day"}, "is partitioned by month"),
        ({"ahead": -1}, "allowed: 0 to"),
        ({"ahead": MOST}, "choose a longer step"),
    ],
)
def test_wrong_wishes_are_refused(partitioned: UsageStore, options: dict[str, Any], error: str) -> None:
    """What cannot be done is said, and nothing is changed."""
    there = names(partitioned)
    with pytest.raises(StoreError, match=error):
        divide(partitioned, **options)
    assert names(partitioned) == there


@pytest.mark.parametrize("url", ["sqlite://", "tokens.db"])
def test_sqlite_is_refused(url: str) -> None:
    """SQLite has no partitions; no file is made."""
    for attempt in (partition_store, unpartition_store):
        with pytest.raises(StoreError, match="is SQLite, whose tables cannot be partitioned"):
            attempt(parse_target(url))
    assert not Path("tokens.db").exists()


def test_older_schema_is_refused(postgresql_database: Database) -> None:
    """Only the present schema is partitioned; an older one and none name the command."""
    target = parse_target(postgresql_database.url)
    with pytest.raises(SchemaError, match=f"has schema none, and {HEAD} is needed.*db upgrade"):
        partition_store(target)
    engine = make_engine(target)
    with writing(engine, target) as connection:
        upgrade(connection, "0001")
    engine.dispose()
    with pytest.raises(SchemaError, match="has schema 0001"):
        partition_store(target)


CATALOGUE = (
    """SELECT relname, relacl::text, reloptions::text, pg_get_viewdef(oid) FROM pg_class
        WHERE relname IN ('llm_call', 'llm_call_usd', 'session_token_summary')""",
    """SELECT attname, attacl::text, pg_get_expr(adbin, adrelid) FROM pg_attribute
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attrelid = 'llm_call'::regclass""",
    """SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE conrelid = 'llm_call'::regclass AND contype = 'c'""",
    """SELECT replace(pg_get_indexdef(indexrelid), ' ON ONLY ', ' ON ') FROM pg_index
        WHERE indrelid = 'llm_call'::regclass AND NOT indisprimary""",
)
"""What of the table and its views must be the same before and after."""
STRANGERS = {
    "the view readers": "CREATE VIEW readers AS SELECT call_id FROM llm_call",
    "the view dollars": "CREATE VIEW dollars AS SELECT call_id FROM llm_call_usd",
    "the rule quiet": "CREATE RULE quiet AS ON DELETE TO llm_call DO INSTEAD NOTHING",
    "the trigger watch": "CREATE TRIGGER watch BEFORE UPDATE ON llm_call FOR EACH ROW"
    " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "the policy own": "CREATE POLICY own ON llm_call USING (true)",
    "row security": "ALTER TABLE llm_call ENABLE ROW LEVEL SECURITY",
    "the foreign key notes_call_id_fkey of notes": "CREATE TABLE notes (call_id text REFERENCES llm_call)",
    "the unique index one_message": "CREATE UNIQUE INDEX one_message ON llm_call (message_id)",
    "the publication everything": "CREATE PUBLICATION everything FOR TABLE llm_call",
    "the generated column twice": "ALTER TABLE llm_call ADD twice bigint GENERATED ALWAYS AS (total_tokens * 2) STORED",
    "the table heir that inherits": "CREATE TABLE heir () INHERITS (llm_call)",
}


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
@pytest.mark.parametrize("name", STRANGERS)
def test_what_would_be_lost_is_refused(store: UsageStore, name: str) -> None:
    """Things of others that hang on the table are named, and nothing is changed."""
    store.add([make_call()])
    run_sql(store, STRANGERS[name])
    with pytest.raises(SchemaError, match=f"has {name}, not ours"):
        divide(store)
    assert (names(store), len(store.calls())) == ([], 1)


def test_grants_indexes_columns_and_options_of_others_stay(store: UsageStore, postgresql_server: Any) -> None:
    """A role goes on reading, writing and owning what it could, and additions of others are still there."""
    store.add([make_call(session="s")])
    role = "keeper_of_calls"
    with psycopg.connect(postgresql_server.get_uri(), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role}")
    run_sql(
        store,
        "ALTER TABLE llm_call ADD note text DEFAULT 'none'",
        "ALTER TABLE llm_call ADD CONSTRAINT known CHECK (attempt < 1000)",
        "CREATE INDEX by_note ON llm_call (lower(note)) WHERE note <> 'none'",
        f"GRANT SELECT, INSERT ON llm_call TO {role} WITH GRANT OPTION",
        f"GRANT UPDATE (note) ON llm_call TO {role}",
        "GRANT SELECT ON session_token_summary TO PUBLIC",
        "ALTER VIEW llm_call_usd SET (security_barrier = true)",
    )
    read = [sorted(map(str, read_sql(store, statement))) for statement in CATALOGUE]
    divide(store)
    assert [sorted(map(str, read_sql(store, statement))) for statement in CATALOGUE] == read
    unpartition_store(store.target)
    assert [sorted(map(str, read_sql(store, statement))) for statement in CATALOGUE] == read
    run_sql(store, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def read_sql(store: UsageStore, statement: str) -> list[Any]:
    """The rows of a statement."""
    with reading(store._engine(), store.target) as connection:
        return list(connection.execute(text(statement)).all())


def test_what_a_superuser_makes_belongs_to_the_owner(store: UsageStore, postgresql_server: Any) -> None:
    """Whoever runs the command, table and partitions have the owner that the table had."""
    store.add([make_call()])
    with psycopg.connect(postgresql_server.get_uri(), autocommit=True) as connection:
        connection.execute("CREATE ROLE owner_of_calls")
    run_sql(
        store, "ALTER TABLE llm_call OWNER TO owner_of_calls", "GRANT CREATE, USAGE ON SCHEMA public TO owner_of_calls"
    )
    run_sql(store, "ALTER VIEW llm_call_usd OWNER TO owner_of_calls")
    run_sql(store, "ALTER VIEW session_token_summary OWNER TO owner_of_calls")
    run_sql(store, "GRANT SELECT ON langchain_tokens_version, usage_by_name TO owner_of_calls")
    divide(store, ahead=1)
    divide(store, ahead=2)
    owners = read_sql(
        store, "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relname ~ '^llm_call(?!_content)'"
    )
    assert [row[0] for row in owners] == ["owner_of_calls"]
    assert store.check().is_clean
    run_sql(store, "DROP OWNED BY owner_of_calls", "DROP ROLE owner_of_calls")


@pytest.mark.parametrize("seed", range(2))
def test_everything_goes_on_in_a_partitioned_store(store: UsageStore, seed: int) -> None:
    """New calls, replays, corrections to other times, new prices and deletions leave what a plain store would have."""
    chance = random.Random(seed)
    held = {call.call_id: call for call in (some_call(chance) for _ in range(60))}
    store.add(list(held.values()))
    divide(store, by=chance.choice(STEPS), ahead=1)
    for _ in range(5):
        new = [some_call(chance) for _ in range(chance.randrange(1, 60))]
        again = [replace(call, started_at=call.started_at - timedelta(days=9)) for call in chance.sample(new, 1)]
        again += chance.sample(list(held.values()), 5)
        corrections = [changed(call, chance) for call in chance.sample(list(held.values()), 8)]
        batch = [*new, *again, *corrections, changed(new[0], chance)]
        store.add(batch, [make_fact(f"run-{chance.randrange(12)}")])
        for call in batch:
            if call.call_id not in held or call.revision > held[call.call_id].revision:
                held[call.call_id] = call
        olds = chance.sample(list(held.values()), 3)
        assert store.change_costs([(old, repriced(old)) for old in olds]) == 3
        held |= {old.call_id: repriced(old) for old in olds}
        store.delete(session="session-2", since=NOON - timedelta(days=20))
        held = {
            key: call
            for key, call in held.items()
            if call.session != "session-2" or call.started_at < NOON - timedelta(days=20)
        }
    assert {call.call_id: call for call in store.calls(limit=10_000)} == held
    assert store.check().is_clean
    divide(store)
    assert store.check().is_clean


@pytest.mark.parametrize("count", [1, 30])
def test_call_with_another_time_is_stored_once(partitioned: UsageStore, count: int) -> None:
    """A replay is left alone whatever time it carries, also within one batch; a correction moves the call."""
    more = [make_call(call_id=f"more-{number}", run_id="r") for number in range(count)]
    partitioned.add(more)
    later = [replace(call, started_at=NOON + timedelta(days=90)) for call in more]
    partitioned.add(later)
    partitioned.add([*later, *more])
    assert partitioned.breakdown().total.calls == 2 + count
    assert lies_in(partitioned)["more-0"] == "llm_call_2026_11"
    partitioned.add([replace(call, revision=1) for call in later])
    partitioned.add(more)
    assert partitioned.breakdown().total.calls == 2 + count
    assert lies_in(partitioned)["more-0"] == REST
    twice = make_call(call_id="twice", run_id="r")
    partitioned.add([twice, replace(twice, started_at=LAST_MONTH), replace(twice, started_at=LONG_AGO, revision=1)])
    assert lies_in(partitioned)["twice"] == REST
    assert partitioned.check().is_clean


def test_open_stores_go_on(store: UsageStore, postgresql_database: Database, make_store: MakeStore) -> None:
    """A store that was open, with its statements prepared by the server, notices nothing."""
    other = make_store(postgresql_database)
    for number in range(8):
        for one in (store, other):
            one.add([make_call(cost="0.1"), make_call(call_id=f"again-{number}")])
            answers(one)
        if number == 5:
            divide(store)
    unpartition_store(store.target)
    other.add([make_call(call_id="again-0"), make_call(call_id="last", revision=1)])
    assert other.breakdown().total.calls == 8 + 16 + 1
    assert store.check().is_clean


def test_writers_wait_and_lose_nothing(store: UsageStore, postgresql_database: Database, make_store: MakeStore) -> None:
    """Calls that are stored while the table is partitioned, added to and taken back are all there, once."""
    stop, failed = threading.Event(), []
    written: list[int] = []

    def write(one: UsageStore, writer: int) -> None:
        number = 0
        while not stop.is_set():
            moment = NOON - timedelta(days=40 * (number % 9))
            try:
                one.add([make_call(call_id=f"{writer}-{number}-{item}", started_at=moment) for item in range(20)])
            except Exception as error:  # noqa: BLE001  # reported below
                failed.append(error)
                return
            number += 1
        written.append(number)

    store.add([make_call()])
    threads = [threading.Thread(target=write, args=(make_store(postgresql_database), writer)) for writer in range(2)]
    for thread in threads:
        thread.start()
    for ahead in range(3):
        divide(store, ahead=ahead)
    unpartition_store(store.target)
    divide(store, by="week")
    stop.set()
    for thread in threads:
        thread.join()
    assert (failed, len(written)) == ([], 2)
    assert store.breakdown().total.calls == 1 + 20 * sum(written)
    assert store.check().is_clean


def test_two_at_once_make_the_same(store: UsageStore) -> None:
    """When two processes partition a store, one does it and the other adds what is missing."""
    store.add([make_call()])
    found: list[Partitioning] = []
    threads = [threading.Thread(target=lambda: found.append(divide(store, ahead=2))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted((done.was_partitioned, len(done.made)) for done in found) == [(False, 3), (True, 0)]


def test_schema_of_a_partitioned_store_is_right(partitioned: UsageStore) -> None:
    """The check of the schema knows partitions, an upgrade finds nothing to do, and a lost index is still found."""
    found = inspect_store(partitioned.target)
    assert (found.differences, found.additions) == ((), ())
    assert upgrade_store(partitioned.target).before == HEAD
    run_sql(partitioned, "DROP INDEX ix_llm_call_run_id")
    assert inspect_store(partitioned.target).differences == ("the index ix_llm_call_run_id of llm_call is missing",)


@pytest.mark.parametrize("revision", ["0002", "base"])
def test_downgrade_makes_a_plain_table_first(partitioned: UsageStore, revision: str) -> None:
    """Older versions know no partitions: none are left for them, and the upgrade finds every call."""
    partitioned.close()
    done = downgrade_store(partitioned.target, revision)
    assert done.rows.get("llm_call", 0) == (2 if revision == "0002" else 0)
    with psycopg.connect(partitioned.target.url.replace("+psycopg", "")) as connection:
        left = connection.execute(
            "SELECT relname, relkind FROM pg_class WHERE relname ~ '^llm_call' AND relkind <> 'i'"
        )
        assert left.fetchall() == ([("llm_call", "r")] if revision == "0002" else [])
    upgrade_store(partitioned.target)
    assert len(partitioned.calls()) == (2 if revision == "0002" else 0)
    assert partitioned.check().is_clean


@pytest.fixture
def history(store: UsageStore) -> UsageStore:
    """A store partitioned by month, with runs that lie within months and across them, and a call that was repriced."""
    september, october = LAST_MONTH - timedelta(days=31), LAST_MONTH
    moments = {"gone": (october, september), "across": (october, NOON), "new": (NOON,)}
    calls = [
        make_call(call_id=f"{run}-{number}", run_id=run, chain="c", session="s", cost="0.1", started_at=moment)
        for run, those in moments.items()
        for number, moment in enumerate(those)
    ]
    store.add(calls, [make_fact(run, started_at=min(those)) for run, those in moments.items()])
    olds = [call for call in store.calls() if call.call_id in ("gone-0", "new-0")]
    store.change_costs([(old, repriced(old)) for old in olds])
    divide(store, ahead=0)
    return store


@pytest.mark.parametrize("keeps_sums", [True, False])
def test_whole_partitions_are_dropped(history: UsageStore, keeps_sums: bool) -> None:
    """With the partitions before a moment go their calls, runs and earlier prices; sums stay unless taken out."""
    before = history.breakdown("month")
    edge = datetime(2026, 11, 1, tzinfo=UTC)
    with writing(history._engine(), history.target) as connection:
        dropped = drop_partitions_before(connection, edge + timedelta(days=5))
        if keeps_sums:
            keep_rows_since(connection, f"{edge:%Y-%m-%dT%H:00Z}")
    assert [(one.partition.name, one.calls, one.runs) for one in dropped] == [
        ("llm_call_2026_09", 1, 0),
        ("llm_call_2026_10", 2, 1),
    ]
    assert [call.call_id for call in history.calls(order="started_at")] == ["across-1", "new-0"]
    assert {run.run_id: len(run.calls) for run in history.runs()} == {"across": 1, "new": 1}
    assert (len(history.revisions("gone-0")), len(history.revisions("new-0"))) == (0, 1)
    assert history.wrong_totals() == []
    if keeps_sums:
        assert history.breakdown("month") == before
    else:
        history.rebuild_rollups()
        assert history.breakdown("month").total.cost_usd == Decimal("0.6")
    assert history.check().is_clean


@pytest.mark.parametrize("keeps_sums", [True, False])
def test_prune_drops_partitions(history: UsageStore, keeps_sums: bool) -> None:
    """Old calls go with their partitions, empty ones too, and the rest row by row; as in a plain store."""
    history.add([make_call(call_id="ancient", run_id="gone", started_at=LONG_AGO), make_call(call_id="last")])
    before = history.breakdown().total
    trial = history.prune(datetime(2026, 11, 19, tzinfo=UTC), keep_rollups=keeps_sums, dry_run=True)
    done = history.prune(datetime(2026, 11, 19, tzinfo=UTC), keep_rollups=keeps_sums)
    assert (done.calls, done.runs) == (trial.calls, trial.runs) == (4, 1)
    assert names(history) == ["llm_call_2026_11"]
    assert sorted(call.call_id for call in history.calls()) == ["across-1", "last", "new-0"]
    assert (history.breakdown().total == before) is keeps_sums
    assert (len(history.revisions("gone-0")), len(history.revisions("new-0"))) == (0, 1)
    assert history.check().is_clean


def test_partitions_before_a_moment_lie_wholly_before_it(history: UsageStore) -> None:
    """A partition that ends with the moment counts, one that holds it does not; the rest never does."""
    edge = datetime(2026, 11, 1, tzinfo=UTC)
    with reading(history._engine(), history.target) as connection:
        found = [partitions_before(connection, edge + timedelta(seconds=seconds)) for seconds in (-1, 0, 1)]
    assert [len(each) for each in found] == [1, 2, 2]
    with writing(history._engine(), history.target) as connection:
        assert drop_partitions_before(connection, LONG_AGO) == []


def test_tables_in_another_schema(postgresql_database: Database, make_store: MakeStore) -> None:
    """Partitions are made in the schema in which the table is, also where the search path names others first."""
    with psycopg.connect(postgresql_database.url, autocommit=True) as connection:
        connection.execute('CREATE SCHEMA "To kens"')
    quoted = "?options=-csearch_path%3D%22To%5C%20kens%22"
    url = postgresql_database.url.replace("?", f"{quoted}&")
    store = make_store(replace(postgresql_database, url=url))
    store.add([make_call()])
    assert divide(store, ahead=0).calls == 1
    with psycopg.connect(postgresql_database.url) as connection:
        found = connection.execute("SELECT DISTINCT schemaname FROM pg_tables WHERE tablename ~ '^llm_call'").fetchall()
    assert found == [("To kens",)]
    assert store.check().is_clean


@pytest.fixture
def said(store: UsageStore, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command on a store; gives its exit code and what it said on stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["db", "partition", "--db", store.target.url, *arguments])
        return int(ended.value.code or 0), *capsys.readouterr()

    store.add([make_call(started_at=datetime.now(UTC))])
    return run


def test_command(said: Callable[..., tuple[int, str, str]], store: UsageStore) -> None:
    """The command tries, makes, adds and takes back, and says so."""
    code, shown, hinted = said("--ahead", "1", "--dry-run")
    assert (code, len(shown.splitlines())) == (0, 2)
    assert "would make 2 partitions by month; nothing was changed" in hinted
    assert "verified: 1 calls in them, 0 in the rest" in said("--ahead", "1")[2]
    assert said("--ahead", "1")[1:] == ("", "partitioned by month already, nothing is missing\n")
    assert '"was_partitioned": true' in said("--ahead", "2", "--json")[1]
    assert said("--by", "day")[0] == 1
    assert said("--undo", "--dry-run")[0] == 2
    assert said("--undo")[1] == "one plain table, 1 calls\n"
    assert said("--undo", "--json")[1].count('"calls": 1') == 1
    with reading(store._engine(), store.target) as connection:
        assert not is_partitioned(connection)
