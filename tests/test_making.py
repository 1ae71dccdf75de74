"""Records made fast: equal to what their classes make, stored as SQLAlchemy stores them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, select, text
from sqlalchemy.dialects import sqlite

from langchain_tokens.call import Call, RunFact
from langchain_tokens.making import changer, maker
from langchain_tokens.store.inserts import insert_calls
from langchain_tokens.store.rows import call_values
from langchain_tokens.store.runrows import _completing, run_statements
from langchain_tokens.store.sending import send_all
from langchain_tokens.store.tables import CALLS, METADATA, RUNS
from langchain_tokens.usage import TokenUsage
from tests.builders import make_call, make_fact

HALF_A_PAIR = "\ud800"
AT = datetime(2026, 11, 20, 23, 59, 59, 5, tzinfo=timezone(timedelta(hours=2)))
CALLS_OF_ALL_KINDS = (
    make_call(),
    make_call(tokens=None, started_at=AT, ended_at=AT, duration_ms=0.1, streamed=True, superseded=True),
    make_call(
        usage=TokenUsage(input_tokens=2**63 - 1, other_units={"a": 1, "b": 0.5}, service_tier="flex"),
        saved_usage=TokenUsage(output_tokens=0, other_units={"é": 2}),
        raw_usage={"nested": {"list": [1, None, "ü\n"]}},
        tags={"a.b": "ü", 'q"': "\\"},
        usage_flags=("x", "y"),
        tool_calls=("search",),
        cost="0.0000000000015",
        unit_prices={"input_mtok": "2.5"},
        price_flags=("multiplier",),
        price_context={"service_tier": "flex"},
        estimate_basis={"sent_characters": 0},
        computed_cost_usd=Decimal("1.5"),
        revision=3,
    ),
    make_call(saved_usage=TokenUsage(input_tokens=1, service_tier=HALF_A_PAIR), raw_usage={"big": 2**70}),
)
FACTS = (
    make_fact("r1"),
    make_fact("r2", started_at=AT, ended_at=AT, status="error", tags={"team": "ü"}, is_given=True),
)


def rows(connection: Connection, table: Any) -> list[dict[str, Any]]:
    """What a table's rows hold, as the database holds it, but JSON as what it says."""
    names = [column.name for column in table.columns if type(column.type).__name__ == "JSON"]
    found = connection.execute(text(f"SELECT * FROM {table.name} ORDER BY 1")).mappings().all()
    return [
        {name: json.loads(value) if name in names and value is not None else value for name, value in row.items()}
        for row in found
    ]


def test_made_record_is_what_its_class_makes() -> None:
    """A record from a maker equals one from its class, defaults and all, and is as frozen."""
    made = maker(TokenUsage)(input_tokens=3, other_units={"a": 1})

    assert made == TokenUsage(input_tokens=3, other_units={"a": 1})
    assert (type(made), hash(made)) == (TokenUsage, hash(TokenUsage(input_tokens=3)))
    assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301  # our own bytes
    with pytest.raises(FrozenInstanceError):
        made.input_tokens = 4  # type: ignore[misc]


def test_made_records_share_no_default() -> None:
    """Each record has a mapping of its own where its class gives each one."""
    make = maker(RunFact)

    assert make(run_id="a", started_at=AT).tags is not make(run_id="b", started_at=AT).tags


@pytest.mark.parametrize("values", [{"run_id": "a"}, {"run_id": "a", "started_at": AT, "nothing": 1}])
def test_maker_refuses_what_the_class_refuses(values: dict[str, Any]) -> None:
    """A missing field, and one that there is not, are errors."""
    with pytest.raises(TypeError):
        maker(RunFact)(**values)


def test_changed_record_is_what_replace_makes() -> None:
    """A changed record equals one from `replace`, and the one it was made from stays as it was."""
    before = make_call(tags={"a": "b"})
    copy = replace(before)
    changed = changer(Call)(before, cost_usd=Decimal(1), price_status="priced")

    assert changed == replace(before, cost_usd=Decimal(1), price_status="priced")
    assert before == copy


def test_tuples_are_stored_as_sqlalchemy_stores_rows() -> None:
    """What goes to SQLite's driver directly is, column by column, what SQLAlchemy would have written."""
    stored = []
    for write in (_write_by_sqlalchemy, _write):
        with create_engine("sqlite://").begin() as connection:
            METADATA.create_all(connection)
            write(connection, CALLS_OF_ALL_KINDS, FACTS)
            write(connection, [replace(call, call_id=f"{call.call_id}-2") for call in CALLS_OF_ALL_KINDS], FACTS)
            stored.append((rows(connection, CALLS), rows(connection, RUNS)))
            starts = connection.execute(select(CALLS.c.started_at)).scalars().all()
            assert {start.tzinfo for start in starts} == {UTC}

    assert stored[0] == stored[1]


def _write(connection: Connection, calls: Sequence[Call], runs: Sequence[RunFact]) -> None:
    insert_calls(connection, calls)
    send_all(connection, run_statements(runs, (), {}, "sqlite"))


def _write_by_sqlalchemy(connection: Connection, calls: Sequence[Call], runs: Sequence[RunFact]) -> None:
    connection.execute(CALLS.insert(), [call_values(call) for call in calls])
    connection.execute(_completing(sqlite.insert(RUNS), "sqlite"), [_run_values(fact) for fact in runs])


def _run_values(fact: RunFact) -> dict[str, Any]:
    values = {column.name: getattr(fact, column.name, None) for column in RUNS.columns}
    counts = dict.fromkeys(("calls", "failed_calls", "calls_without_usage", "unpriced_calls"), 0)
    told = {"session_id": fact.session, "user_id": fact.user, "tags": dict(fact.tags) or None}
    return {**values, **counts, **told, "known_by": "record" if fact.is_given else None}
