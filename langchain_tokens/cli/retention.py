"""How long is it kept? Old rows pruned, and sums derived again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_tokens.cli.asking import ask
from langchain_tokens.cli.options import Database, Json
from langchain_tokens.cli.output import hint, say, say_document
from langchain_tokens.errors import QueryError, StoreError
from langchain_tokens.render import counted

if TYPE_CHECKING:
    from langchain_tokens.store.contents import PrunedContent
    from langchain_tokens.store.pruning import Pruned
    from langchain_tokens.store.store import UsageStore
    from langchain_tokens.store.target import StoreTarget

__all__ = ("PRUNE_EXAMPLES", "REBUILD_EXAMPLES", "prune", "rebuild_rollups")

PRUNE_EXAMPLES = """\b
Days are whole days in UTC. Each goes in a transaction of its own: after a failure, the same command goes on.
Examples:
  langchain-tokens db prune --older-than 90d --dry-run
  langchain-tokens db prune --older-than 90d --export calls-2026.parquet --yes
  langchain-tokens db prune --older-than 2026-01-01 --no-keep-rollups --vacuum
  langchain-tokens db prune --older-than 7d --only-content --yes"""
REBUILD_EXAMPLES = """\b
Sums of a time whose rows were pruned are all that is left of it, and stay.
Examples:
  langchain-tokens db rebuild-rollups
  langchain-tokens db rebuild-rollups --db usage.db --json"""
_DATE = "%Y-%m-%d"
_MEGABYTE = 1_000_000


def prune(
    older_than: Annotated[str, typer.Option("--older-than", help="What goes: 90d, 2026-08-25; the cut is a midnight.")],
    keep_rollups: Annotated[
        bool, typer.Option("--keep-rollups/--no-keep-rollups", help="Keep the sums of that time; else they go too.")
    ] = True,
    export: Annotated[Path | None, typer.Option(help="Write the calls to this Parquet file before they go.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,  # an option
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    vacuum: Annotated[bool, typer.Option("--vacuum", help="Make an SQLite file smaller afterwards.")] = False,
    only_content: Annotated[
        bool, typer.Option("--only-content", help="Only what was said in those calls; all else stays.")
    ] = False,
    database: Database = None,
    json: Json = False,
) -> None:
    """Delete old calls and runs. Their sums are kept, unless you say otherwise, so that totals stay what they were."""
    from langchain_tokens.cli.opening import opened
    from langchain_tokens.store.space import free_bytes
    from langchain_tokens.store.target import parse_target

    target = parse_target(database)
    if vacuum and target.path is None:
        raise StoreError(f"--vacuum is for SQLite; {_SERVER}")
    if only_content:
        if export is not None or not keep_rollups:
            raise QueryError("--only-content leaves calls and sums as they are: without --export, --no-keep-rollups")
        _prune_content(older_than, database, _Ways(dry_run=dry_run, yes=yes, vacuum=vacuum, json=json))
        return
    terms: dict[str, Any] = {"keep_rollups": keep_rollups, "export": export}
    with opened(database) as store:
        found = store.prune(older_than, dry_run=True, **terms)
        goes = bool(found.calls or found.runs or not keep_rollups)
        has_more = goes or _is_begun(export)
        if has_more and not dry_run:
            if goes and not yes:
                ask([f"{target}: {_summary(found, 'would go')}"], "nothing was deleted")
            found = _prune(store, found, terms)
    given_back = _vacuum(target) if vacuum and not dry_run else None
    free = free_bytes(target)
    if json:
        _say_as_json(found, target, is_done=not dry_run, free_bytes=free, given_back_bytes=given_back)
        return
    say(_summary(found, "would go" if dry_run else "deleted") if has_more else f"nothing is older than {_cut(found)}")
    for line in _hints(found, target, free, given_back) if has_more and not dry_run else ():
        hint(line)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ways:
    dry_run: bool
    yes: bool
    vacuum: bool
    json: bool


def _prune_content(older_than: str, database: str | None, ways: _Ways) -> None:
    """Delete what was said in old calls alone."""
    from langchain_tokens.cli.opening import opened
    from langchain_tokens.store.space import free_bytes

    with opened(database) as store:
        target = store.target
        found = store.prune_content(older_than, dry_run=True)
        said = f"what was said in {counted(found.contents, 'call')} from before {_cut(found)}; calls and sums stay"
        if found.contents and not ways.dry_run:
            if not ways.yes:
                ask([f"{target}: would go: {said}"], "nothing was deleted")
            found = store.prune_content(found.before)
    given_back = _vacuum(target) if ways.vacuum and not ways.dry_run else None
    free = free_bytes(target)
    if ways.json:
        counts = {"before": found.before, "contents": found.contents}
        say_document(database=str(target), **counts, free_bytes=free, given_back_bytes=given_back)
        return
    done = f"{'would go' if ways.dry_run else 'deleted'}: {said}"
    say(done if found.contents else f"nothing was kept of what was said before {_cut(found)}")
    for line in _space(target, free, given_back) if found.contents and not ways.dry_run else ():
        hint(line)


def rebuild_rollups(database: Database = None, json: Json = False) -> None:  # an option
    """Derive all kept sums again. They are compared with the rows before and after; says what was wrong."""
    from langchain_tokens.cli.opening import opened

    with opened(database) as store:
        wrong = store.rebuild_rollups()
    if json:
        say_document(mended_numbers=wrong)
    else:
        numbers = "1 number was" if wrong == 1 else f"{wrong:,} numbers were"
        say(f"derived again; {numbers} wrong, and none is now" if wrong else "derived again; no number was wrong")


_SERVER = (
    "PostgreSQL's autovacuum makes the space free for new rows by itself; at once, and with fresh statistics: "
    "VACUUM (ANALYZE) llm_call"
)


def _is_begun(export: Path | None) -> bool:
    """Whether an interrupted prune left calls beside a file, which is to be made of them."""
    from langchain_tokens.exporting import Parts

    return export is not None and Parts(export).is_begun


def _prune(store: UsageStore, found: Pruned, terms: Mapping[str, Any]) -> Pruned:
    """Delete what was found; who interrupts it is told where the calls are."""
    try:
        return store.prune(found.before, **terms)
    except KeyboardInterrupt as error:
        if error.args:
            hint(f"interrupted: {error}")
        raise


def _vacuum(target: StoreTarget) -> int:
    from langchain_tokens.store.space import vacuum

    return vacuum(target)


def _summary(found: Pruned, what: str) -> str:
    calls = counted(found.calls, "call")
    runs = counted(found.runs, "run")
    since = "" if found.first is None else f", the first of {found.first:{_DATE}}"
    sums = "their sums are kept" if found.kept else "with all sums of that time"
    return f"{what}: {calls} and {runs} from before {_cut(found)}{since}; {sums}"


def _cut(found: Pruned | PrunedContent) -> str:
    return f"{found.before:{_DATE}} (midnight UTC)"


def _hints(found: Pruned, target: StoreTarget, free: int | None, given_back: int | None) -> list[str]:
    return [*([] if found.export is None else [f"the calls are in {found.export}"]), *_space(target, free, given_back)]


def _space(target: StoreTarget, free: int | None, given_back: int | None) -> list[str]:
    lines: list[str] = []
    if given_back is not None:
        lines.append(f"the file is {given_back / _MEGABYTE:,.1f} MB smaller")
    elif free is None:
        lines.append(_SERVER)
    elif free:
        command = f"sqlite3 '{target.path}' VACUUM"
        lines.append(
            f"{free / _MEGABYTE:,.1f} MB of the file are free for new rows; to give them back: --vacuum, or {command}"
        )
    return lines


def _say_as_json(found: Pruned, target: StoreTarget, **more: Any) -> None:
    export = None if found.export is None else str(found.export)
    counts = {"before": found.before, "first": found.first, "calls": found.calls, "runs": found.runs}
    say_document(database=str(target), **counts, keeps_sums=found.kept, export=export, **more)
