"""How does an older database become the present one? Backed up, brought up by the migrations, and verified."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import Connection

from langchain_tokens.errors import SchemaError
from langchain_tokens.store.engine import make_engine, writing
from langchain_tokens.store.looking import PATIENCE_SECONDS, found_revision, has_content, looking
from langchain_tokens.store.ours import DERIVED, lock_tables, refuse_foreign, refuse_newer, row_counts
from langchain_tokens.store.safeguard import safeguarded
from langchain_tokens.store.schema import HEAD, current_revision, lock_schema, upgrade
from langchain_tokens.store.tables import CALLS, RUNS
from langchain_tokens.store.target import StoreTarget

__all__ = ("Upgrade", "found_revision", "upgrade_store")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """What an upgrade did."""

    before: str | None
    """The schema that was found; None for a database that had none of ours."""
    after: str
    calls: int
    """Calls that were there before and are there after."""
    backup: Path | None
    """The copy of the SQLite file as it was; None where nothing was changed, or there is no file."""


def upgrade_store(target: StoreTarget, *, backup: bool = True) -> Upgrade:
    """Bring a database to this version's schema, in one transaction. Several processes may do so at once: one does it.

    Args:
        target: the database; one that does not exist is made.
        backup: whether a SQLite file with an older schema of ours is copied first, to `NAME.backup-REVISION-TIME`
            beside it; a copy that is not verified stops the upgrade.

    Raises:
        SchemaError: for a schema that is newer than this version knows, tables of our names that are not ours, or
            rows that differ afterwards (then nothing is changed).
        StoreError: when the database cannot be read or written, or the copy cannot be made.

    """
    _look_first(target)
    engine = make_engine(replace(target, timeout=max(target.timeout, PATIENCE_SECONDS)))
    try:
        with safeguarded(target, is_wanted=backup) as copy, writing(engine, target, is_long=True) as connection:
            lock_schema(connection)
            before = current_revision(connection)  # another process may have been faster
            refuse_newer(before, target)
            # The lock lets others read: the copy is of what is upgraded, with nothing written in between.
            if before not in (None, HEAD):
                copy.make()
            if before is None:
                refuse_foreign(connection, target)
            if before != HEAD:
                _upgrade(connection, target)
            calls = row_counts(connection, [CALLS.name])[CALLS.name]
    finally:
        engine.dispose()
    return Upgrade(before=before, after=HEAD, calls=calls, backup=copy.path)


def _look_first(target: StoreTarget) -> None:
    """Refuse before anything is opened to be written, which would give a file a write-ahead log for good."""
    if not has_content(target):
        return
    with looking(target) as connection:
        found = current_revision(connection)
        refuse_newer(found, target)
        if found is None:
            refuse_foreign(connection, target)


def _upgrade(connection: Connection, target: StoreTarget) -> None:
    lock_tables(connection)
    rows = row_counts(connection)
    upgrade(connection)
    kept = row_counts(connection, rows)
    growing = {*DERIVED, RUNS.name}  # a run of which there were calls only gets a row
    differ = [name for name in rows if kept[name] < rows[name] or (kept[name] > rows[name] and name not in growing)]
    if differ:
        changed = ", ".join(f"{name} {rows[name]:,} → {kept[name]:,}" for name in differ)
        raise SchemaError(f"the upgrade of {target} would have changed its rows ({changed}); nothing was changed")
    if current_revision(connection) != HEAD:
        raise SchemaError(f"the upgrade of {target} did not reach {HEAD}; nothing was changed")
