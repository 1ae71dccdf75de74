"""Which is cheaper, what will it come to, and what was unusual? `compare`, `forecast` and `unusual`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from langchain_tokens.cli.options import (
    Agent,
    Chain,
    Database,
    Json,
    Model,
    Provider,
    Session,
    Since,
    Until,
    filters,
)
from langchain_tokens.cli.output import hint, say, say_document
from langchain_tokens.errors import QueryError
from langchain_tokens.query import EQUALITY_FILTERS

if TYPE_CHECKING:
    from langchain_tokens.reports.samples import Variant

__all__ = ("COMPARE_EXAMPLES", "FORECAST_EXAMPLES", "UNUSUAL_EXAMPLES", "compare", "forecast", "unusual")

COMPARE_EXAMPLES = """\b
Examples:
  langchain-tokens compare gpt-4o gpt-4o-mini --unit call --chain sql_fix
  langchain-tokens compare tag:variant=a tag:variant=b --since 7d
  langchain-tokens compare 2026-11-01..2026-11-08 2026-11-08..2026-11-15"""
FORECAST_EXAMPLES = """\b
Examples:
  langchain-tokens forecast
  langchain-tokens forecast --until week --measure tokens --agent Researcher"""
UNUSUAL_EXAMPLES = """\b
Exit codes: 0 whether or not something was found; 1 for a failure.
Examples:
  langchain-tokens unusual
  langchain-tokens unusual --by session --since 7d --measure cost"""
_RANGE = ".."
_TAG = "tag:"
Measure = Literal["tokens", "cost", "calls", "input", "output"]
Confidence = Annotated[float, typer.Option(help="Of the intervals, such as 0.9.")]


def compare(
    variants: Annotated[
        list[str],
        typer.Argument(metavar="A B ...", help="Models, DIMENSION=NAME, tag:KEY=VALUE, or ranges SINCE..UNTIL."),
    ],
    database: Database = None,
    since: Since = None,
    until: Until = None,
    session: Session = None,
    agent: Agent = None,
    chain: Chain = None,
    model: Model = None,
    provider: Provider = None,
    unit: Annotated[Literal["run", "call"], typer.Option(help="Compare whole runs, or single calls.")] = "run",
    confidence: Confidence = 0.95,
    json: Json = False,  # an option
) -> None:
    """Compare variants, models or ranges. Medians side by side, and whether they differ by more than chance."""
    from langchain_tokens.cli.opening import opened, why_nothing
    from langchain_tokens.reports.comparison import compare_variants

    chosen = filters(
        since=since, until=until, session=session, agent=agent, chain=chain, model=model, provider=provider
    )
    if len(variants) < 2:  # noqa: PLR2004  # one has nothing beside it
        raise QueryError(f"compare needs at least two variants; found {variants[0]!r} alone")
    sides = _short([_variant(text, chosen) for text in variants])
    with opened(database) as store:
        found = compare_variants(store, sides, unit=unit, confidence=confidence)
        nothing = None if any(variant.calls for variant in found.variants) else why_nothing(store)
    if json:
        say_document(**found.to_dict())
    else:
        say(str(found))
    if nothing:
        hint(nothing)


def forecast(
    database: Database = None,
    until: Annotated[str, typer.Option(help="The end of the day, week or month, or a date.")] = "month",
    measure: Annotated[Measure, typer.Option(help="What to project.")] = "cost",
    session: Session = None,
    agent: Agent = None,
    chain: Chain = None,
    model: Model = None,
    provider: Provider = None,
    confidence: Confidence = 0.8,
    json: Json = False,
) -> None:
    """Project to the end of the day, week or month (UTC). With an interval, and what it rests on."""
    from langchain_tokens.cli.opening import opened, why_nothing
    from langchain_tokens.reports.forecasting import forecast as make_forecast

    chosen = filters(session=session, agent=agent, chain=chain, model=model, provider=provider)
    with opened(database) as store:
        found = make_forecast(store, until, measure=measure, confidence=confidence, **_any(chosen))
        nothing = None if found.projected is not None else why_nothing(store)
    if json:
        say_document(**found.to_dict())
    else:
        say(str(found))
    if nothing:
        hint(nothing)


def unusual(
    database: Database = None,
    by: Annotated[str, typer.Option(help="chain, agent, model, session, run, user ... or tag:KEY.")] = "chain",
    every: Annotated[Literal["hour", "day"], typer.Option(help="Compare hours or days (UTC).")] = "day",
    since: Annotated[str, typer.Option(help="From when on: 30d, 2026-11-01.")] = "30d",
    until: Until = None,
    measure: Annotated[Measure, typer.Option(help="What to look at.")] = "tokens",
    rate: Annotated[float, typer.Option(help="False alarms: the part of reports that may have one.")] = 0.01,
    session: Session = None,
    agent: Agent = None,
    chain: Chain = None,
    model: Model = None,
    provider: Provider = None,
    json: Json = False,
) -> None:
    """Find what used far more than usual. Each with what was expected, what was seen, and what made it."""
    from langchain_tokens.cli.opening import opened, why_nothing
    from langchain_tokens.reports.anomalies import unusual as find_unusual

    chosen = filters(until=until, session=session, agent=agent, chain=chain, model=model, provider=provider)
    with opened(database) as store:
        found = find_unusual(store, by=by, every=every, since=since, measure=measure, rate=rate, **_any(chosen))
        nothing = None if found.judged or found.not_judged else why_nothing(store)
    if json:
        say_document(**found.to_dict())
    else:
        say(str(found))
    if nothing:
        hint(nothing)


def _any(chosen: dict[str, str]) -> dict[str, Any]:
    return {**chosen}


def _short(sides: list[Variant]) -> list[Variant]:
    """The same with their values for names, where all are of one dimension."""
    parts = [side.label.partition("=") for side in sides]
    if len({dimension for dimension, _, _ in parts}) > 1 or not all(value for _, _, value in parts):
        return sides
    return [replace(side, label=value) for side, (_, _, value) in zip(sides, parts, strict=True)]


def _variant(text: str, chosen: dict[str, str]) -> Variant:
    """A side of a comparison as it is typed.

    Raises:
        QueryError: for a dimension that is no filter, or a moment that is none.

    """
    from langchain_tokens.reports.samples import Variant

    dimension, is_named, value = text.partition("=")
    if is_named and dimension.startswith(_TAG):
        return Variant(label=text, filters={**chosen, "tags": {dimension[len(_TAG) :]: value}})
    if is_named and dimension in EQUALITY_FILTERS:
        return Variant(label=text, filters={**chosen, **filters(**{dimension: value})})
    since, is_range, until = text.partition(_RANGE)
    if is_range:
        return Variant(label=text, filters={**chosen, **filters(since=since or None, until=until or None)})
    return Variant(label=text, filters={**chosen, "model": text})
