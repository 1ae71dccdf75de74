"""What else is to be known of the whole store? Since when there are rows, which runs lost some, and our views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, insert, literal, select
from sqlalchemy.dialects import postgresql, sqlite

from langchain_tokens.store.inserts import chunks
from langchain_tokens.store.rolluptables import STATE
from langchain_tokens.store.tables import CALLS

__all__ = ("keep_rows_since", "made_views", "note_shortened", "note_shortened_by", "rows_since", "shortened")

_ROWS_SINCE = "rows_since"
_VIEWS = "views"
_SHORTENED = "shortened/"
"""How the name of a row begins that notes a run; then comes its id."""


def rows_since(connection: Connection) -> str | None:
    """The hour, as rollups write it, before which rows were deleted and their sums kept; None where none were."""
    found = connection.execute(select(STATE.c.value).where(STATE.c.name == _ROWS_SINCE)).scalar()
    return None if found is None else str(found)


def keep_rows_since(connection: Connection, hour: str | None) -> None:
    """Note that there are sums without rows before an hour; None: there are none, nor runs that lost rows."""
    connection.execute(delete(STATE).where(STATE.c.name == _ROWS_SINCE))
    if hour is None:
        connection.execute(delete(STATE).where(STATE.c.name.startswith(_SHORTENED)))
    if hour is not None:
        connection.execute(insert(STATE), {"name": _ROWS_SINCE, "value": hour})


def made_views(connection: Connection) -> tuple[str, ...]:
    """The views that the migrations made; not those whose names something else had already."""
    found = connection.execute(select(STATE.c.value).where(STATE.c.name == _VIEWS)).scalar()
    return tuple(str(found or "").split())


def note_shortened(connection: Connection, run_ids: Sequence[str]) -> None:
    """Note that rows of these runs' calls were deleted and their sums kept: a run that is gone may get a later call.

    Args:
        connection: one that writes, which keeps others from it (`lock_maintenance`).
        run_ids: the runs.

    """
    for chunk in chunks(run_ids):
        rows = [{"name": _SHORTENED + run_id, "value": ""} for run_id in chunk]
        connection.execute(_into_state(connection).on_conflict_do_nothing(), rows)


def note_shortened_by(connection: Connection, condition: ColumnElement[bool]) -> None:
    """The same for the runs of calls that are about to go."""
    chosen = select(literal(_SHORTENED) + CALLS.c.run_id, literal("")).where(condition).distinct()
    connection.execute(_into_state(connection).from_select(["name", "value"], chosen).on_conflict_do_nothing())


def shortened(connection: Connection, run_ids: Sequence[str]) -> set[str]:
    """Those of some runs that are known to have lost rows."""
    found: set[str] = set()
    for chunk in chunks(run_ids):
        names = select(STATE.c.name).where(STATE.c.name.in_([_SHORTENED + run_id for run_id in chunk]))
        found |= {name.removeprefix(_SHORTENED) for name in connection.execute(names).scalars()}
    return found


def _into_state(connection: Connection) -> Any:
    return (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(STATE)
