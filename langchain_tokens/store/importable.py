"""Can calls from elsewhere still be told from those that were pruned? A prune that keeps sums takes their ids away."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select, text

from langchain_tokens.call import Call, RunFact
from langchain_tokens.errors import StoreError
from langchain_tokens.render import counted
from langchain_tokens.store.inserts import chunks
from langchain_tokens.store.rolluptables import STATE
from langchain_tokens.store.schema import storing
from langchain_tokens.store.state import rows_since
from langchain_tokens.store.tables import CALLS
from langchain_tokens.store.writes import write_batch

if TYPE_CHECKING:
    from langchain_tokens.store.store import UsageStore

__all__ = ("PrunedError", "add_importable")


class PrunedError(StoreError):
    """Raised when calls of a batch may be those that a prune has taken the rows of."""


def add_importable(store: UsageStore, calls: Sequence[Call], runs: Sequence[RunFact] = ()) -> None:
    """Store a batch as `UsageStore.add` does, unless a prune has come between it and the look at what is stored.

    Raises:
        PrunedError: where calls without a row are of a time whose rows were pruned; nothing is stored then.

    """
    with storing(store._engine(), store.target) as connection:
        _keep_prunes_out(connection)
        hour = rows_since(connection)
        lost = 0 if hour is None else _count_without_row(connection, calls, datetime.fromisoformat(hour))
        if lost:
            raise PrunedError(
                f"{counted(lost, 'call')} from before {hour} may count in {store.target} already: their rows were "
                "pruned while this was imported, and their sums are still there"
            )
        write_batch(connection, calls, runs)


def _keep_prunes_out(connection: Connection) -> None:
    """Wait for those who delete rows, until the transaction ends; other imports go on. SQLite's lock does it by itself.

    First of all in the transaction: a prune takes this lock before any other, too.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"LOCK TABLE {STATE.name} IN ROW SHARE MODE"))


def _count_without_row(connection: Connection, calls: Sequence[Call], since: datetime) -> int:
    old = sorted({call.call_id for call in calls if call.started_at < since})
    stored = 0
    for chunk in chunks(old):
        found = select(CALLS.c.call_id).where(CALLS.c.call_id.in_(chunk)).distinct()
        stored += len(connection.execute(found).scalars().all())
    return len(old) - stored
