"""How does an existing database get metrics, and how is that undone? By the application's migrations, verified."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, inspect, text

from examples.document_batches.application import METRICS
from langchain_tokens.store.adoption import is_ours
from langchain_tokens.store.inspection import inspect_store
from langchain_tokens.store.target import parse_target

__all__ = ("BEFORE", "Migration", "MigrationError", "make_old_database", "migrate", "roll_back", "snapshot")

BEFORE, AFTER = "r0001", "r0002"
OLD_COLUMNS = "id, result_id, batch_id, document, prompt, response, status, error_message"
OLD_RESPONSES: Sequence[Mapping[str, Any]] = [
    {
        "result_id": f"batch-old/note-{number}/summary",
        "batch_id": "batch-old",
        "document": f"note-{number}",
        "prompt": "Summarise this delivery note in one sentence.",
        "response": f"Delivery {number}.",
        "status": "completed",
        "error_message": None,
    }
    for number in range(1, 7)
]


class MigrationError(Exception):
    """Raised when a database is not as it should be after a migration, which then was undone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What must not change: the tables that are not ours, and the old columns of all old rows."""

    tables: tuple[str, ...]
    rows: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """What a migration did."""

    rows: int
    """Rows from before, all of them as they were."""
    columns: tuple[str, ...]
    tables: tuple[str, ...]


def make_old_database(engine: Engine) -> None:
    """Make the database that the application has had until now, with some rows; nothing where there is one."""
    with engine.connect() as connection:
        if inspect(connection).has_table("responses"):
            return
    with _alembic(engine) as config:
        command.upgrade(config, BEFORE)
        names = list(OLD_RESPONSES[0])
        values = ", ".join(f":{name}" for name in names)
        statement = f"INSERT INTO responses ({', '.join(names)}) VALUES ({values})"  # noqa: S608 - our own names
        config.attributes["connection"].execute(text(statement), OLD_RESPONSES)


def migrate(engine: Engine, url: str) -> Migration | None:
    """Add the metrics in one transaction, and verify; None where they are there.

    Raises:
        MigrationError: The result is not as it should be; all of it is undone.

    """
    with engine.connect() as connection:
        before, had = snapshot(connection), _columns(connection)
        if "call_id" in had:
            return None
    with _alembic(engine) as config:
        connection = config.attributes["connection"]
        command.upgrade(config, AFTER)
        _verify(connection, before)
        command.check(config)
        columns = tuple(name for name in _columns(connection) if name not in had)
        tables = tuple(name for name in inspect(connection).get_table_names() if is_ours(name))
    inspection = inspect_store(parse_target(url))
    if not inspection.is_right:
        roll_back(engine)
        raise MigrationError(f"undone: {'; '.join((*inspection.differences, *(inspection.damage or ())))}")
    return Migration(rows=before.rows, columns=columns, tables=tables)


def roll_back(engine: Engine) -> Migration | None:
    """Take the metrics away again, in one transaction, and verify that all else is as it was; None without metrics.

    Raises:
        MigrationError: Something else would have changed; nothing is.

    """
    with _alembic(engine) as config:
        connection = config.attributes["connection"]
        before, had = snapshot(connection), _columns(connection)
        if "call_id" not in had:
            return None
        tables = tuple(name for name in inspect(connection).get_table_names() if is_ours(name))
        command.downgrade(config, BEFORE)
        if snapshot(connection) != before:
            raise MigrationError("rows or tables would not be as they were; nothing was changed")
        columns = tuple(name for name in had if name not in _columns(connection))
    return Migration(rows=before.rows, columns=columns, tables=tables)


def snapshot(connection: Connection) -> Snapshot:
    """Return what a migration must leave as it is."""
    rows = connection.execute(text(f"SELECT {OLD_COLUMNS} FROM responses ORDER BY id")).all()  # noqa: S608 - as above
    digest = hashlib.sha256(repr([tuple(row) for row in rows]).encode()).hexdigest()
    tables = sorted(name for name in inspect(connection).get_table_names() if not is_ours(name))
    return Snapshot(tables=tuple(tables), rows=len(rows), digest=digest)


def _verify(connection: Connection, before: Snapshot) -> None:
    if snapshot(connection) != before:
        raise MigrationError("rows from before are not as they were; nothing was changed")
    known = " OR ".join(f"{name} IS NOT NULL" for name in METRICS)
    if connection.execute(text(f"SELECT COUNT(*) FROM responses WHERE {known}")).scalar_one():  # noqa: S608 - as above
        raise MigrationError("rows from before have metrics that nobody measured; nothing was changed")


def _columns(connection: Connection) -> list[str]:
    return [column["name"] for column in inspect(connection).get_columns("responses")]


@contextmanager
def _alembic(engine: Engine) -> Iterator[Config]:
    """Alembic on one connection, in one transaction."""
    config = Config(stdout=io.StringIO())
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        yield config
