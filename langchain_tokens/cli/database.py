"""Is the database the right one? Its schema, shown and brought up to this version."""

from __future__ import annotations

from typing import Annotated

import typer

from langchain_tokens.cli.options import Database

__all__ = ("current", "make_app", "upgrade")


def make_app() -> typer.Typer:
    """Put the commands together."""
    app = typer.Typer(help="The database: its schema, shown and brought up to this version.", no_args_is_help=True)
    app.command()(current)
    app.command()(upgrade)
    return app


def current(database: Database = None) -> None:
    """Show which schema the database has, and which this version needs."""
    from langchain_tokens.store.schema import HEAD
    from langchain_tokens.store.target import parse_target
    from langchain_tokens.store.upgrade import found_revision

    target = parse_target(database)
    if target.path is not None and not target.path.exists():
        typer.echo(f"{target}: there is no such file yet; this version makes schema {HEAD}")
        return
    typer.echo(f"{target}: schema {found_revision(target) or 'none'}; this version needs {HEAD}")


def upgrade(
    database: Database = None,
    backup: Annotated[bool, typer.Option(help="Copy a SQLite file first.")] = True,  # noqa: FBT002  # an option
) -> None:
    """Bring the database to this version's schema. A SQLite file is copied first; all rows are kept."""
    from langchain_tokens.store.target import parse_target
    from langchain_tokens.store.upgrade import upgrade_store

    done = upgrade_store(parse_target(database), backup=backup)
    if done.before == done.after:
        typer.echo(f"schema {done.after} already: nothing to do")
        return
    typer.echo(f"schema {done.before or 'none'} → {done.after}; {done.calls:,} calls kept")
    if done.backup is not None:
        typer.echo(f"the file as it was: {done.backup}")
