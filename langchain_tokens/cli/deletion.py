"""What goes for good, since somebody says so? `delete`: the calls of a session, a user, a run, a range."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from langchain_tokens.cli.asking import ask
from langchain_tokens.cli.figures import count
from langchain_tokens.cli.opening import opened, why_nothing
from langchain_tokens.cli.options import Asked, FailEmpty, Json
from langchain_tokens.cli.output import NOTHING_MATCHED, hint, say, say_document
from langchain_tokens.errors import QueryError, StoreError
from langchain_tokens.query import Query, make_query
from langchain_tokens.render import counted

if TYPE_CHECKING:
    from langchain_tokens.store.doomed import Doomed
    from langchain_tokens.store.store import UsageStore

__all__ = ("DELETE_EXAMPLES", "delete")

DELETE_EXAMPLES = """\b
There is no way back but a copy: langchain-tokens db backup. Everything goes with --until 2100-01-01;
rows that are old, with their sums kept: langchain-tokens db prune.
Examples:
  langchain-tokens delete --session s-17 --dry-run
  langchain-tokens delete --user ann --yes
  langchain-tokens delete --until 2026-01-01 --tag team=a"""
_OTHERWISE = "nothing was deleted"
_DATE = "%Y-%m-%d %H:%M"


def delete(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    asked: Asked,
    json: Json = False,
    fail_empty: FailEmpty = False,
) -> None:
    """Delete the calls that match, and runs that have no call left. Says what goes, and asks; one filter at least."""
    query = _query(asked)
    with opened(asked.database) as store:
        found = _doomed(store, query)
        if not (found.is_nothing or dry_run):
            if not yes:
                ask([f"{store.target}, {asked.title()}", *_lines(found, "would go", asked)], _OTHERWISE)
            found = _delete(store, query, None if yes else found)
        if json:
            said = {**asked.document(), "is_dry_run": dry_run}
            say_document(database=str(store.target), **said, **asdict(found))
        elif not found.is_nothing:
            first, *more = _lines(found, "would go" if dry_run else "deleted", asked)
            say(first)
            for line in more:
                hint(line)
        if found.is_nothing:
            hint(f"{_OTHERWISE}: {why_nothing(store)}")
            raise typer.Exit(NOTHING_MATCHED if fail_empty else 0)


def _query(asked: Asked) -> Query:
    """What is asked for.

    Raises:
        QueryError: for nothing at all, which would be everything.

    """
    query = make_query((), asked.filters())
    if query == Query():
        raise QueryError(
            "delete needs a filter, such as --session s-17 or --until 2026-01-01; for everything: --until 2100-01-01"
        )
    return query


def _doomed(store: UsageStore, query: Query) -> Doomed:
    from langchain_tokens.store.doomed import read_doomed

    with store._reading(is_long=True) as connection:
        return read_doomed(connection, query)


def _delete(store: UsageStore, query: Query, shown: Doomed | None) -> Doomed:
    """Delete in one transaction with what is counted.

    Args:
        store: where.
        query: what.
        shown: what somebody said yes to; None for whatever there is.

    Raises:
        StoreError: where that is not what there is now; nothing is deleted then.

    """
    from langchain_tokens.store.doomed import read_doomed
    from langchain_tokens.store.retention import delete as delete_rows
    from langchain_tokens.store.schema import storing

    with storing(store._ready(), store.target, is_long=True) as connection:
        found = read_doomed(connection, query)
        deleted = found.calls if shown not in (None, found) else delete_rows(connection, query)
        if shown is not None and (shown, shown.calls) != (found, deleted):
            raise StoreError(
                f"{_OTHERWISE}: {counted(max(found.calls, deleted), 'call')} match now, and {shown.calls:,} were shown;"
                " to leave out what is recorded meanwhile, say until when: --until"
            )
    return replace(found, calls=deleted)


def _lines(found: Doomed, what: str, asked: Asked) -> list[str]:
    """What goes, in one line, and what else has to be known of it."""
    calls = f"{counted(found.calls, 'call')} of {counted(found.runs, 'run')} and {counted(found.sessions, 'session')}"
    empty = f", and {counted(found.empty_runs, 'run')} without a call" if found.empty_runs else ""
    lines = [f"{what}: {calls}{_amounts(found)}{empty}"]
    if found.first_call_at is not None and found.last_call_at is not None:
        ends = (each.astimezone(asked.zone).strftime(_DATE) for each in (found.first_call_at, found.last_call_at))
        lines.append(f"from {' to '.join(ends)}")
    kept = (
        (found.dropped_calls, "of which only sums are left: they go, too"),
        (found.unnamed_calls, "of which only sums are left: these stay, as of calls without that name"),
    )
    lines += [f"also {counted(calls, 'call')} {how}" for calls, how in kept if calls]
    if found.leaves_sums:
        lines.append("of calls that were pruned the sums stay as they are: which of them match can no longer be told")
    return lines


def _amounts(found: Doomed) -> str:
    if not found.calls:
        return ""
    tokens = f"{count(found.total_tokens)} tokens{_without(found.calls_without_usage, 'complete usage')}"
    usd = "no price" if found.cost_usd is None else f"{found.cost_usd:,.6f} USD"
    return f", {tokens}, {usd}{_without(found.unpriced_calls if found.cost_usd is not None else 0, 'a price')}"


def _without(calls: int, what: str) -> str:
    return f" ({counted(calls, 'call')} without {what})" if calls else ""
