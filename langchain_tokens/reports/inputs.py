"""What fills the input? The tokens of system prompts, tools, history, results and questions, by agent or another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from langchain_tokens.call import plain
from langchain_tokens.inputs import PARTS
from langchain_tokens.query import make_query, missing_label
from langchain_tokens.render import UNKNOWN, Table, html_table, text_table

if TYPE_CHECKING:
    from langchain_tokens.store.store import UsageStore

__all__ = ("InputShare", "InputShares", "input_shares")

_HEADINGS = ("calls", "input", "system", "tools", "history", "results", "human", "other")
_WIDTHS = (5, 9, 6, 5, 7, 7, 5, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputShare:
    """What fills the inputs of one group of calls; tokens."""

    name: str | int | None
    """Whose; None where calls have no such name, and for the total."""
    calls: int
    uncovered_calls: int
    """Those of them that were not inspected, or whose input is unknown: in none of the numbers below."""
    input_tokens: int | None
    """The sum of the parts; None where no call was inspected."""
    parts: Mapping[str, int]
    """Tokens by part, for all of `PARTS`; empty where no call was inspected."""

    def share(self, part: str) -> float | None:
        """A part of the input, 0 to 1; None where no input is known."""
        return self.parts[part] / self.input_tokens if self.input_tokens else None


@dataclass(frozen=True, slots=True, kw_only=True)
class InputShares:
    """The answer of `input_shares`, the largest input first."""

    by: str
    rows: tuple[InputShare, ...]
    total: InputShare
    is_estimate: bool = True
    """Always: shares are counted with tiktoken, and scaled to what the provider counted."""

    def __str__(self) -> str:
        return text_table(self._table())

    def _repr_html_(self) -> str:
        return html_table(self._table())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values: `by`, `is_estimate`, `rows` and `total`."""
        document: dict[str, Any] = plain(asdict(self))
        return document

    def _table(self) -> Table:
        rows = [_line(_shown(self.by, row.name), row) for row in self.rows]
        return Table(
            headings=(self.by, *_HEADINGS),
            rows=(*rows, _line("total", self.total)),
            names=1,
            notes=_notes(self.total),
            widths=_WIDTHS,
        )


def input_shares(store: UsageStore, by: str = "agent", **filters: Any) -> InputShares:
    """Add up what fills the inputs of the calls that a handler with `inspect_inputs=True` saw.

    Args:
        store: where they are.
        by: a dimension, as of `UsageStore.breakdown`.
        filters: which calls; reads the rows of these, so name a range for large stores.

    Raises:
        QueryError: for an unknown dimension or filter, or a time whose rows were pruned.

    """
    from langchain_tokens.store.inputs import read_inputs
    from langchain_tokens.store.reach import answered

    query = make_query((by,), filters)
    with store._reading() as connection:
        found = answered(connection, query, partial(read_inputs, connection, parts=PARTS), is_of_rows=True)
    rows = [_share(row[0], row._mapping) for row in found]
    rows.sort(key=_largest_first)
    return InputShares(by=by, rows=tuple(rows), total=_total(rows))


def _share(name: str | int | None, sums: Mapping[Any, Any]) -> InputShare:
    total = sums["input_tokens"]
    return InputShare(
        name=name,
        calls=sums["calls"],
        uncovered_calls=sums["uncovered_calls"],
        input_tokens=None if total is None else int(total),  # PostgreSQL sums bigints as numeric
        parts={} if total is None else {part: int(sums[f"part_{part}"] or 0) for part in PARTS},
    )


def _total(rows: list[InputShare]) -> InputShare:
    known = [row for row in rows if row.input_tokens is not None]
    return InputShare(
        name=None,
        calls=sum(row.calls for row in rows),
        uncovered_calls=sum(row.uncovered_calls for row in rows),
        input_tokens=sum(row.input_tokens or 0 for row in known) if known else None,
        parts={part: sum(row.parts[part] for row in known) for part in PARTS} if known else {},
    )


def _largest_first(row: InputShare) -> tuple[int, int, str]:
    return -(row.input_tokens or 0), -row.calls, str(row.name or "")


def _shown(by: str, name: str | int | None) -> str:
    return missing_label(by) if name is None else str(name)


def _line(name: str, row: InputShare) -> tuple[str, ...]:
    tokens = UNKNOWN if row.input_tokens is None else f"{row.input_tokens:,}"
    shares = (row.share(part) for part in PARTS)
    return name, f"{row.calls:,}", tokens, *(UNKNOWN if share is None else f"{share:.0%}" for share in shares)


def _notes(total: InputShare) -> tuple[str, ...]:
    estimate = ("shares are an estimate, scaled to the counted input",) if total.input_tokens is not None else ()
    if not total.uncovered_calls:
        return estimate
    missing = f"{total.uncovered_calls:,} of {total.calls:,} calls are not covered"
    return (*estimate, f"{missing}: TokenUsageHandler(inspect_inputs=True) looks at new ones")
