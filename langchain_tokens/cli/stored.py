"""Is what is stored right, and what would it cost? `check` and `reprice`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_tokens.cli.options import Asked, FailEmpty, Json, Prices
from langchain_tokens.cli.output import NOTHING_MATCHED, hint, say, say_document

if TYPE_CHECKING:
    from langchain_tokens.repricing import Repriced, Repricing

__all__ = ("CHECK_EXAMPLES", "REPRICE_EXAMPLES", "check", "reprice")

CHECK_EXAMPLES = """\b
Exit codes: 0 nothing differs, 1 something differs or there was nothing to check.
Examples:
  langchain-tokens check
  langchain-tokens check --since 7d --json"""
REPRICE_EXAMPLES = """\b
Examples:
  langchain-tokens reprice --since 30d
  langchain-tokens reprice --as-model gpt-4o-mini --as-provider openai
  langchain-tokens reprice --prices my-prices.toml --write
  langchain-tokens reprice --write --overwrite --reason "new contract\""""


def check(*, asked: Asked, json: Json = False) -> None:
    """Check what is stored. Counts are derived again from the raw usage, sums from their parts; shows what differs."""
    from langchain_tokens.cli.opening import opened, why_nothing

    chosen = asked.filters()
    with opened(asked.database) as store:
        found = store.check(**chosen)
        nothing = None if found.calls else why_nothing(store)
    if json:
        is_clean = None if nothing else found.is_clean
        differences = [asdict(difference) for difference in found.differences]
        counts = {"calls": found.calls, "calls_without_raw": found.calls_without_raw}
        say_document(is_clean=is_clean, **counts, differences=differences)
    else:
        say("0 calls checked: nothing is known about them" if nothing and found.is_clean else str(found))
    if nothing:
        hint(nothing)
    if nothing or not found.is_clean:
        raise typer.Exit(1)


def reprice(
    *,
    as_model: Annotated[str | None, typer.Option(help="What if this model had served them? Never written.")] = None,
    as_provider: Annotated[str | None, typer.Option(help="What if this provider had? Never written.")] = None,
    at: Annotated[
        str, typer.Option(help="Prices of which time: call (each call's own), now, or a date; only call is written.")
    ] = "call",
    prices: Prices = None,
    write: Annotated[bool, typer.Option("--write", help="Write costs where there were none.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="With --write: replace costs too; the old ones are kept.")
    ] = False,
    reason: Annotated[str | None, typer.Option(help="Kept with the old costs.")] = None,
    asked: Asked,
    json: Json = False,
    fail_empty: FailEmpty = False,
) -> None:
    """Price stored calls again. Shows what would change, in US dollars; nothing is written unless asked."""
    from langchain_tokens import PriceBook
    from langchain_tokens.cli.names import near_models
    from langchain_tokens.cli.opening import opened, why_nothing

    chosen = asked.filters()
    book = PriceBook(prices)
    with opened(asked.database) as store:
        found = store.reprice(
            prices=book,
            at=_moment(at, asked.tz),
            as_model=as_model,
            as_provider=as_provider,
            write=write,
            overwrite=overwrite,
            reason=reason,
            **chosen,
        )
        nothing = None if found.total.calls else why_nothing(store)
    _show(found, as_json=json)
    if nothing:
        hint(nothing)
        raise typer.Exit(NOTHING_MATCHED if fail_empty else 0)
    if as_model is not None and found.total.unpriceable_calls == found.total.calls:
        hint(near_models(book, as_model, as_provider))


def _moment(at: str, zone: str | None) -> str | datetime:
    from langchain_tokens.query import parse_moment
    from langchain_tokens.zones import parse_zone

    return at if at in ("call", "now") else parse_moment(at, datetime.now(UTC), "at", parse_zone(zone or "UTC"))


def _show(found: Repricing, *, as_json: bool) -> None:
    if not as_json:
        say(str(found))
        return
    total = _record(found.total)
    del total["model"]
    say_document(
        is_estimate=found.is_estimate,
        written_calls=found.written_calls,
        rows=[_record(row) for row in found.rows],
        total=total,
    )


def _record(row: Repriced) -> dict[str, Any]:
    return {**asdict(row), "difference_usd": row.difference_usd}
