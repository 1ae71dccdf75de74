"""Statements whose answers nobody waits for: what one of them did wrong is told, and nothing of them stays."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import pytest

from langchain_tokens import UsageStore
from langchain_tokens.store.engine import RowError, writing
from langchain_tokens.store.pipelining import pipelined

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)
MARK = "INSERT INTO usage_state (name, value) VALUES ('%s', repeat('x', 9))"
WRONG = "INSERT INTO usage_state (name, value) VALUES ('wrong', (9223372036854775807 + 1)::text)"
"""No database has such a number: a fault of a value."""


def _send(store: UsageStore, statements: Iterable[str]) -> None:
    with writing(store._engine(), store.target) as connection, pipelined(connection):
        for statement in statements:
            connection.exec_driver_sql(statement)


@pytest.mark.parametrize("place", [0, 3, 5], ids=["first", "between", "last"])
def test_first_fault_is_the_one_that_is_told(
    postgresql_database: Database,
    make_store: Callable[[Database], UsageStore],
    caplog: pytest.LogCaptureFixture,
    place: int,
) -> None:
    """A value that the server refuses is a `RowError`, not what became of the statements after it; the connection goes
    on, and no log has anything of it.
    """
    store = make_store(postgresql_database)
    statements = [MARK % number for number in range(5)]
    statements.insert(place, WRONG)
    with pytest.raises(RowError, match="out of range"):
        _send(store, statements)

    with writing(store._engine(), store.target) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM usage_state WHERE value = 'xxxxxxxxx'").scalar() == 0
        with pipelined(connection):
            connection.exec_driver_sql(MARK % "good")
        assert connection.exec_driver_sql("SELECT count(*) FROM usage_state WHERE name = 'good'").scalar() == 1
    assert caplog.messages == []


def test_own_fault_within_ends_the_pipeline(
    postgresql_database: Database, make_store: Callable[[Database], UsageStore]
) -> None:
    """What raises between the statements is raised, and nothing that was sent before it stays."""
    store = make_store(postgresql_database)
    with pytest.raises(ZeroDivisionError):
        _send(store, (MARK % name if name else 1 / 0 for name in ("before", "")))  # type: ignore[misc]  # it raises
    with writing(store._engine(), store.target) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM usage_state WHERE name = 'before'").scalar() == 0
