"""Which is cheaper, what will it come to, and what was unusual? `compare`, `forecast` and `unusual`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_tokens.cli.opening import nothing_found, opened
from langchain_tokens.cli.options import Asked, Shown, Without, filters
from langchain_tokens.cli.output import say_document
from langchain_tokens.cli.tables import columns_of, say_report, say_sentences
from langchain_tokens.cli.terminal import look
from langchain_tokens.errors import QueryError
from langchain_tokens.query import EQUALITY_FILTERS

if TYPE_CHECKING:
    from langchain_tokens.reports.comparison import Comparison
    from langchain_tokens.reports.samples import Variant

__all__ = ("COMPARE_EXAMPLES", "FORECAST_EXAMPLES", "UNUSUAL_EXAMPLES", "compare", "forecast", "unusual")

COMPARE_EXAMPLES = """\b
A side is a model's name, DIMENSION=NAME, tag:KEY=VALUE, or a range SINCE..UNTIL.
Examples:
  langchain-tokens compare gpt-4o gpt-4o-mini --unit call --chain sql_fix
  langchain-tokens compare tag:variant=a tag:variant=b --since 7d
  langchain-tokens compare 2026-11-01..2026-11-08 2026-11-08..2026-11-15"""
FORECAST_EXAMPLES = """\b
Examples:
  langchain-tokens forecast
  langchain-tokens forecast --until week --measure tokens --agent Researcher"""
UNUSUAL_EXAMPLES = """\b
Exit codes: 0 whether or not something was found; with --fail-found 1 where something was; 1 for a failure.
Examples:
  langchain-tokens unusual
  langchain-tokens unusual --fail-found > found.txt || mail -s "unusual tokens" ops < found.txt
  langchain-tokens unusual --by session --since 7d --measure cost"""
_RANGE = ".."
_TAG = "tag:"
_USUAL_RANGE = "30d"
_FOUND = 1
_BESIDE = 8
"""Characters of a variant's name that are left in any case."""
_FIRST_COLUMN, _LEAST = 24, 18
Confidence = Annotated[float, typer.Option(help="Of the intervals, such as 0.9.")]


class Unit(StrEnum):
    """What is compared."""

    RUN = "run"
    CALL = "call"


class Measure(StrEnum):
    """What is looked at."""

    TOKENS = "tokens"
    COST = "cost"
    CALLS = "calls"
    INPUT = "input"
    OUTPUT = "output"


_MEASURES = ", ".join(Measure)


class Every(StrEnum):
    """Parts of time."""

    HOUR = "hour"
    DAY = "day"


def compare(
    *,
    variants: Annotated[list[str], typer.Argument(metavar="SIDE", help="Two sides or more.")],
    unit: Annotated[Unit, typer.Option(help="Compare whole runs, or single calls.")] = Unit.RUN,
    confidence: Confidence = 0.95,
    asked: Asked,
    shown: Shown,
) -> None:
    """Compare variants, models or ranges. Medians side by side, and whether they differ by more than chance."""
    from langchain_tokens.reports.comparison import compare_variants

    if len(variants) < 2:  # noqa: PLR2004  # one has nothing beside it
        raise QueryError(f"compare needs at least two sides; found {variants[0]!r} alone")
    sides = _short([_variant(text, asked) for text in variants])
    with opened(asked.database) as store:
        found = compare_variants(store, sides, unit=unit.value, confidence=confidence)
        is_empty = not any(variant.calls for variant in found.variants) and not any(
            store.breakdown(**side.filters).total.calls
            for side in sides  # runs of several sides are left out
        )
        if shown.json:
            say_document(database=str(store.target), **asked.document(), **found.to_dict())
        elif not is_empty:
            _say_comparison(found, asked, shown)
        if is_empty:
            nothing_found(store, shown)


def _say_comparison(found: Comparison, asked: Asked, shown: Shown) -> None:
    from langchain_tokens.reports.comparison import side_by_side

    width = look(wide=shown.wide, no_color=shown.no_color).width
    room = None if width is None else max(width, _FIRST_COLUMN + (_BESIDE + 2) * len(found.variants))
    table = side_by_side(found.unit, found.variants, room)
    goes = {heading: place for place, heading in enumerate(table.headings) if place > 2}  # noqa: PLR2004  # two stay
    title, columns = f"{found.unit.capitalize()}s compared · {asked.title()}", columns_of(table, goes, {"": _LEAST})
    notes = [note.replace("unit='call'", "--unit call") for note in found.notes]  # as it is said here
    say_report(title, columns, shown, sentences=found._verdicts(), notes=notes)


