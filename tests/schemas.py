"""The schema without its migrations: they run once for each kind of database, and what they said is said again after that.

Most tests begin with an empty database and ask nothing about how its tables come about, which took most of their time.
A module that does ask says `pytestmark = pytest.mark.usefixtures("migrations")`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, event

from langchain_tokens.store import schema

__all__ = ("remembering",)

_IS_EMPTY = {
    "sqlite": "SELECT count(*) = 0 FROM sqlite_master",
    "postgresql": "SELECT count(*) = 0 FROM pg_class WHERE relnamespace = to_regnamespace(current_schema())",
}
_READS = ("SELECT", "PRAGMA")


def remembering(upgrade: Callable[..., None] = schema.upgrade) -> Callable[..., None]:
    """What takes the place of `upgrade`: the same statements in the same order, on a database that holds nothing."""
    remembered: dict[str, list[str]] = {}

    def upgrade_as_before(connection: Connection, revision: str = "head") -> None:
        kind = connection.dialect.name
        if revision != "head" or not connection.exec_driver_sql(_IS_EMPTY[kind]).scalar():
            upgrade(connection, revision)
        elif kind in remembered:
            for statement in remembered[kind]:
                connection.exec_driver_sql(statement)
        else:
            remembered[kind] = _listening(connection, upgrade)

    return upgrade_as_before


def _listening(connection: Connection, upgrade: Callable[..., None]) -> list[str]:
    """Upgrade, and return what was written."""
    said: list[str] = []

    def hear(_: Connection, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if not statement.lstrip().startswith(_READS):
            assert not parameters, "what is said again has to be whole"
            said.append(statement)

    event.listen(connection, "before_cursor_execute", hear)
    try:
        upgrade(connection)
    finally:
        event.remove(connection, "before_cursor_execute", hear)
    return [";\n".join(said)] if connection.dialect.name == "postgresql" else said
