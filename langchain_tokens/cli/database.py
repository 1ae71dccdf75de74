"""Is the database the right one? Its schema, shown and brought up to this version."""

from __future__ import annotations

from typing import Annotated

import typer

from langchain_tokens.cli.options import Database, Json
from langchain_tokens.cli.output import hint, say, say_document

__all__ = ("current", "make_app", "upgrade")

CURRENT_EXAMPLES = """\b
Examples:
  langchain-tokens db current
  langchain-tokens db current --db postgresql://app@db.example.com/usage --json"""
UPGRADE_EXAMPLES = """\b
Examples:
  langchain-tokens db upgrade
  langchain-tokens db upgrade --db usage.db --no-backup"""


def make_app() -> typer.Typer:
    """Put the commands together."""
    app = typer.Typer(
        help="The database: its schema, shown and brought up to this version.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    app.command(epilog=CURRENT_EXAMPLES)(current)
    app.command(epilog=UPGRADE_EXAMPLES)(upgrade)
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


def upgrade(
    database: Database = None,
    backup: Annotated[bool, typer.Option(help="Copy a SQLite file first.")] = True,  # an option
    json: Json = False,
) -> None:
    """Bring it to this version's schema. A SQLite file is copied first; all rows are kept."""
    from langchain_tokens.store.target import parse_target
    from langchain_tokens.store.upgrade import upgrade_store

    done = upgrade_store(parse_target(database), backup=backup)
    copy = None if done.backup is None else str(done.backup)
    if json:
        say_document(before=done.before, after=done.after, calls=done.calls, backup=copy)
    elif done.before == done.after:
        say(f"schema {done.after} already: nothing to do")
    else:
        say(f"schema {done.before or 'none'} → {done.after}; {done.calls:,} calls kept")
    if copy is not None:
        hint(f"the file as it was: {copy}")
