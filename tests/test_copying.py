"""Rows get into PostgreSQL as they are, by a stage or by JSON in the statement, also where a server or a pooler is odd."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from functools import reduce
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import Column, Connection, MetaData, Table, Text, event, func, select
from sqlalchemy.dialects import postgresql

from langchain_tokens.call import Call
from langchain_tokens.errors import StoreError
from langchain_tokens.store.copying import SENT, call_rows, json_rows, may_stage, sent, stage
from langchain_tokens.store.engine import RowError, writing
from langchain_tokens.store.rows import call_from_row, call_values
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.tables import CALLS
from langchain_tokens.store.target import parse_target
from tests.builders import NOON, make_call, make_usage

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)

Way = Callable[[Connection, Sequence[Call]], None]
ODD_TEXTS = (
    "",
    " ",
    "\\N",
    "\\.",
    "N",
    "NULL",
    "\\",
    "\\\\t",
    "a\tb",
    "a\nb",
    "a\r\nb",
    "\x01\x08\x0b\x0c\x1d\x1e\x1f\x7f",
    "\"quoted\", and 'so'",
    "{not json",
    '{"json": "\\u0041"}',
    "caf\u00e9 \u732b \U0001f600",
    "%s %(x)s :x $1 ?",
    "\ufeff\u2028\uffff",
    "x" * 300_000,
)
ODD_CALLS = (
    make_call(),
    make_call(tokens=None),
    make_call(usage=make_usage(2**62, 2**62 - 1, total_tokens=2**63 - 1)),
    make_call(usage=make_usage(0, 0, other_units={"pages": 2, "seconds": 1.5, "deep": {"list": [1, None, "\0"]}})),
    make_call(cost="9223372.036854775807", input_cost_usd=Decimal("-0.000000000001")),
    make_call(duration_ms=0.1, time_to_first_token_ms=1e308, usage=make_usage(1, 7)),
    make_call(duration_ms=1e-300, streamed=True, superseded=True, revision=2**31 - 1, step=-(2**31), attempt=12),
    make_call(started_at=NOON.astimezone(timezone(timedelta(hours=5, minutes=45))), ended_at=None),
    make_call(started_at=datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC), ended_at=datetime.max.replace(tzinfo=UTC)),
    make_call(started_at=datetime(1900, 1, 1, tzinfo=timezone(timedelta(minutes=53, seconds=28)))),
    make_call(tags={"a\tb": 'c"\n', "\0": "\0", "\u732b": "\\"}, usage_flags=("one", "t\two"), tool_calls=("f",)),
    make_call(
        raw_usage={"large": 2**70, "no": None, "half": "\ud800"}, price_context={}, unit_prices={"input": "1e-7"}
    ),
    make_call(raw_usage=MappingProxyType({"n": {"of": [1, 2]}}), saved_usage=make_usage(5, 6)),
    *(make_call(message_id=text, error_message=text, tags={"t": text}) for text in ODD_TEXTS),
)
REFUSED = {
    "NUL": make_call(session="a\0b"),
    "half a surrogate pair": make_call(chain="\ud800"),
    "beyond 64 bits": make_call(usage=make_usage(2**63, 0)),
    "far beyond 64 bits": make_call(usage=make_usage(2**70, 0)),
    "beyond 32 bits": make_call(step=2**31),
    "text for a number": make_call(step="third"),
    "no moment": make_call(started_at="yesterday"),
    "no usage": make_call(usage="much"),
    "no money": make_call(cost_usd="dear"),
    "no id": make_call(call_id=None),
    "too long for an index": make_call(session="".join(sha256(bytes([n])).hexdigest() for n in range(200))),
    "too deep": make_call(raw_usage={"n": reduce(lambda inner, _: [inner], range(20_000), 0)}),
}


def staged(connection: Connection, calls: Sequence[Call]) -> None:
    """Insert by a stage."""
    names, rows = call_rows(calls)
    connection.execute(_insert_from(stage(connection, CALLS, rows, names)))


def inline(connection: Connection, calls: Sequence[Call]) -> None:
    """Insert by JSON in the statement."""
    names, rows = call_rows(calls)
    connection.execute(_insert_from(sent(CALLS, names)), {SENT: json_rows(names, rows)})


WAYS = pytest.mark.parametrize("way", [staged, inline])


def _insert_from(source: Any) -> Any:
    names, _ = call_rows([])
    chosen = select(*(source.c[name] for name in names))
    return postgresql.insert(CALLS).from_select(names, chosen).on_conflict_do_nothing()


@pytest.fixture
def store(postgresql_database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[UsageStore]:
    """An empty store on PostgreSQL."""
    monkeypatch.setenv("PGTZ", "UTC")  # elsewhere the calendar's first or last moment has a year beyond it
    with _store(postgresql_database.url) as made:
        yield made


@contextmanager
def _store(url: str) -> Iterator[UsageStore]:
    store = UsageStore(parse_target(url))
    with closing(store):
        store.add([])
        yield store


def _write(store: UsageStore) -> Any:
    return writing(store._engine(), store.target)


def _stored(store: UsageStore) -> list[Call]:
    with store._reading() as connection:
        return [call_from_row(row) for row in connection.execute(select(CALLS).order_by(CALLS.c.call_id))]


def _execute(url: str, sql: str) -> Any:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql)  # type: ignore[call-overload]  # a statement of the test's own
        return cursor.fetchone() if cursor.description is not None else None


@WAYS
def test_rows_are_what_an_insert_makes_of_them(store: UsageStore, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """Odd text, numbers at their bounds, moments of any zone and nested JSON arrive as SQLAlchemy would bring them."""
    with _write(store) as connection:
        connection.execute(postgresql.insert(CALLS), [call_values(call) for call in ODD_CALLS])
    bound = _stored(store)
    with _write(store) as connection:
        connection.execute(CALLS.delete())
        way(connection, ODD_CALLS)
    assert len(bound) == len(ODD_CALLS)
    assert _stored(store) == bound


@WAYS
@pytest.mark.parametrize("why", REFUSED)
def test_refused_value_is_a_row_error(store: UsageStore, way: Way, why: str, caplog: pytest.LogCaptureFixture) -> None:
    """A value that PostgreSQL or its column cannot hold is one of our errors, and leaves the connection usable."""
    caplog.set_level(logging.INFO)
    before, after = make_call(), make_call()
    with _write(store) as connection:
        way(connection, [before])
    with pytest.raises(RowError), _write(store) as connection:
        way(connection, [make_call(), REFUSED[why], make_call()])
    with _write(store) as connection:
        way(connection, [after])
    assert {call.call_id for call in _stored(store)} == {before.call_id, after.call_id}
    assert caplog.text == ""


@WAYS
@pytest.mark.parametrize("count", [0, 1, 2_500])
def test_any_number_of_rows_gets_in(store: UsageStore, way: Way, count: int) -> None:
    """None, one, and more than one piece of what is sent at a time."""
    calls = [make_call() for _ in range(count)]
    for _ in range(2):
        with _write(store) as connection:
            way(connection, calls)
    assert {call.call_id for call in _stored(store)} == {call.call_id for call in calls}


def test_stage_holds_the_last_rows_only(store: UsageStore) -> None:
    """Rows that were staged before, in this transaction or in another, are gone; so is a stage that was rolled back."""
    names, _ = call_rows([])

    def staged_ids(connection: Connection, calls: Sequence[Call]) -> set[str]:
        table = stage(connection, CALLS, call_rows(calls)[1], names)
        return set(connection.execute(select(table.c.call_id)).scalars())

    calls = [make_call() for _ in range(3)]
    with _write(store) as connection:
        assert staged_ids(connection, calls) == {call.call_id for call in calls}
        connection.rollback()
    for _ in range(2):
        with _write(store) as connection:
            for call in calls:
                assert staged_ids(connection, [call]) == {call.call_id}
            with connection.begin_nested() as savepoint:
                assert staged_ids(connection, calls) == {call.call_id for call in calls}
                savepoint.rollback()
            assert staged_ids(connection, calls[:1]) == {calls[0].call_id}


def test_stage_is_made_in_whichever_session(store: UsageStore) -> None:
    """A pooler may give each transaction to another session of the server, and one may drop what we had made."""
    sessions = set()
    for _ in range(3):
        with _write(store) as connection:
            staged(connection, [make_call()])
            sessions.add(connection.execute(select(func.pg_backend_pid())).scalar())
        store._engine().dispose()
    with _write(store) as connection:
        staged(connection, [make_call()])
        connection.exec_driver_sql("DISCARD TEMP")
        staged(connection, [make_call()])
    assert len(sessions) == 3
    assert len(_stored(store)) == 5


def test_stage_takes_some_of_the_columns(store: UsageStore) -> None:
    """Columns that are not copied are NULL in the stage, also those that the table itself would not take so."""
    with _write(store) as connection:
        table = stage(connection, CALLS, [("b", "x"), (None, None)], ["run_id", "call_id"])
        rows = connection.execute(select(table.c.call_id, table.c.run_id, table.c.status)).all()
    assert rows == [("x", "b", None), (None, None, None)]


def test_stage_of_other_columns_is_another(store: UsageStore) -> None:
    """A session that has the stage of an earlier version, without the newest column, gets one of ours beside it."""
    metadata = MetaData()
    earlier = Table("made", metadata, Column("a", Text))
    later = Table("made", MetaData(), Column("a", Text), Column("b", Text), Column("Odd, name", Text))
    with _write(store) as connection:
        later.create(connection)
    for _ in range(2):
        with _write(store) as connection:
            assert connection.execute(select(stage(connection, earlier, [("1",)], ["a"]))).all() == [("1",)]
            columns = ["Odd, name", "b", "a"]
            assert connection.execute(select(stage(connection, later, [("3", "2", "1")], columns))).all() == [
                ("1", "2", "3")
            ]


def test_tables_may_live_in_another_schema(postgresql_database: Database) -> None:
    """Where the search path names another schema first, rows get into the table there; a namesake of the stage's in it
    is left alone.
    """
    url = postgresql_database.url
    _execute(url, "CREATE SCHEMA usage")
    with _store(f"{url}&options=-csearch_path%3Dusage,public") as store:
        with _write(store) as connection:
            names, _ = call_rows([])
            name = stage(connection, CALLS, [], names).name
        _execute(url, f"CREATE TABLE usage.{name} (id integer)")
        with _write(store) as connection:
            staged(connection, [make_call()])
            inline(connection, [make_call()])
        assert len(_stored(store)) == 2
    assert _execute(url, "SELECT count(*) FROM usage.llm_call") == (2,)
    assert _execute(url, f"SELECT count(*) FROM usage.{name}") == (0,)


def test_nothing_is_said_in_the_log(store: UsageStore, caplog: pytest.LogCaptureFixture) -> None:
    """Neither making a stage nor finding one says anything to the host's log."""
    caplog.set_level(logging.DEBUG, "psycopg")
    caplog.set_level(logging.DEBUG, "sqlalchemy.dialects.postgresql")
    for _ in range(3):
        with _write(store) as connection:
            assert may_stage(connection)
            staged(connection, [make_call()])
            staged(connection, [make_call()])
    assert caplog.text == ""


