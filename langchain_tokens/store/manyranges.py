"""How does one statement take hundreds of ranges? As a table that it makes of one parameter, a JSON document.

So the statement is the same for any number of them, and a database does not have to be asked for each.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, FromClause, Join, Select, Subquery, Text, bindparam, cast, column, func, select, true
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.compiler import compiles

from langchain_tokens.store.tables import UtcDateTime

__all__ = ("for_each", "moment_value", "ranges_table", "ranges_value")

_TYPES: dict[type, Any] = {int: BigInteger(), str: Text(), datetime: UtcDateTime()}


class _InOrder(Join):
    """Rows of one table, and for each of them those of another. SQLite chooses the order itself, and not this one."""

    inherit_cache = True


@compiles(_InOrder)
def _join(element: Any, compiler: Any, **options: Any) -> str:
    return str(compiler.visit_join(element, **options))


@compiles(_InOrder, "sqlite")
def _cross_join(element: Any, compiler: Any, **options: Any) -> str:
    both = (compiler.process(side, **{**options, "asfrom": True}) for side in (element.left, element.right))
    return " CROSS JOIN ".join(both)


def ranges_table(parameter: str, columns: Sequence[tuple[str, type]], dialect: str) -> Subquery:
    """A table of what is in a parameter, a row for each.

    Args:
        parameter: its name; its value is that of `ranges_value`.
        columns: the names of the columns, and `int`, `str` or `datetime` for what is in them.
        dialect: the database's.

    """
    value = bindparam(parameter, type_=Text())
    if dialect == "sqlite":
        entry: Any = func.json_each(value).table_valued("value").c.value
        found: list[Any] = [
            func.json_extract(entry, f"$[{index}]", type_=_TYPES[kind]) for index, (_, kind) in enumerate(columns)
        ]
    else:
        entry = func.jsonb_array_elements(cast(value, JSONB)).table_valued(column("value", JSONB)).c.value
        found = [cast(entry[index].as_string(), _TYPES[kind]) for index, (_, kind) in enumerate(columns)]
    named = [item.label(name) for item, (name, _) in zip(found, columns, strict=True)]
    return (
        select(*named).distinct().subquery()
    )  # else SQLite would read the document again for each row it is joined to


def ranges_value(rows: Iterable[Sequence[int | str]]) -> str:
    """The parameter's value."""
    return json.dumps(list(rows))


def moment_value(moment: datetime, dialect: str) -> str:
    """A moment in such a row, as the database compares it with those of calls."""
    written = moment.astimezone(UTC).isoformat(" ", "microseconds")
    return written.removesuffix("+00:00") if dialect == "sqlite" else written


def for_each(
    ranges: Subquery, named: Sequence[str], statement: Select[Any], table: FromClause, dialect: str
) -> Select[Any]:
    """A statement's rows for each of some ranges, in which an index finds them.

    Args:
        ranges: as `ranges_table` makes them.
        named: columns of theirs that stand after the statement's.
        statement: says in its conditions what belongs to a range.
        table: the one that it reads.
        dialect: the database's.

    """
    more = [ranges.c[name] for name in named]
    if dialect == "sqlite":
        return statement.add_columns(*more).select_from(_InOrder(ranges, table, true()))
    each = statement.offset(0).lateral()  # else it may be joined by holding each row to every range
    return select(*each.c, *more).select_from(ranges.join(each, true()))
