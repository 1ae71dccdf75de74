"""Rows that come with a statement by column arrive as they are, whatever is in them, and what cannot is refused."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import JSON, BigInteger, Column, Connection, Float, Integer, MetaData, Table, Text, select

from langchain_tokens.call import RunFact
from langchain_tokens.errors import StoreError
from langchain_tokens.store.arrays import arrayed, by_column
from langchain_tokens.store.engine import RowError, writing
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.tables import RUNS, UtcDateTime
from langchain_tokens.store.target import parse_target
from tests.builders import NOON, make_call
from tests.test_copying import ODD_TEXTS

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)

TEXTS = (*ODD_TEXTS, "null", "{", "}", "{}", "[", "]", ",", "a,b", '"', '\\"', '"\\', "\n", "\\n", "\t", "%", "}'; --")
MADE = Table(
    "made",
    MetaData(),
    Column("odd, name", Text),
    Column("large", BigInteger),
    Column("small", Integer),
    Column("fraction", Float),
    Column("kept", JSON),
    Column("moment", UtcDateTime),
)
RUN = RunFact(run_id="run", started_at=NOON)
REFUSED = {
    "NUL": replace(RUN, name="a\0b"),
    "half a surrogate pair": replace(RUN, name="\ud800"),
    "half a surrogate pair in an error": replace(RUN, error_message='"\udfff'),
    "no moment": replace(RUN, started_at="yesterday"),  # type: ignore[arg-type]  # what is given may be anything
    "no id": replace(RUN, run_id=None),  # type: ignore[arg-type]
    "no status": replace(RUN, status=None),  # type: ignore[arg-type]
    "nothing that is text": replace(RUN, name=object()),  # type: ignore[arg-type]
}


@pytest.fixture
def store(postgresql_database: Database) -> Iterator[UsageStore]:
    """An empty store on PostgreSQL."""
    store = UsageStore(parse_target(postgresql_database.url))
    with closing(store):
        store.add([])
        yield store


def _returned(connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[Any]:
    statement = by_column(select(*arrayed(table, columns)), table, columns)
    parameters = statement.parameters(zip(*rows, strict=True))
    return [tuple(row) for row in connection.exec_driver_sql(statement.sql, parameters)]


def test_values_of_each_type_come_back(store: UsageStore) -> None:
    """Text with whatever in it, numbers at their bounds, JSON and moments are what they were, and so is what is unknown."""
    columns = [column.name for column in MADE.columns]
    moment = datetime(2026, 11, 23, 10, 0, 0, 7, tzinfo=UTC)
    sent: list[tuple[Any, ...]] = [
        (text, 2**63 - 1, -(2**31), 0.1, '{"a": ["\\"", "\\\\"]}', "2026-11-23 10:00:00.000007+00") for text in TEXTS
    ]
    sent += [(None, None, None, None, None, None), ("NULL", -(2**63), 2**31 - 1, 1e308, "null", None)]
    with writing(store._engine(), store.target) as connection:
        found = _returned(connection, MADE, columns, sent)
    assert [row[:4] for row in found] == [row[:4] for row in sent]
    assert [row[4:] for row in found[: len(TEXTS)]] == [({"a": ['"', "\\"]}, moment)] * len(TEXTS)
    assert [row[4:] for row in found[len(TEXTS) :]] == [(None, None), (None, None)]


@pytest.mark.parametrize("count", [1, 2, 3_000])
def test_rows_keep_their_order(store: UsageStore, count: int) -> None:
    """One row and thousands come in the order in which they were given, which is that of locks."""
    sent = [(f"name {count - number}", number) for number in range(count)]
    with writing(store._engine(), store.target) as connection:
        assert _returned(connection, MADE, ["odd, name", "small"], sent) == sent


def test_odd_names_are_summed_as_they_are(store: UsageStore) -> None:
    """Sums and runs have the names that calls have, whatever is in them."""
    texts = [text for text in TEXTS if len(text) < 1_000]
    calls = [
        make_call(run_id=f"run {number}", chain=text, session=text, user=text) for number, text in enumerate(texts)
    ]
    runs = [
        RunFact(run_id=f"run {number}", started_at=NOON, name=text, error_message=text, tags={text: text})
        for number, text in enumerate(texts)
    ]
    for _ in range(2):  # the second time they are completed
        store.add(calls, runs)
    assert {row["chain"] for row in store.breakdown("chain").to_records() if row["chain"]} == {
        text for text in texts if text
    }
    with store._reading() as connection:
        kept = connection.execute(select(RUNS.c.name, RUNS.c.error_message, RUNS.c.tags).order_by(RUNS.c.run_id)).all()
    assert sorted(kept) == sorted((text, text, {text: text}) for text in texts)
    assert store.check().is_clean
    assert list(store.wrong_rollups()) == []


@pytest.mark.parametrize("why", REFUSED)
def test_refused_value_is_a_row_error(store: UsageStore, why: str, caplog: pytest.LogCaptureFixture) -> None:
    """A run that PostgreSQL cannot hold is one of our errors; nothing of its batch stays, and the next one is stored."""
    caplog.set_level(logging.INFO)
    with pytest.raises(RowError):
        store.add([make_call(run_id="other")], [replace(RUN, run_id="other"), REFUSED[why]])
    store.add([], [replace(RUN, run_id="after")])
    with store._reading() as connection:
        assert connection.execute(select(RUNS.c.run_id)).scalars().all() == ["after"]
    assert caplog.text == ""


def test_sum_beyond_its_column_is_an_error(store: UsageStore) -> None:
    """Money that adds up to more than the column holds is refused, not stored as less."""
    calls = [make_call(cost="9223372") for _ in range(2)]
    with pytest.raises(StoreError):
        store.add(calls)
    assert store.breakdown().total.calls == 0


def test_call_without_a_moment_is_a_row_error(store: UsageStore) -> None:
    """A call whose start is no moment is refused like any other value, also as the only one of its batch."""
    with pytest.raises(RowError):
        store.add([make_call(started_at="yesterday")])


def test_a_name_of_a_class_of_its_own_is_its_text(store: UsageStore) -> None:
    """A member of an enumeration of texts, or another kind of text, is stored as what it says."""
    store.add([make_call(run_id=_Name("r"), mode=_Mode.BATCH)], [replace(RUN, run_id=_Name("r"), mode=_Mode.BATCH)])
    (run,) = store.runs()
    assert (run.run_id, run.mode) == ("r", "batch")
    assert store.check().is_clean


class _Name(str):
    __slots__ = ()


class _Mode(StrEnum):
    BATCH = "batch"
