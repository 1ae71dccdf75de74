"""What do stored calls lack, and what would supply it? `doctor`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain as chain_of
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_tokens.cli.options import Asked, FailEmpty, Json
from langchain_tokens.cli.output import NOTHING_MATCHED, hint, say, say_document

if TYPE_CHECKING:
    from langchain_tokens.call import Call
    from langchain_tokens.doctor import Diagnosis
    from langchain_tokens.store.store import UsageStore

__all__ = ("EXAMPLES", "doctor")

EXAMPLES = """\b
Examples:
  langchain-tokens doctor
  langchain-tokens doctor --since 30d --chain sql_fix
  langchain-tokens doctor --last 500 --json"""
_USUAL_RANGE = "7d"
_BATCH = 1_000
_SHOWN = 20


def doctor(
    *,
    last: Annotated[int | None, typer.Option(min=1, help="The newest N calls only.")] = None,
    asked: Asked,
    json: Json = False,
    fail_empty: FailEmpty = False,
) -> None:
    """Say what stored calls lack. Usage, prices, names, each with the line that supplies it; by default of 7 days."""
    from langchain_tokens.cli.opening import opened, why_nothing
    from langchain_tokens.doctor import diagnose

    since, until = asked.since, asked.until
    if since is None and until is None and last is None:
        since = _USUAL_RANGE
    chosen = {**asked.filters(), **({} if since is None else {"since": since})}
    with opened(asked.database) as store:
        found = diagnose(chain_of.from_iterable(_batches(store, last, chosen)))
        nothing = None if found.calls else why_nothing(store)
    looked_at = _range(since, until, last)
    if json:
        findings = [asdict(finding) for finding in found]
        said = {"since": since, "until": until, "last": last, "calls": found.calls}
        unanswered = found.unanswered_calls
        say_document(database=str(store.target), **said, unanswered_calls=unanswered, findings=findings)
    elif nothing is None:
        say(f"{store.target}, {looked_at}:")
        _show(found)
    if nothing:
        hint(f"nothing to look at, {looked_at}: {nothing}")
        raise typer.Exit(NOTHING_MATCHED if fail_empty else 0)


def _batches(store: UsageStore, last: int | None, chosen: dict[str, Any]) -> Iterator[Sequence[Call]]:
    """The calls, few at a time: a database may hold more than memory."""
    from langchain_tokens.query import make_query

    if last is None:
        yield from store.batches(make_query((), chosen), _BATCH)
        return
    for offset in range(0, last, _BATCH):
        batch = store.calls(limit=min(_BATCH, last - offset), offset=offset, **chosen)
        if not batch:
            return
        yield batch


def _show(found: Diagnosis) -> None:
    from langchain_tokens.doctor import Diagnosis

    say(str(Diagnosis(list(found)[:_SHOWN], found.calls, found.unanswered_calls)))
    if len(found) > _SHOWN:
        hint(f"and {len(found) - _SHOWN:,} more findings with fewer calls; --json has them all")


def _range(since: str | None, until: str | None, last: int | None) -> str:
    parts = [
        "" if last is None else f"the newest {last:,} calls",
        "" if since is None else f"since {since}",
        "" if until is None else f"until {until}",
    ]
    return " ".join(part for part in parts if part)
