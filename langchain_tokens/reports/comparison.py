"""Which variant uses less, and is that more than chance? Medians side by side, their differences with intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from langchain_tokens.call import plain
from langchain_tokens.errors import QueryError
from langchain_tokens.money import reckoned
from langchain_tokens.render import UNKNOWN, Table, counted, html_table, text_table
from langchain_tokens.reports.analytics import require_analytics
from langchain_tokens.reports.quantities import WIDTH, Number, as_number, percent, shown, sure, wrapped
from langchain_tokens.reports.resampling import rate_interval
from langchain_tokens.reports.samples import (
    NUMBERS,
    Sample,
    Unit,
    UnitKind,
    Variant,
    read_samples,
    variants_by,
    without_mixed,
)
from langchain_tokens.reports.verdicts import Difference, differences, phrase
from langchain_tokens.repricing import shortened

if TYPE_CHECKING:
    from langchain_tokens.store.store import UsageStore

__all__ = ("Compared", "Comparison", "Outcome", "Spread", "compare", "compare_variants", "side_by_side")

_MEASURES = ("tokens", "cost_usd", "duration_ms", "tokens_per_second", "calls")
_SIDE_BY_SIDE = 3
"""Variants that stand beside the first one in a table that fits a terminal."""
_FIRST_COLUMN = 24
Outcomes = Mapping[str, Mapping[str, float]] | Callable[[str], Mapping[str, float] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """One measure over the runs or calls of a variant that know it. Money in USD, times in ms."""

    measure: str
    known: int
    unknown: int
    """Runs or calls that are left out, since nobody knows the number."""
    median: Number | None
    mean: Number | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The application's own results of a variant, and what one result took; over runs that know both."""

    name: str
    runs: int
    """Runs that said how many."""
    total: float
    tokens_per_result: Number | None
    cost_usd_per_result: Number | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One variant."""

    label: str
    units: int
    """Runs, or calls where calls are compared."""
    calls: int
    calls_per_unit: float | None
    success_rate: float | None
    """The part of the runs or calls without a call that failed or was cancelled, 0 to 1."""
    success_low: float | None
    success_high: float | None
    spreads: tuple[Spread, ...]
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The answer of `compare`: each variant, and how far each is from the first."""

    unit: UnitKind
    variants: tuple[Compared, ...]
    differences: tuple[Difference, ...]
    confidence: float
    """Of all intervals of a measure together."""
    notes: tuple[str, ...]

    def __str__(self) -> str:
        """The variants side by side, then each difference as a sentence."""
        if not self.variants:
            return "nothing to compare: no call has such a value"
        said = wrapped(self._sentences())
        tables = [text_table(table) for table in self._tables()]
        return "\n\n".join([*tables, "\n".join(said)]).rstrip()

    def _repr_html_(self) -> str:
        tables = self._tables()
        tables[-1] = replace(tables[-1], notes=self._sentences())
        return "".join(html_table(table) for table in tables)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-able values: money as text, unknown as null."""
        said: dict[str, Any] = plain(asdict(self))
        return said

    def _sentences(self) -> tuple[str, ...]:
        return (*self._verdicts(), *self.notes)

    def _verdicts(self) -> tuple[str, ...]:
        """Each once: that there is too little may be so for all measures of a pair."""
        return tuple(dict.fromkeys(difference.verdict for difference in self.differences))

    def _tables(self) -> list[Table]:
        if len(self.variants) < 2:  # noqa: PLR2004  # one has nothing beside it
            return [side_by_side(self.unit, self.variants)]
        first, others = self.variants[0], self.variants[1:]
        starts = range(0, len(others), _SIDE_BY_SIDE)
        return [side_by_side(self.unit, (first, *others[start : start + _SIDE_BY_SIDE])) for start in starts]


def compare(
    store: UsageStore,
    by: str = "tag:variant",
    *,
    a: Mapping[str, Any] | None = None,
    b: Mapping[str, Any] | None = None,
    values: Sequence[Any] | None = None,
    unit: UnitKind = "run",
    measures: Sequence[str] = _MEASURES,
    outcomes: Outcomes | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    **filters: Any,
) -> Comparison:
    """Compare variants of a prompt, models on the same work, or two ranges of time.

    Args:
        store: where the calls are.
        by: what tells the variants apart: `tag:KEY`, `model`, `chain` or another dimension that is a filter.
        a: instead of `by`, the filters of the first side, such as `{"since": "2026-11-01", "until": "2026-11-08"}`.
        b: the filters of the other side.
        values: which variants, the first being what the others are compared with; None is all, in order of name.
        unit: what is compared: whole runs (calls of a variant added up by run), or single calls.
        measures: any of `tokens, input_tokens, output_tokens, cost_usd, duration_ms, tokens_per_second, calls`.
        outcomes: the application's own results of each run, `{run_id: {"entities": 12}}` or a function of the run's
            id; compared like the measures, with tokens and USD for each result.
        confidence: of the intervals; with several variants, of all intervals of a measure together (Bonferroni).
        seed: of the bootstrap, so that the same data give the same answer.
        filters: which calls, as in `UsageStore.breakdown`.

    Raises:
        QueryError: for a question that cannot be asked.
        MissingExtraError: without the extra `analytics`.

    """
    if (a is None) != (b is None):
        raise QueryError("a= and b= belong together: filters for each side")
    if a is not None and b is not None:
        variants = [Variant(label=_label(side), filters={**filters, **side}) for side in (a, b)]
    else:
        variants = variants_by(store, by, values, filters)
    return compare_variants(
        store, variants, unit=unit, measures=measures, outcomes=outcomes, confidence=confidence, seed=seed
    )


@reckoned
def compare_variants(
    store: UsageStore,
    variants: Sequence[Variant],
    *,
    unit: UnitKind = "run",
    measures: Sequence[str] = _MEASURES,
    outcomes: Outcomes | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """As `compare`, for variants whose filters have nothing in common."""
    _check(unit, measures, confidence, outcomes)
    measures = [measure for measure in measures if (measure, unit) != ("calls", "call")]  # each is one
    require_analytics("compare()")
    samples, mixed = read_samples(store, variants, unit), 0
    if unit == "run":
        samples, mixed = without_mixed(samples)
    results = _results(samples, outcomes)
    names = tuple(dict.fromkeys(name for numbers in results.values() for name in numbers))
    samples = [replace(sample, units=tuple(_with(item, names, results) for item in sample.units)) for sample in samples]
    found = differences(samples, (*measures, *names), unit, confidence, seed)
    return Comparison(
        unit=unit,
        variants=tuple(_compared(sample, measures, names, confidence) for sample in samples),
        differences=found,
        confidence=confidence,
        notes=tuple(_notes(samples, (*measures, *names), unit, mixed, confidence)),
    )


def _check(unit: object, measures: Sequence[str], confidence: object, outcomes: object) -> None:
    if unit not in ("run", "call"):
        raise QueryError(f"unit={unit!r}; allowed: 'run', 'call'")
    asked = [measures] if isinstance(measures, str) else list(measures)
    unknown = [name for name in asked if name not in NUMBERS]
    if unknown or isinstance(measures, str):
        raise QueryError(f"measures has {(unknown or asked)[0]!r}; allowed: a list of {', '.join(NUMBERS)}")
    if type(confidence) is not float or not 0.5 <= confidence <= 0.999:  # noqa: PLR2004  # what resamples can tell
        raise QueryError(f"confidence={confidence!r}; expected a number from 0.5 to 0.999")
    if unit == "call" and outcomes is not None:
        raise QueryError("outcomes= are those of runs; unit='call' compares calls")


def _label(side: Mapping[str, Any]) -> str:
    """What a side is called: a range by its ends, another filter by its value."""
    said = plain(dict(side))
    ends = [str(said.pop(name, "") or "") for name in ("since", "until")]
    named = [f"{name} {value}" for name, value in said.items() if value is not None]
    return ", ".join([*named, *(["..".join(ends)] if any(ends) else [])]) or "all"


def _results(samples: Sequence[Sample], outcomes: Outcomes | None) -> dict[str, Mapping[str, float]]:
    """The application's results of each run that has some.

    Raises:
        QueryError: for a result that is no number, or has the name of a measure.

    """
    if outcomes is None:
        return {}
    ask = outcomes.get if isinstance(outcomes, Mapping) else outcomes
    ids = {unit.run_id for sample in samples for unit in sample.units}
    found = {run_id: ask(run_id) or {} for run_id in sorted(ids)}
    for run_id, results in found.items():
        for name, value in results.items():
            if name in NUMBERS or isinstance(value, bool) or not isinstance(value, (int, float)):
                raise QueryError(
                    f"the outcome {name!r} of run {run_id!r} is {value!r}; expected a number by a free name"
                )
    return found


def _with(unit: Unit, names: Iterable[str], results: Mapping[str, Mapping[str, float]]) -> Unit:
    said = results.get(unit.run_id, {})
    return replace(unit, numbers={**unit.numbers, **{name: said.get(name) for name in names}})


def _compared(sample: Sample, measures: Sequence[str], names: Sequence[str], confidence: float) -> Compared:
    units, calls = len(sample.units), sum(unit.calls for unit in sample.units)
    clean = sum(unit.is_clean for unit in sample.units)
    low, high = rate_interval(clean, units, confidence) if units else (None, None)
    return Compared(
        label=sample.label,
        units=units,
        calls=calls,
        calls_per_unit=calls / units if units else None,
        success_rate=clean / units if units else None,
        success_low=low,
        success_high=high,
        spreads=tuple(_spread(sample, measure) for measure in (*measures, *names)),
        outcomes=tuple(_outcome(sample, name) for name in names),
    )


def _spread(sample: Sample, measure: str) -> Spread:
    known = sample.known(measure)
    return Spread(
        measure=measure,
        known=len(known),
        unknown=len(sample.units) - len(known),
        median=as_number(measure, float(median(known))) if known else None,
        mean=as_number(measure, fmean(known)) if known else None,
    )


def _outcome(sample: Sample, name: str) -> Outcome:
    said = sample.known(name)
    return Outcome(
        name=name,
        runs=len(said),
        total=float(sum(said)),
        tokens_per_result=_each(sample, "tokens", name),
        cost_usd_per_result=_each(sample, "cost_usd", name),
    )


def _each(sample: Sample, measure: str, name: str) -> Number | None:
    """What one result took, over the runs that know both."""
    both = [
        (used, result)
        for unit in sample.units
        if (used := unit.numbers[measure]) is not None and (result := unit.numbers[name]) is not None
    ]
    results = sum(result for _, result in both)
    return as_number(measure, sum(used for used, _ in both) / results) if results > 0 else None


def _notes(
    samples: Sequence[Sample], measures: Sequence[str], unit: UnitKind, mixed: int, confidence: float
) -> Iterable[str]:
    if mixed:
        yield f"{counted(mixed, 'run')} with calls of several variants left out; unit='call' compares single calls"
    for sample in samples:
        if sample.since is not None:
            yield f"{sample.label}: very many calls; read from {sample.since:%Y-%m-%d %H:%M} UTC on"
        if sample.silent_calls:
            silent = counted(sample.silent_calls, "failed call")
            yield f"{sample.label}: {silent} without usage; their runs count without them"
        counts: dict[int, list[str]] = {}
        for measure in measures:
            unknown = sum(item.numbers[measure] is None for item in sample.units)
            counts.setdefault(unknown, []).append(phrase(measure).noun)
        of_all = counted(len(sample.units), unit)
        for unknown, nouns in counts.items():
            if unknown:
                yield f"{sample.label}: {', '.join(nouns)} unknown for {unknown:,} of {of_all}, left out there"
    others = len(samples) - 1
    if others > 1:
        told = f"each of {others} is compared with {samples[0].label}"
        yield f"{told}; their intervals of one measure hold together at {sure(confidence)}"
    if unit == "call" and any(len({item.run_id for item in sample.units}) < len(sample.units) for sample in samples):
        yield "calls of one run are alike, which these intervals do not know: they may be too narrow"


def side_by_side(unit: UnitKind, variants: Sequence[Compared], width: int | None = WIDTH) -> Table:
    """Variants as the columns of a table, their names cut to a width; None leaves them as they are."""
    rows: list[tuple[str, ...]] = [(f"{unit}s", *(f"{one.units:,}" for one in variants))]
    if unit == "run":
        rows.append(("calls per run", *(shown(one.calls_per_unit) for one in variants)))
    rows.append(
        ("without failure", *(UNKNOWN if one.success_rate is None else percent(one.success_rate) for one in variants))
    )
    for spreads in zip(*(one.spreads for one in variants), strict=True):
        noun = phrase(spreads[0].measure).noun
        rows += [
            (f"{noun}, median", *(shown(spread.median, spread.measure) for spread in spreads)),
            ("  mean", *(shown(spread.mean, spread.measure) for spread in spreads)),
        ]
    for results in zip(*(one.outcomes for one in variants), strict=True):
        rows += [
            (f"tokens per {results[0].name}", *(shown(result.tokens_per_result) for result in results)),
            (f"USD per {results[0].name}", *(shown(result.cost_usd_per_result, "cost_usd") for result in results)),
        ]
    labels = [one.label for one in variants]
    if width is not None:
        most = (width - _FIRST_COLUMN) // (len(variants) or 1) - 2
        labels = [shortened(label, most) for label in labels]
    headings = ("", *labels)
    return Table(headings=headings, rows=tuple((shortened(row[0], _FIRST_COLUMN), *row[1:]) for row in rows), names=1)