def forecast(
    *,
    until: Annotated[
        str, typer.Option(metavar="WHEN", help="The end of the day, week or month (UTC), or a date.")
    ] = "month",
    measure: Annotated[Measure, typer.Option(metavar="NAME", help=f"What to project: {_MEASURES}.")] = Measure.COST,
    confidence: Confidence = 0.8,
    asked: Annotated[Asked, Without(names=("since", "until", "tz"))],
    shown: Shown,
) -> None:
    """Project to the end of the day, week or month (UTC). With an interval, and what it rests on."""
    from langchain_tokens.reports.forecasting import forecast as make_forecast

    with opened(asked.database) as store:
        found = make_forecast(store, until, measure=measure.value, confidence=confidence, **asked.filters())
        is_empty = not (found.calls or found.history_days or found.unknown_history_calls)
        if shown.json:
            say_document(database=str(store.target), filters=asked.names(), **found.to_dict())
        elif not is_empty:
            title = " · ".join([f"Forecast of {measure.value}", *asked.named(), "UTC"])
            say_report(title, columns_of(found._table(), {}), shown, sentences=found._sentences())
        if is_empty:
            nothing_found(store, shown)


def unusual(
    *,
    by: Annotated[
        str, typer.Option(metavar="NAME", help="chain, agent, model, session, run, user … or tag:KEY.")
    ] = "chain",
    every: Annotated[Every, typer.Option(help="Compare hours or days (UTC).")] = Every.DAY,
    measure: Annotated[Measure, typer.Option(metavar="NAME", help=f"What to look at: {_MEASURES}.")] = Measure.TOKENS,
    rate: Annotated[float, typer.Option(help="False alarms: the part of reports that may have one.")] = 0.01,
    fail_found: Annotated[bool, typer.Option("--fail-found", help="Exit code 1 when something was found.")] = False,
    asked: Asked,
    shown: Shown,
) -> None:
    """Find what used far more than usual. What was expected, seen, and what made it; by default of 30 days."""
    from langchain_tokens.reports.anomalies import unusual as find_unusual

    asked = asked.within(_USUAL_RANGE)
    chosen: dict[str, Any] = {"since": None, **asked.filters()}
    chosen.pop("tz", None)  # the range has been read in it; hours and days are UTC's
    with opened(asked.database) as store:
        found = find_unusual(store, by=by, every=every.value, measure=measure.value, rate=rate, **chosen)
        is_empty = not (found.judged or found.not_judged or store.breakdown(**chosen).total.calls)
        if shown.json:
            say_document(database=str(store.target), **asked.document(), **found.to_dict())
        elif not is_empty:
            say_sentences(f"Unusual {measure.value} by {by} · {asked.title()}", found._sentences(), shown)
        if is_empty:
            nothing_found(store, shown)
    if fail_found and found:
        raise typer.Exit(_FOUND)


def _short(sides: Sequence[Variant]) -> Sequence[Variant]:
    """The same with their values for names, where all are of one dimension."""
    parts = [side.label.partition("=") for side in sides]
    if len({dimension for dimension, _, _ in parts}) > 1 or not all(value for _, _, value in parts):
        return sides
    return [replace(side, label=value) for side, (_, _, value) in zip(sides, parts, strict=True)]


def _variant(text: str, asked: Asked) -> Variant:
    """A side of a comparison as it is typed, among the calls that are asked for.

    Raises:
        QueryError: for a moment that is none, or a filter that cannot be one.

    """
    from langchain_tokens.reports.samples import Variant

    dimension, is_named, value = text.partition("=")
    if is_named and dimension.startswith(_TAG) and len(dimension) > len(_TAG):
        chosen = asked.filters()
        tags = {**chosen.get("tags", {}), dimension[len(_TAG) :]: [value]}
        return Variant(label=text, filters={**chosen, "tags": tags})
    if is_named and dimension in EQUALITY_FILTERS:
        return Variant(label=text, filters={**asked.filters(), **filters(**{dimension: [value]})})
    if is_named:
        allowed = ", ".join(EQUALITY_FILTERS)
        raise QueryError(
            f"{text!r} is no side: {dimension!r} is none of {allowed}, tag:KEY; a model is named model=NAME"
        )
    since, is_range, until = text.partition(_RANGE)
    if is_range:
        return Variant(label=text, filters=replace(asked, since=since or None, until=until or None).filters())
    return Variant(label=text, filters={**asked.filters(), "model": [text]})
