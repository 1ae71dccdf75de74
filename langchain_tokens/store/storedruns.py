"""What has a store of one run? Its calls, read when somebody asks, and whether a prune took some of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select

from langchain_tokens.call import Call, RunFact
from langchain_tokens.store.reach import whole_runs
from langchain_tokens.store.rows import call_from_row
from langchain_tokens.store.state import rows_since
from langchain_tokens.store.tables import CALLS

if TYPE_CHECKING:
    from langchain_tokens.store.store import UsageStore

__all__ = ("StoredRun", "calls_of", "shortened_runs")


class StoredRun:
    """A run as the database holds it."""

    def __init__(self, store: UsageStore, fact: RunFact) -> None:
        self._store = store
        self.fact = fact
        self._read: tuple[Sequence[Call], bool] | None = None

    @property
    def calls(self) -> Sequence[Call]:
        """Those that have a row."""
        return self._found[0]

    @property
    def is_shortened(self) -> bool:
        """Whether these may not be all."""
        return self._found[1]

    @property
    def _found(self) -> tuple[Sequence[Call], bool]:
        if self._read is None:
            self._read = calls_of(self._store, self.fact.run_id)
        return self._read


def calls_of(store: UsageStore, run_id: str) -> tuple[Sequence[Call], bool]:
    """The calls of a run that have a row, and whether rows of it were pruned, or may have been."""
    statement = select(CALLS).where(CALLS.c.run_id == run_id).order_by(CALLS.c.started_at, CALLS.c.call_id)
    with store._reading() as connection:
        calls = [call_from_row(row) for row in connection.execute(statement).all()]
        return calls, bool(_shortened(connection, [run_id]))


def shortened_runs(store: UsageStore, run_ids: Sequence[str]) -> set[str]:
    """Those of some runs of which rows were pruned, or may have been: what is left of them is no total."""
    with store._reading() as connection:
        return _shortened(connection, run_ids)


def _shortened(connection: Connection, run_ids: Sequence[str]) -> set[str]:
    hour = rows_since(connection)
    if hour is None:
        return set()
    return set(run_ids) - whole_runs(connection, run_ids, datetime.fromisoformat(hour))
