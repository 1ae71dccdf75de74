"""How is a database copied? SQLite by its own means, while others write, and verified; PostgreSQL by a command."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import make_url

from langchain_tokens.errors import StoreError
from langchain_tokens.store.looking import integrity_problems, open_file, require_file
from langchain_tokens.store.ours import TABLES, VIEWS
from langchain_tokens.store.partitions import REST
from langchain_tokens.store.schema import VERSION_TABLE, is_revision
from langchain_tokens.store.tables import CALLS
from langchain_tokens.store.target import StoreTarget

__all__ = ("Backup", "back_up", "pg_dump_command")

_SIDE_FILES = ("", "-wal", "-shm", "-journal")
_SHOWN = re.compile(
    r"host|hostaddr|port|dbname|user|service|options|passfile|channel_binding|ssl(mode|rootcert|cert|key|crl)"
)
"""What of a URL's query the command needs; anything else may be a secret, or the driver's own."""
_PARTITIONS = (f"{CALLS.name}_[0-9]*", REST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A copy of an SQLite file that was checked."""

    path: Path
    schema: str | None
    """The schema in it; None where it has none of ours."""
    rows: Mapping[str, int]
    """How many rows each of its tables has, the application's own too."""


def back_up(target: StoreTarget, goal: Path | None = None) -> Backup:
    """Copy an SQLite file by the database's own means, so that what its write-ahead log holds is in the copy.

    Others may go on writing: the copy is what the database was at one moment.

    Args:
        target: the database.
        goal: the copy, which must not be there yet; None is `NAME.backup-SCHEMA-TIME` beside the file.

    Raises:
        StoreError: for a database that is none of SQLite's (naming the command for it), a copy that is there already,
            and one that is not the same as the file; then no copy is left.

    """
    if target.path is None and not target.is_memory:
        raise StoreError(f"PostgreSQL's own tool copies {target}; for our tables only: {pg_dump_command(target, goal)}")
    path = require_file(target)
    try:
        with closing(open_file(path, target.timeout)) as source:
            source.execute("BEGIN")  # what is counted is what is copied
            schema, rows = _schema(source), _rows(source)
            place = _reserve(path, goal, schema)
            _copy(source, path, place, rows)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{target} could not be copied, and was left as it is: {error}") from error
    return Backup(path=place, schema=schema, rows=rows)


def pg_dump_command(target: StoreTarget, goal: Path | None = None) -> str:
    """The command that copies our tables from a PostgreSQL database; without a password, which it asks for."""
    url = make_url(target.url).set(drivername="postgresql")
    known = {name: value for name, value in url.query.items() if _SHOWN.fullmatch(name)}
    shown = url.set(query=known)._replace(password=None).render_as_string(hide_password=False)
    tables = [f"--table={name}" for name in (*TABLES, *_PARTITIONS, *VIEWS, VERSION_TABLE)]
    file = str(goal or "langchain_tokens.dump")
    return shlex.join(["pg_dump", "--format=custom", f"--file={file}", *tables, shown])


def _reserve(path: Path, goal: Path | None, schema: str | None) -> Path:
    """Make the copy's file, empty: nobody else can take the name from here on."""
    if goal is not None:
        place = goal.expanduser().absolute()
        if place.exists():
            raise StoreError(f"{place} is there already, and was left as it is; name another file")
        _make_empty(place)
        return place
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    base, number = path.with_name(f"{path.name}.backup-{schema or 'none'}-{stamp}"), 1
    while True:
        place = base if number == 1 else base.with_name(f"{base.name}-{number}")
        with suppress(FileExistsError):
            _make_empty(place)
            return place
        number += 1


def _make_empty(place: Path) -> None:
    os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _copy(source: sqlite3.Connection, path: Path, place: Path, rows: Mapping[str, int]) -> None:
    """Copy, check, and only then give the copy its name."""
    part = place.with_name(place.name + ".partial")
    try:
        _make_empty(part)
        with closing(sqlite3.connect(part)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, and none beside it, whoever reads it and however
        with closing(sqlite3.connect(part)) as copy:
            _verify(copy, rows, path)
        shutil.copymode(path, part)
        part.replace(place)
    except BaseException:
        for name in (place, *(part.with_name(part.name + end) for end in _SIDE_FILES)):
            name.unlink(missing_ok=True)
        raise


def _verify(copy: sqlite3.Connection, rows: Mapping[str, int], path: Path) -> None:
    # Pages are copied as they are, so indexes fit their tables as they did; `db check` looks at that.
    problems = integrity_problems(copy, tuple(name for name in rows if name in TABLES), quick=True)
    if problems:
        raise StoreError(f"{path} is damaged: {'; '.join(problems[:3])}; nothing was changed, and no copy is kept")
    if _rows(copy) != rows:
        raise StoreError(f"the copy of {path} has other rows than the file; nothing was changed, and no copy is kept")


def _rows(connection: sqlite3.Connection) -> dict[str, int]:
    """The number of rows of each table; a virtual one may need an extension, and its data is in tables that do not."""
    names = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL %' ORDER BY name"
    ).fetchall()
    return {name: _count(connection, name) for (name,) in names}


def _count(connection: sqlite3.Connection, name: str) -> int:
    quoted = name.replace('"', '""')
    return int(connection.execute(f'SELECT count(*) FROM "{quoted}"').fetchone()[0])  # noqa: S608  # quoted


def _schema(connection: sqlite3.Connection) -> str | None:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (VERSION_TABLE,)).fetchone():
        return None
    cursor = connection.execute(f"SELECT * FROM {VERSION_TABLE}")  # noqa: S608  # our own name
    row = dict(zip((column[0] for column in cursor.description), cursor.fetchone() or (), strict=False))
    found = row.get("version_num")
    return found if is_revision(found) else None