@pytest.fixture
def unprivileged(postgresql_database: Database) -> Iterator[str]:
    """The URL of a database for a role that may make no temporary tables there."""
    url = postgresql_database.url
    (name,) = _execute(url, "SELECT current_database()")
    _execute(url, f"CREATE ROLE app_{name} LOGIN")
    _execute(url, f"REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC")
    _execute(url, f"GRANT CREATE, USAGE ON SCHEMA public TO app_{name}")
    yield url.replace("postgres:@", f"app_{name}:@")
    _execute(url, f"DROP OWNED BY app_{name}")
    _execute(url, f"DROP ROLE app_{name}")


def test_server_may_refuse_temporary_tables(unprivileged: str) -> None:
    """Where the role may make none, that is said before anything fails, the transaction goes on, and JSON gets in."""
    with _store(unprivileged) as store:
        with _write(store) as connection:
            inline(connection, [make_call()])
            assert may_stage(connection) is False
            inline(connection, [make_call()])
        assert len(_stored(store)) == 2


def test_whether_rows_may_be_staged_is_found_out_once(store: UsageStore) -> None:
    """The trial is made once for each connection, and leaves nothing; it is not made again for a later transaction."""
    with _write(store) as connection:
        assert may_stage(connection)
        assert connection.exec_driver_sql("SELECT count(*) FROM pg_class WHERE relpersistence = 't'").scalar() == 0
        session = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
    said: list[str] = []
    event.listen(store._engine(), "before_cursor_execute", lambda *arguments: said.append(arguments[2]))
    with _write(store) as connection:
        assert may_stage(connection)
        assert said[1:] == []  # the first sets the limits of time
        assert connection.exec_driver_sql("SELECT pg_backend_pid()").scalar() == session


def test_privilege_may_be_taken_away_later(unprivileged: str, postgresql_database: Database) -> None:
    """A connection that could make a stage and now cannot fails once, and finds out anew for the next try."""
    (name,) = _execute(postgresql_database.url, "SELECT current_database()")
    _execute(postgresql_database.url, f"GRANT TEMPORARY ON DATABASE {name} TO app_{name}")
    with _store(unprivileged) as store:
        with _write(store) as connection:
            assert may_stage(connection)
        _execute(postgresql_database.url, f"REVOKE TEMPORARY ON DATABASE {name} FROM app_{name}")
        with pytest.raises(StoreError, match="permission denied") as caught, _write(store) as connection:
            staged(connection, [make_call()])
        assert not isinstance(caught.value, RowError)
        with _write(store) as connection:
            assert may_stage(connection) is False
