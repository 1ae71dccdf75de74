"""What else is to be known of the whole store? Since when there are rows beneath the sums, and which views are ours."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from langchain_tokens.store.rolluptables import STATE

__all__ = ("keep_rows_since", "made_views", "rows_since")

_ROWS_SINCE = "rows_since"
_VIEWS = "views"


def rows_since(connection: Connection) -> str | None:
    """The hour, as rollups write it, before which rows were deleted and their sums kept; None where none were."""
    found = connection.execute(select(STATE.c.value).where(STATE.c.name == _ROWS_SINCE)).scalar()
    return None if found is None else str(found)


def keep_rows_since(connection: Connection, hour: str | None) -> None:
    """Note that there are sums without rows before an hour; None: there are none."""
    connection.execute(delete(STATE).where(STATE.c.name == _ROWS_SINCE))
    if hour is not None:
        connection.execute(insert(STATE), {"name": _ROWS_SINCE, "value": hour})


def made_views(connection: Connection) -> tuple[str, ...]:
    """The views that the migrations made; not those whose names something else had already."""
    found = connection.execute(select(STATE.c.value).where(STATE.c.name == _VIEWS)).scalar()
    return tuple(str(found or "").split())
