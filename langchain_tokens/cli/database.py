"""Is the database the right one? Its schema shown and checked, and its copy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from langchain_tokens.cli.options import Database, Json
from langchain_tokens.cli.output import hint, say, say_document
from langchain_tokens.cli.partitions import PARTITION_EXAMPLES, partition
from langchain_tokens.cli.retention import PRUNE_EXAMPLES, REBUILD_EXAMPLES, prune, rebuild_rollups
from langchain_tokens.cli.schema import ADOPT_EXAMPLES, DOWNGRADE_EXAMPLES, UPGRADE_EXAMPLES, adopt, downgrade, upgrade

__all__ = ("backup", "check", "current", "make_app")

CURRENT_EXAMPLES = """\b
Examples:
  langchain-tokens db current
  langchain-tokens db current --db postgresql://app@db.example.com/usage --json"""
CHECK_EXAMPLES = """\b
Exit code 1 when something is not as it should be.
Examples:
  langchain-tokens db check
  langchain-tokens db check --db usage.db --json"""
BACKUP_EXAMPLES = """\b
Examples:
  langchain-tokens db backup
  langchain-tokens db backup /backups/usage-2026-11-23.db --db usage.db"""


def make_app() -> typer.Typer:
    """Put the commands together."""
    app = typer.Typer(
        help="The database: its schema shown, checked and changed; its copy.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    app.command(epilog=CURRENT_EXAMPLES)(current)
    app.command(epilog=CHECK_EXAMPLES)(check)
    app.command(epilog=BACKUP_EXAMPLES)(backup)
    app.command(epilog=UPGRADE_EXAMPLES)(upgrade)
    app.command(epilog=DOWNGRADE_EXAMPLES)(downgrade)
    app.command(epilog=ADOPT_EXAMPLES)(adopt)
    app.command(epilog=PRUNE_EXAMPLES)(prune)
    app.command("rebuild-rollups", epilog=REBUILD_EXAMPLES)(rebuild_rollups)
    app.command(epilog=PARTITION_EXAMPLES)(partition)
    return app


def current(database: Database = None, json: Json = False) -> None:  # an option
    """Show the database's schema. And the one that this version needs; makes no database."""
    from langchain_tokens.cli.opening import MAKING, has_content
    from langchain_tokens.store.schema import HEAD
    from langchain_tokens.store.target import parse_target
    from langchain_tokens.store.upgrade import found_revision

    target = parse_target(database)
    is_there = target.path is None or target.path.exists()
    schema = found_revision(target) if has_content(target) else None
    if json:
        say_document(
            database=str(target), exists=is_there, schema=schema, needed_schema=HEAD, is_current=schema == HEAD
        )
    else:
        say(f"{target}: schema {schema or 'none'}; this version needs {HEAD}")
    if schema is None:
        hint(f"nothing is stored there yet; {MAKING}" if is_there else f"there is no such file yet; {MAKING}")
    elif schema < HEAD:
        hint("to bring it up: langchain-tokens db upgrade, with the same --db")
    elif schema > HEAD:
        hint("a newer version of langchain_tokens made it: update the package")


def check(database: Database = None, json: Json = False) -> None:  # an option
    """Check the schema. Tables, columns, types, keys and indexes of ours; SQLite's own check of the file."""
    from langchain_tokens.store.inspection import inspect_store
    from langchain_tokens.store.schema import HEAD
    from langchain_tokens.store.target import parse_target

    target = parse_target(database)
    found = inspect_store(target)
    if json:
        said = {"schema": found.schema, "needed_schema": HEAD, "is_right": found.is_right}
        lists = {"differences": found.differences, "additions": found.additions, "damage": found.damage}
        say_document(database=str(target), **said, **lists)
    elif found.is_right:
        say(
            f"{target}: schema {found.schema}, as it should be"
            + ("" if found.damage is None else "; the file is whole")
        )
    else:
        lines = [*found.differences, *(f"the file is damaged: {problem}" for problem in found.damage or ())]
        say("\n  ".join([f"{target}:", *lines]))
    if not json:
        for addition in found.additions:
            hint(f"no harm: {addition}")
    hint(_next_step(found.schema, is_right=found.is_right, needed=HEAD))
    if not found.is_right:
        raise typer.Exit(1)


def backup(
    file: Annotated[Path | None, typer.Argument(help="The copy; else NAME.backup-SCHEMA-TIME beside the file.")] = None,
    database: Database = None,
    json: Json = False,  # an option
) -> None:
    """Copy a SQLite file, and check the copy. Others may go on writing; PostgreSQL: says which command does it."""
    from langchain_tokens.cli.opening import _has_waiting
    from langchain_tokens.store.backup import back_up
    from langchain_tokens.store.target import parse_target

    target = parse_target(database)
    done = back_up(target, file)
    if json:
        say_document(backup=str(done.path), schema=done.schema, rows=done.rows)
    else:
        say(str(done.path))
        hint(f"checked: {sum(done.rows.values()):,} rows in {len(done.rows)} tables, schema {done.schema or 'none'}")
    if _has_waiting(target):
        hint(f"not in it: records that wait in {target.journal_folder} for a program that opens the store")


def _next_step(found: str | None, *, is_right: bool, needed: str) -> str:
    if is_right:
        return "what the numbers say: langchain-tokens check"
    if found is None:
        return "to add our tables there: langchain-tokens db adopt, with the same --db"
    if found < needed:
        return "to bring it up: langchain-tokens db upgrade, with the same --db"
    if found > needed:
        return "a newer version of langchain_tokens made it: update the package"
    return "a copy first: langchain-tokens db backup; then mend it by hand, or restore an older copy"
