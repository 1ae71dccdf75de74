"""Is what is stored right, and what would it cost? `check` and `reprice`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from langchain_tokens.cli.options import Database, Since, Until, filters

__all__ = ("check", "reprice")


def check(
    database: Database = None,
    since: Since = None,
    until: Until = None,
    session: Annotated[str | None, typer.Option(help="Only calls of this session.")] = None,
) -> None:
    """Derive counts again from the raw usage and sums from their parts; exit code 1 where something differs."""
    from langchain_tokens import open_store

    found = open_store(database).check(**filters(since=since, until=until, session=session))
    typer.echo(str(found))
    if not found.is_clean:
        raise typer.Exit(1)


def reprice(
    database: Database = None,
    since: Since = None,
    until: Until = None,
    model: Annotated[str | None, typer.Option(help="Only calls of this model.")] = None,
    as_model: Annotated[str | None, typer.Option(help="What if this model had served them? Never written.")] = None,
    as_provider: Annotated[str | None, typer.Option(help="What if this provider had?")] = None,
    at: Annotated[str, typer.Option(help="Prices of which time: call (each call's own) or now.")] = "call",
    write: Annotated[bool, typer.Option(help="Write costs where there were none.")] = False,  # noqa: FBT002  # an option
    overwrite: Annotated[bool, typer.Option(help="With --write: replace costs too; the old ones are kept.")] = False,  # noqa: FBT002
    reason: Annotated[str | None, typer.Option(help="Kept with the old costs.")] = None,
) -> None:
    """Price stored calls again and show what would change; nothing is written unless asked."""
    from langchain_tokens import open_store

    chosen: dict[str, Any] = dict(filters(since=since, until=until, model=model))
    found = open_store(database).reprice(
        at=at, as_model=as_model, as_provider=as_provider, write=write, overwrite=overwrite, reason=reason, **chosen
    )
    typer.echo(str(found))
