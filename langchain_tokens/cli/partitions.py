"""How are the calls of a PostgreSQL store partitioned by time, in a terminal?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from langchain_tokens.cli.options import Database, Json
from langchain_tokens.cli.output import hint, say, say_document

if TYPE_CHECKING:
    from langchain_tokens.store.partitioning import Partitioning

__all__ = ("PARTITION_EXAMPLES", "partition")

PARTITION_EXAMPLES = """\b
Examples:
  langchain-tokens db partition --db postgresql://owner@db.example.com/usage --dry-run
  langchain-tokens db partition --db postgresql://owner@db.example.com/usage --by month
  langchain-tokens db partition --db postgresql://owner@db.example.com/usage --undo"""


def partition(
    database: Database = None,
    by: Annotated[str | None, typer.Option(help="month, week or day; else as it is, at first a month.")] = None,
    ahead: Annotated[int, typer.Option(help="How many partitions after the present one.")] = 12,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be made; change nothing.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Make it a plain table again; no call is lost.")] = False,
    json: Json = False,  # an option
) -> None:
    """Partition PostgreSQL's calls by time. Again: adds the partitions that are missing, such as ahead."""
    from langchain_tokens.errors import QueryError
    from langchain_tokens.store.partitioning import partition_store, unpartition_store
    from langchain_tokens.store.target import parse_target

    if undo and (dry_run or by is not None):
        raise QueryError("--undo stands alone")
    target = parse_target(database)
    if undo:
        calls = unpartition_store(target)
        if json:
            say_document(database=str(target), calls=calls)
        else:
            say(f"one plain table, {calls:,} calls")
        return
    done = partition_store(target, by=by, ahead=ahead, dry_run=dry_run)
    if json:
        _say_document(str(target), done, is_dry_run=dry_run)
    else:
        _say(done, is_dry_run=dry_run)


def _say_document(database: str, done: Partitioning, *, is_dry_run: bool) -> None:
    made = [
        {"name": new.partition.name, "since": new.partition.since, "until": new.partition.until, "calls": new.calls}
        for new in done.made
    ]
    say_document(
        database=database,
        by=done.by,
        was_partitioned=done.was_partitioned,
        is_dry_run=is_dry_run,
        partitions=made,
        calls_in_rest=done.in_rest,
    )


def _say(done: Partitioning, *, is_dry_run: bool) -> None:
    for new in done.made:
        since, until = new.partition.since.date(), new.partition.until.date()
        say(f"{new.partition.name}  from {since} until {until}: {new.calls:,} calls")
    count = f"{len(done.made)} partition{'' if len(done.made) == 1 else 's'}"
    if not done.made and done.was_partitioned:
        hint(f"partitioned by {done.by} already, nothing is missing")
    elif is_dry_run:
        hint(f"would make {count} by {done.by}; nothing was changed")
    else:
        hint(f"made {count} by {done.by}, verified: {done.calls:,} calls in them, {done.in_rest:,} in the rest")
