"""How do many rows get into PostgreSQL fast? Through a place in the transaction from which one statement inserts them.

That place is either a text of JSON in the statement itself (`sent`), or for very many rows a temporary table that
`COPY` fills (`stage`). Both give columns to select from, so that one `INSERT … SELECT … ON CONFLICT` can do the rest;
to hand the rows to an `INSERT` one by one takes the server and this process several times as long. Sums and runs, which
are narrow and come in hundreds, go by column: see `arrays`.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, partial
from itertools import islice
from typing import Any

import orjson
from sqlalchemy import (
    JSON,
    Column,
    Connection,
    FromClause,
    MetaData,
    Table,
    Text,
    bindparam,
    cast,
    column,
    exc,
    func,
    select,
)

from langchain_tokens.call import Call
from langchain_tokens.store.engine import RowError
from langchain_tokens.store.server import DRIVEN
from langchain_tokens.store.tuples import COLUMNS, gathered, offset_moment, valid

__all__ = ("SENT", "STAGING_PAYS", "call_rows", "copy", "json_rows", "may_stage", "sent", "stage")

STAGING_PAYS = 200
"""How many rows it takes until a stage is as fast as JSON in the statement; for one row it takes twice as long."""
SENT = "sent_rows"
"""The parameter of a statement that selects from `sent`: what `json_rows` made."""
_MAY_STAGE = "tokens_may_stage"
_PIECE = 100


def call_rows(calls: Iterable[Call]) -> tuple[tuple[str, ...], Iterator[tuple[Any, ...]]]:
    """The columns of calls and their values; one after another, so that the server reads while they are made.

    Raises:
        RowError: while the values are read, for one that is none of its field's.

    """
    return COLUMNS, _call_rows(calls)


def json_rows(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Rows as the text that `sent` reads.

    Raises:
        RowError: for a value that JSON cannot hold: half a surrogate pair, a number beyond 64 bits.

    """
    try:
        return orjson.dumps([dict(zip(columns, row, strict=True)) for row in rows]).decode()
    except TypeError as error:
        raise RowError(f"the store refused a value: {error}") from error


@cache
def sent(table: Table, columns: Sequence[str]) -> FromClause:
    """Rows that come with the statement, in its parameter `SENT`, to select from.

    Args:
        table: the table that says of which types they are.
        columns: the names of the columns, as a tuple.

    """
    # JSON comes as text within the JSON: parsed twice, PostgreSQL would refuse escapes that its JSON type takes.
    plain = [column(name, Text() if _is_json(table, name) else table.c[name].type) for name in columns]
    text = cast(bindparam(SENT, type_=Text()), JSON)
    given = func.json_to_recordset(text).table_valued(*plain, name="sent").render_derived(with_types=True)
    chosen = [cast(item, JSON).label(item.name) if _is_json(table, item.name) else item for item in given.c]
    return select(*chosen).subquery()


def may_stage(connection: Connection) -> bool:
    """Tell whether this server lets us make temporary tables; found out once for each connection.

    Some do not: for want of the privilege, or because they know none. The transaction survives the trial.
    """
    known = connection.info
    if _MAY_STAGE not in known:
        known[_MAY_STAGE] = _try_to_stage(connection)
    return bool(known[_MAY_STAGE])


def stage(connection: Connection, table: Table, rows: Iterable[Sequence[Any]], columns: Sequence[str]) -> Table:
    """Copy rows into a temporary table, which is empty before, and after the transaction.

    It is looked for in each transaction, since a pooler may hand each of them to another session of the server.

    Args:
        connection: one that writes, of a server where `may_stage`.
        table: the table for which the rows are meant; the stage has its columns, and none of its constraints.
        rows: values of the columns: numbers, truth values, and text, also of JSON and of moments with their offset.
        columns: their names; the others stay NULL.

    Returns:
        The temporary table, to select from.

    Raises:
        RowError: within `writing`, for a value that PostgreSQL refuses.

    """
    staged, known = _stage_of(table), connection.info
    try:
        _make_empty(connection, table, staged)
    except exc.DBAPIError:
        known.pop(_MAY_STAGE, None)  # whatever it is, the next transaction finds out anew
        raise
    copy(connection, staged, rows, columns)
    return staged


def copy(connection: Connection, table: Table, rows: Iterable[Sequence[Any]], columns: Sequence[str]) -> None:
    """Copy rows into a table, the arguments as those of `stage`.

    Raises:
        RowError: within `writing`, for a value that PostgreSQL refuses.

    """
    quote = connection.dialect.identifier_preparer.quote
    statement = f"COPY {_name_in(connection, table)} ({', '.join(map(quote, columns))}) FROM STDIN"
    connection.exec_driver_sql(statement, execution_options={DRIVEN: partial(_copy, rows)})


def _call_rows(calls: Iterable[Call]) -> Iterator[tuple[Any, ...]]:
    left = iter(calls)
    while piece := list(islice(left, _PIECE)):
        time.sleep(0)  # lets go of the interpreter, for the host's threads
        with valid():
            rows = [gathered(call, offset_moment) for call in piece]
        yield from rows


def _copy(rows: Iterable[Sequence[Any]], cursor: Any, statement: str) -> None:
    with cursor.copy(statement) as started:
        for row in rows:
            started.write_row(row)


def _is_json(table: Table, name: str) -> bool:
    return isinstance(table.c[name].type, JSON)


def _try_to_stage(connection: Connection) -> bool:
    trial = connection.begin_nested()
    try:
        connection.exec_driver_sql("CREATE TEMPORARY TABLE tokens_trial ()")
    except (exc.NotSupportedError, exc.ProgrammingError):  # unknown to it, no privilege
        return False
    finally:
        trial.rollback()
    return True


@cache
def _stage_of(table: Table) -> Table:
    """The temporary table; other columns make another name, since a session may have one of an earlier version."""
    columns = [Column(item.name, item.type) for item in table.columns]
    mark = zlib.crc32(repr([(item.name, str(item.type)) for item in columns]).encode())
    return Table(f"staged_{table.name}_{mark:08x}", MetaData(), *columns, schema="pg_temp")


def _make_empty(connection: Connection, table: Table, staged: Table) -> None:
    name = _name_in(connection, staged)
    size = connection.exec_driver_sql("SELECT pg_relation_size(to_regclass(%s))", (name,)).scalar()
    if size is None:
        quote = connection.dialect.identifier_preparer.quote
        columns = ", ".join(quote(item.name) for item in table.columns)
        made = f"CREATE TEMPORARY TABLE {quote(staged.name)} ON COMMIT DELETE ROWS AS SELECT {columns}"
        connection.exec_driver_sql(f"{made} FROM {_name_in(connection, table)} WITH NO DATA")
    elif size > 0:  # filled before in this transaction
        connection.exec_driver_sql(f"DELETE FROM {name}")  # noqa: S608  # our own name


def _name_in(connection: Connection, table: Table) -> str:
    return connection.dialect.identifier_preparer.format_table(table)
