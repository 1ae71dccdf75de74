"""How does a database become an older one again? Said beforehand what goes, backed up, in one transaction, verified."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, inspect, text

from langchain_tokens.errors import SchemaError, StoreError
from langchain_tokens.store.dependants import refuse_dependants
from langchain_tokens.store.looking import changing, looking, require_content
from langchain_tokens.store.ours import DERIVED, TABLES, lock_tables, our_tables, refuse_newer, row_counts
from langchain_tokens.store.partitioning import unpartition
from langchain_tokens.store.partitions import is_partitioned
from langchain_tokens.store.safeguard import safeguarded
from langchain_tokens.store.schema import VERSION_TABLE, current_revision, lock_schema, upgrade
from langchain_tokens.store.target import StoreTarget

__all__ = (
    "BASE",
    "Downgrade",
    "DowngradePlan",
    "downgrade",
    "downgrade_store",
    "known_revisions",
    "lost_tables",
    "plan_downgrade",
    "scripts",
)

BASE = "base"
"""The name of the schema before the first: none of our tables."""
_MIGRATIONS = Path(__file__).parent / "migrations"
_SQLITE_DROPS_COLUMNS = (3, 35)


@dataclass(frozen=True, slots=True, kw_only=True)
class DowngradePlan:
    """What a downgrade would do."""

    before: str
    after: str
    """A revision, or `base`."""
    lost_rows: Mapping[str, int]
    """The tables that would go, with the rows in them."""
    lost_columns: tuple[str, ...]
    """The columns that would go from tables that stay, as `table.column`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Downgrade:
    """What a downgrade did."""

    plan: DowngradePlan
    rows: Mapping[str, int]
    """The tables that stayed, with the rows that are in them; as many as before, but for those of sums."""
    backup: Path | None
    """The copy of the SQLite file as it was; None where nothing was changed, or there is no file."""


def known_revisions() -> list[str]:
    """The revisions that this version knows, oldest first."""
    return [script.revision for script in scripts().walk_revisions()][::-1]


def plan_downgrade(target: StoreTarget, revision: str | None = None) -> DowngradePlan:
    """Say what a downgrade would take away; changes nothing.

    Args:
        target: the database.
        revision: the schema to go back to; `base` takes all of our tables away, and None is one step.

    Raises:
        SchemaError: for a schema that this version does not know, found or asked for, one that is newer than the one
            found, or views, triggers and foreign keys of others that need tables that would go.
        StoreError: when there is no database, or it cannot be read.

    """
    require_content(target)
    with looking(target) as connection:
        return _plan(connection, target, revision)


def downgrade_store(target: StoreTarget, revision: str | None = None, *, backup: bool = True) -> Downgrade:
    """Bring a database to an older schema, in one transaction; what that schema has no place for is lost.

    Args:
        target: the database.
        revision: as in `plan_downgrade`.
        backup: whether a SQLite file is copied first, to `NAME.backup-REVISION-TIME` beside it.

    Raises:
        SchemaError: as in `plan_downgrade`, and for rows that differ afterwards (then nothing is changed).
        StoreError: when there is no database, it cannot be read or written, or the copy cannot be made.

    """
    require_content(target)
    with safeguarded(target, is_wanted=backup) as copy, changing(target) as connection:
        lock_schema(connection)
        plan = _plan(connection, target, revision)
        if plan.before == plan.after:
            return Downgrade(plan=plan, rows=row_counts(connection), backup=None)
        if target.path is not None and plan.lost_columns and sqlite3.sqlite_version_info < _SQLITE_DROPS_COLUMNS:
            raise StoreError(f"taking columns away needs SQLite 3.35; Python here has {sqlite3.sqlite_version}")
        copy.make()
        lock_tables(connection)
        rows = {name: count for name, count in row_counts(connection).items() if name not in plan.lost_rows}
        downgrade(connection, plan.after)
        kept = row_counts(connection, rows)
        _verify(connection, target, plan.after, rows, kept)
    return Downgrade(plan=plan, rows=kept, backup=copy.path)


def downgrade(connection: Connection, revision: str) -> None:
    """Take migrations back on a connection, inside its transaction; `base` takes the version's table away too."""
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    if revision != BASE and is_partitioned(connection):
        unpartition(connection, connection.engine.url)  # older versions know nothing of partitions
    steps = scripts()
    options: dict[str, Any] = {
        "version_table": VERSION_TABLE,
        "transactional_ddl": False,
        "fn": lambda now, _: steps._downgrade_revs(revision, now),
    }
    context = MigrationContext.configure(connection, opts=options)
    context.run_migrations(op=Operations(context))
    if revision == BASE:
        connection.execute(text(f"DROP TABLE IF EXISTS {VERSION_TABLE}"))


def lost_tables(connection: Connection, revision: str) -> list[str]:
    """Our tables of a database that an older schema does not have."""
    keeps = _columns(revision)
    return [name for name in our_tables(connection) if name in TABLES and name not in keeps]


def _plan(connection: Connection, target: StoreTarget, revision: str | None) -> DowngradePlan:
    before = current_revision(connection)
    if before is None:
        raise SchemaError(f"the store {target} has no schema of ours; nothing was changed")
    refuse_newer(before, target)
    after = _goal(before, revision, target)
    had, keeps = _columns(before), _columns(after)
    lost = lost_tables(connection, after)
    refuse_dependants(connection, target, lost)
    return DowngradePlan(
        before=before,
        after=after,
        lost_rows=row_counts(connection, lost),
        lost_columns=tuple(f"{name}.{column}" for name in sorted(keeps) for column in sorted(had[name] - keeps[name])),
    )


def _goal(before: str, revision: str | None, target: StoreTarget) -> str:
    known = [BASE, *known_revisions()]
    if before not in known:
        raise SchemaError(f"the store {target} has the unknown schema {before}; known: {', '.join(known)}")
    if revision is None:
        return known[known.index(before) - 1]
    if revision not in known:
        raise SchemaError(f"there is no schema {revision!r}; known: {', '.join(known)}; nothing was changed")
    if known.index(revision) > known.index(before):
        raise SchemaError(
            f"the store {target} has schema {before}, and {revision} is newer: langchain-tokens db upgrade brings it "
            "up; nothing was changed"
        )
    return revision


def _columns(revision: str) -> dict[str, set[str]]:
    """The tables and columns of a schema, as the migrations make them in a database in memory."""
    if revision == BASE:
        return {}
    engine = create_engine("sqlite://")
    try:
        with engine.begin() as connection:
            upgrade(connection, revision)
            inspector = inspect(connection)
            names = [name for name in inspector.get_table_names() if name != VERSION_TABLE]
            return {name: {column["name"] for column in inspector.get_columns(name)} for name in names}
    finally:
        engine.dispose()


def _verify(
    connection: Connection, target: StoreTarget, after: str, rows: Mapping[str, int], kept: Mapping[str, int]
) -> None:
    is_right = not our_tables(connection) if after == BASE else current_revision(connection) == after
    differ = [name for name in rows if kept[name] > rows[name] or (kept[name] < rows[name] and name not in DERIVED)]
    if not is_right or differ:
        raise SchemaError(f"the downgrade of {target} to {after} did not come out as planned; nothing was changed")


def scripts() -> Any:
    """The migrations, as Alembic reads them."""
    from alembic.script import ScriptDirectory

    return ScriptDirectory(str(_MIGRATIONS))
