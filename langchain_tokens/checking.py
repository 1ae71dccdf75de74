"""Is what is stored right? Counts derived again from the raw usage, sums from their parts and from the rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from langchain_tokens.call import Call
from langchain_tokens.money import sum_of
from langchain_tokens.query import make_query
from langchain_tokens.shapes import read
from langchain_tokens.store.store import UsageStore
from langchain_tokens.usage import COUNTS

__all__ = ("Check", "Difference", "check")

_BATCH = 1_000
_SHOWN = 20
_SAID_BESIDE_RAW = frozenset({"billed_units_only", "usage_missing"})
"""Flags of what the raw usage alone does not say: that its units are no tokens, that its zeros are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One value that is stored, and another that should be."""

    row: str
    """The id of the call or the run, or the table and key of sums."""
    column: str
    stored: Any
    derived: Any

    def __str__(self) -> str:
        """Which, what and what instead."""
        return f"{self.row}  {self.column}: stored {self.stored}, derived {self.derived}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The answer of `UsageStore.check`."""

    calls: int
    calls_without_raw: int
    """Calls whose counts cannot be derived again, since no raw usage came with them."""
    differences: tuple[Difference, ...]

    @property
    def is_clean(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def __str__(self) -> str:
        """One sentence, and a line for each difference."""
        head = f"{self.calls:,} calls checked, {self.calls_without_raw:,} of them without raw usage"
        found = f"{len(self.differences):,} differences" if self.differences else "no differences"
        more = len(self.differences) - _SHOWN
        lines = [f"{head}: {found}", *(f"  {item}" for item in self.differences[:_SHOWN])]
        return "\n".join([*lines, f"  … and {more:,} more"] if more > 0 else lines)


def check(store: UsageStore, filters: dict[str, Any]) -> Check:
    """Check the calls that the filters match, the totals of all runs, and all sums that are kept."""
    calls = without_raw = 0
    differences: list[Difference] = []
    for batch in store.batches(make_query((), filters), _BATCH):
        calls += len(batch)
        without_raw += sum(call.raw_usage is None for call in batch)
        differences += [item for call in batch for item in (*_counts(call), *_parts(call))]
    sums = (
        Difference(row=row, column=column, stored=stored, derived=right)
        for row, column, stored, right in (*store.wrong_totals(), *store.wrong_rollups())
    )
    left = (
        Difference(row=call_id, column="llm_call_content", stored="what was said", derived="no such call")
        for call_id in store.contents_without_call()
    )
    return Check(calls=calls, calls_without_raw=without_raw, differences=(*differences, *sums, *left))


def _counts(call: Call) -> Iterator[Difference]:
    """Counts that the raw usage says otherwise; what it leaves unsaid came with the answer in another way."""
    stored = call.saved_usage if call.status == "cached" else call.usage
    if call.raw_usage is None or stored is None or call.usage_source == "missing":
        return
    if not _SAID_BESIDE_RAW.isdisjoint(call.usage_flags):
        return
    derived = read(call.raw_usage).usage
    for name in COUNTS if derived is not None else ():
        right, found = getattr(derived, name), getattr(stored, name)
        if right is not None and right != found:
            yield Difference(row=call.call_id, column=name, stored=found, derived=right)


def _parts(call: Call) -> Iterator[Difference]:
    """Sums that are not those of their parts."""
    usage = call.usage
    if usage is not None and "total_mismatch" not in call.usage_flags:
        known = (usage.input_tokens, usage.output_tokens, usage.total_tokens)
        if None not in known and usage.total_tokens != (usage.input_tokens or 0) + (usage.output_tokens or 0):
            right = (usage.input_tokens or 0) + (usage.output_tokens or 0)
            yield Difference(row=call.call_id, column="total_tokens", stored=usage.total_tokens, derived=right)
    parts = (call.input_cost_usd, call.output_cost_usd, call.other_cost_usd)
    if call.cost_usd is not None and any(part is not None for part in parts):
        summed = sum_of(part for part in parts if part is not None)
        if summed != call.cost_usd:
            yield Difference(row=call.call_id, column="total_cost", stored=call.cost_usd, derived=summed)
