"""Which runs or calls belong to a variant, and what did each use? Read within bounds, run by run or call by call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal

from langchain_tokens.breakdown import BreakdownRow
from langchain_tokens.call import Call
from langchain_tokens.errors import QueryError
from langchain_tokens.query import EQUALITY_FILTERS, make_query, missing_label
from langchain_tokens.reports.series import without_zone

if TYPE_CHECKING:
    from langchain_tokens.store.store import UsageStore

__all__ = ("NUMBERS", "Sample", "Unit", "UnitKind", "Variant", "read_samples", "variants_by", "without_mixed")

UnitKind = Literal["run", "call"]
NUMBERS = ("tokens", "input_tokens", "output_tokens", "cost_usd", "duration_ms", "tokens_per_second", "calls")
"""What is known of each run or call."""
_MOST_CALLS: Mapping[UnitKind, int] = {"run": 200_000, "call": 50_000}
"""Calls of a variant that are read: runs are summed by the database, calls are read one by one."""
_MOST_VARIANTS = 10
_BATCH = 1_000
_ANSWERED = ("ok", "cached")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One side of a comparison: what it is called, and which calls it is."""

    label: str
    filters: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One run or call: its numbers by name, None where they are not known."""

    run_id: str
    calls: int
    is_clean: bool
    """Whether every call of it was answered."""
    numbers: Mapping[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The runs or calls of a variant that were read."""

    label: str
    units: tuple[Unit, ...]
    since: datetime | None = None
    """From when on they were read, where there were too many to read all."""
    silent_calls: int = 0
    """Calls that failed and told no usage: their runs count with what the others used."""

    def known(self, name: str) -> list[float]:
        """A number of all runs or calls that know it."""
        return [value for unit in self.units if (value := unit.numbers[name]) is not None]


def variants_by(store: UsageStore, by: str, values: Sequence[Any] | None, filters: Mapping[str, Any]) -> list[Variant]:
    """The variants that a dimension tells apart, in the order given or of their names.

    Raises:
        QueryError: for a dimension that is no filter, or with more variants than a person can compare.

    """
    if not by.startswith("tag:") and by not in set(EQUALITY_FILTERS) - {"run", "status"}:
        allowed = ", ".join(name for name in EQUALITY_FILTERS if name not in ("run", "status"))
        raise QueryError(f"variants cannot be told apart by {by!r}; allowed: {allowed}, or tag:KEY")
    if values is None:
        found = [row.key[by] for row in store.breakdown(by, limit=_MOST_VARIANTS + 2, **filters)]
        values = sorted(str(value) for value in found if value is not None)
    if len(values) > _MOST_VARIANTS:
        raise QueryError(f"{by} has more than {_MOST_VARIANTS} values; name those to compare with values=[...]")
    return [_variant(by, value, filters) for value in values]


def _variant(by: str, value: Any, filters: Mapping[str, Any]) -> Variant:
    label = missing_label(by) if value is None else str(value)
    if not by.startswith("tag:"):
        return Variant(label=label, filters={**filters, by: [value]})
    return Variant(label=label, filters={**filters, "tags": {**(filters.get("tags") or {}), by[4:]: [value]}})


def read_samples(store: UsageStore, variants: Sequence[Variant], unit: UnitKind) -> list[Sample]:
    """The runs or calls of each variant; of very many, the newest."""
    samples = []
    for variant in variants:
        since = _narrowed(store, variant.filters, _MOST_CALLS[unit])
        filters = variant.filters if since is None else {**variant.filters, "since": since}
        read = _runs(store, filters) if unit == "run" else _calls(store, filters)
        samples.append(replace(read, label=variant.label, since=since))
    return samples


def without_mixed(samples: Sequence[Sample]) -> tuple[list[Sample], int]:
    """The samples without the runs that are in several of them, and how many these were."""
    seen: dict[str, int] = {}
    for sample in samples:
        for run_id in {unit.run_id for unit in sample.units}:
            seen[run_id] = seen.get(run_id, 0) + 1
    mixed = {run_id for run_id, times in seen.items() if times > 1}
    kept = [
        replace(sample, units=tuple(unit for unit in sample.units if unit.run_id not in mixed)) for sample in samples
    ]
    return kept, len(mixed)


def _narrowed(store: UsageStore, filters: Mapping[str, Any], most: int) -> datetime | None:
    """From when on there are no more calls than can be read, or the last hour; None where that is all of them."""
    since = make_query((), filters).since
    if store.breakdown(**filters).total.calls <= most:
        return None
    for step in ("day", "hour"):
        rows = store.timeline(step, **{**without_zone(filters), "since": since})
        moments = [datetime.fromisoformat(str(row.key[step])).replace(tzinfo=UTC) for row in rows]
        newest = list(accumulate(row.calls for row in reversed(rows)))
        fitting = sum(calls <= most for calls in newest)
        since = moments[-(fitting or 1)] if since is None else max(since, moments[-(fitting or 1)])
        if fitting:
            break
    return since


def _runs(store: UsageStore, filters: Mapping[str, Any]) -> Sample:
    groups: dict[str, list[BreakdownRow]] = {}
    for row in store.breakdown("run", "status", **filters):
        groups.setdefault(str(row.key["run"]), []).append(row)
    silent = sum(row.calls_without_usage for rows in groups.values() for row in rows if not _is_answered(row))
    units = tuple(_run(run_id, rows) for run_id, rows in sorted(groups.items()))
    return Sample(label="", units=units, silent_calls=silent)


def _run(run_id: str, rows: Sequence[BreakdownRow]) -> Unit:
    answered = [row for row in rows if _is_answered(row)]
    knows_tokens = not any(row.calls_without_usage for row in answered)
    knows_cost = not any(row.unpriced_calls for row in answered)
    speeds = [row.tokens_per_second for row in rows if row.key["status"] == "ok"]
    calls = sum(row.calls for row in rows)
    numbers = {
        "tokens": _sum(rows, "total_tokens") if knows_tokens else None,
        "input_tokens": _sum(rows, "input_tokens") if knows_tokens else None,
        "output_tokens": _sum(rows, "output_tokens") if knows_tokens else None,
        "cost_usd": _sum(rows, "cost_usd") if knows_cost else None,
        "duration_ms": _sum(rows, "duration_ms"),
        "tokens_per_second": speeds[0] if speeds else None,
        "calls": float(calls),
    }
    is_clean = sum(row.calls for row in answered) == calls
    return Unit(run_id=run_id, calls=calls, is_clean=is_clean, numbers=numbers)


def _is_answered(row: BreakdownRow) -> bool:
    return row.key["status"] in _ANSWERED


def _sum(rows: Iterable[BreakdownRow], field: str) -> float | None:
    known = [getattr(row, field) for row in rows if getattr(row, field) is not None]
    return float(sum(known)) if known else None


def _calls(store: UsageStore, filters: Mapping[str, Any]) -> Sample:
    batches = store.batches(make_query((), filters), _BATCH)
    return Sample(label="", units=tuple(_call(call) for batch in batches for call in batch))


def _call(call: Call) -> Unit:
    usage = call.usage
    numbers: dict[str, float | None] = {
        "tokens": None if usage is None else usage.total_tokens,
        "input_tokens": None if usage is None else usage.input_tokens,
        "output_tokens": None if usage is None else usage.output_tokens,
        "cost_usd": None if call.cost_usd is None else float(call.cost_usd),
        "duration_ms": call.duration_ms,
        "tokens_per_second": call.tokens_per_second,
        "calls": 1.0,
    }
    return Unit(run_id=call.run_id, calls=1, is_clean=call.status in _ANSWERED, numbers=numbers)
