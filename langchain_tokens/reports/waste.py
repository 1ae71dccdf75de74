"""What was spent in vain, and what could be saved? Findings with tokens, US dollars, and the one line that mends it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from langchain_tokens.call import plain
from langchain_tokens.making import maker
from langchain_tokens.money import reckoned, sum_of
from langchain_tokens.query import Query, make_query, missing_label
from langchain_tokens.render import UNKNOWN, Table, clean, counted, html_table
from langchain_tokens.reports.chances import Chance, chances
from langchain_tokens.reports.spent import Spent, Used, read_spent

if TYPE_CHECKING:
    from langchain_tokens.prices import PriceBook
    from langchain_tokens.store.settling import Looked
    from langchain_tokens.store.store import UsageStore

__all__ = ("KINDS", "Finding", "Findings", "Wasted", "findings")

_WIDTH = 79
_SHOWN = 20
"""Findings that a text shows."""
_BY = ("chain", "agent", "model", "provider")
_NUMBERS = ("calls", "tokens", "usd", "unpriced_calls")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """What one kind of finding says."""

    what: str
    remedy: str
    is_waste: bool = True
    """Whether it counts as wasted: no call is in two findings of this sort."""
    is_estimate: bool = False


KINDS: Mapping[str, _Kind] = {
    "failed": _Kind(
        what="failed",
        remedy="see why: store.calls(status='error'); a failure that stays should not be retried",
    ),
    "cancelled": _Kind(
        what="were given up before the answer was complete",
        remedy="set a timeout or max_tokens that fits, and start fewer calls side by side than will be waited for",
    ),
    "retries": _Kind(
        what="were answered, and made again by a retry around them",
        remedy="put with_retry or RetryPolicy on the step that fails, not around those that succeeded before it",
    ),
    "replays": _Kind(
        what="were answered, and made again when a run was resumed",
        remedy="call models in a node of their own before the one that interrupts: what stands above it runs again",
    ),
    "unusable": _Kind(
        what="were answered with what the application could not use, and said so",
        remedy="ask for the form that is needed: model.with_structured_output(...), or an example in the prompt",
        is_estimate=True,  # which error is about the answer is told by its text
    ),
    "repeats": _Kind(
        what="asked, word for word, what had been answered before",
        remedy="keep answers: set_llm_cache(SQLiteCache()), unless different answers to one question are wanted",
    ),
    "truncated": _Kind(
        what="were cut off at the limit of tokens",
        remedy="raise max_tokens, or ask for shorter answers; half an answer costs as much as that half",
        is_waste=False,
    ),
    "uncached": _Kind(
        what="sent again what the provider's cache could have held",
        remedy="begin prompts with what stays the same; Anthropic's and Bedrock's need cache_control or cachePoint",
        is_waste=False,
        is_estimate=True,
    ),
    "growth": _Kind(
        what="sent an input that grew with each turn",
        remedy="cut history down: trim_messages(...), or SummarizationMiddleware in create_agent",
        is_waste=False,
        is_estimate=True,
    ),
    "dearer": _Kind(
        what="could be made on a cheaper model of the same provider",
        remedy="try it on your own cases first; store.savings() compares call by call",
        is_waste=False,
        is_estimate=True,
    ),
}
"""Kind → what it says of some calls, and what mends it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was in vain, or could be saved, at one place; None in a name is a call without it."""

    kind: str
    """One of `KINDS`."""
    chain: str | None
    agent: str | None
    model: str | None
    provider: str | None
    calls: int
    tokens: int | None
    """Tokens that were in vain or could be saved; None where nobody knows."""
    usd: Decimal | None
    """What they cost, US dollars; None where nobody knows."""
    unpriced_calls: int
    """Calls that `usd` does not cover."""
    what: str
    """What is the matter with these calls."""
    remedy: str
    """The one line that mends it."""
    is_waste: bool
    """Whether it counts in `Findings.total_wasted`: each call once. Other findings may be about the same calls."""
    is_estimate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Wasted:
    """What findings of waste add up to, each call once."""

    calls: int
    tokens: int | None
    usd: Decimal | None
    unpriced_calls: int
    """Calls that `usd` does not cover."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """The answer of `findings`, most US dollars first."""

    rows: tuple[Finding, ...]
    calls: int
    """All calls that were looked at."""
    cost_usd: Decimal | None
    """What they cost, as far as it is known."""
    unpriced_calls: int

    @property
    def total_wasted(self) -> Wasted:
        """What was in vain, each call counted once; savings (`is_waste` false) overlap with it and are not in it."""
        waste = [row for row in self.rows if row.is_waste]
        tokens = [row.tokens for row in waste if row.tokens is not None]
        usd = [row.usd for row in waste if row.usd is not None]
        return Wasted(
            calls=sum(row.calls for row in waste),
            tokens=sum(tokens) if tokens else None,
            usd=sum_of(usd) if usd else None,
            unpriced_calls=sum(row.unpriced_calls for row in waste),
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.rows)

    def __str__(self) -> str:
        return "\n".join(line for said in self._lines() for line in _wrapped(said))

    def _lines(self) -> Iterator[str]:
        """What is found, a line for each thing that is said, however long."""
        yield from _summary(self)
        for row in self.rows[:_SHOWN]:
            yield from ("", *_told(row))
        more = len(self.rows) - _SHOWN
        if more > 0:
            yield from ("", f"and {more:,} more findings of less")

    def _repr_html_(self) -> str:
        headings = ("finding", "where", "remedy", "calls", "tokens", "USD")
        rows = tuple((row.what, _where(row), row.remedy, *_numbers(row)) for row in self.rows)
        return html_table(Table(headings=headings, rows=rows, names=3, notes=_summary(self)))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values: `calls`, `cost_usd`, `unpriced_calls`, `total_wasted`, `findings`."""
        document: dict[str, Any] = plain(
            {
                "calls": self.calls,
                "cost_usd": self.cost_usd,
                "unpriced_calls": self.unpriced_calls,
                "total_wasted": asdict(self.total_wasted),
            }
        )
        document["findings"] = [_record(row) for row in self.rows]
        return document


_SAID = {kind: asdict(known) for kind, known in KINDS.items()}
_make_finding = maker(Finding)
_FIELDS = tuple(item.name for item in fields(Finding))
_values_of: Callable[[Finding], tuple[Any, ...]] = attrgetter(*_FIELDS)


def _record(row: Finding) -> dict[str, Any]:
    """Plain JSON-able values; there are hundreds of findings, and nothing in them but text, numbers and money."""
    values = zip(_FIELDS, _values_of(row), strict=True)
    return {name: format(value, "f") if isinstance(value, Decimal) else value for name, value in values}


@reckoned
def findings(store: UsageStore, *, prices: PriceBook | None = None, **filters: Any) -> Findings:
    """Look for what was spent in vain and what could be saved.

    Args:
        store: where the calls are.
        prices: what could be saved is priced by it; None is the store's own, else the usual one.
        filters: which calls; name a range (`since="30d"`) for large stores.

    Raises:
        QueryError: for an unknown filter, or a time whose rows were pruned.

    """
    from langchain_tokens.repricing import usual_prices
    from langchain_tokens.store.rows import from_pico

    query, book, now = make_query((), filters), usual_prices(prices or store._prices), datetime.now(UTC)
    read = _read(store, query, now)
    saved = map(_from_chance, chances(read.spent.used, read.repeating, book))
    rows = [*_failures(read.spent.used), *map(_from_row, read.wasted), *saved]
    return Findings(
        rows=tuple(sorted(_merged(rows), key=_dearest_first)),
        calls=read.spent.calls,
        cost_usd=from_pico(read.spent.cost),
        unpriced_calls=read.spent.unpriced_calls,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """What the store says, all of one state."""

    wasted: Sequence[Any]
    repeating: Sequence[Any]
    spent: Spent


def _read(store: UsageStore, query: Query, now: datetime) -> _Read:
    """Read at once where nothing is left to settle. What follows from it is found out without the connection."""
    from langchain_tokens.store.settling import look, settle

    with store._reading() as connection:
        looked = look(connection, query, now)
        if looked.is_whole:
            return _read_looked(connection, query, now, looked)
    settle(store._ready(), store.target, query, now)
    with store._reading() as connection:
        return _read_looked(connection, query, now, look(connection, query, now))


def _read_looked(connection: Any, query: Query, now: datetime, looked: Looked) -> _Read:
    from langchain_tokens.store.marks import read_repeated, read_repeating
    from langchain_tokens.store.reach import answered
    from langchain_tokens.store.settling import read_settled_waste

    read = partial(answered, connection, query, is_of_rows=True)
    settled = read(partial(read_settled_waste, connection, now=now, looked=looked))
    return _Read(
        wasted=[*settled, *read(partial(read_repeated, connection))],
        repeating=read(partial(read_repeating, connection, parts=("system", "tools", "history"))),
        spent=read(partial(read_spent, connection)),
    )


def _failures(used: Iterable[Used]) -> Iterator[Finding]:
    """Calls that failed or were given up."""
    from langchain_tokens.store.rows import from_pico

    kinds = {"error": "failed", "cancelled": "cancelled"}
    for row in used:
        kind = kinds.get(str(row.status))
        if kind is not None:
            numbers = {"tokens": row.total_tokens, "usd": from_pico(row.total_cost)}
            yield _finding(kind, row.who, calls=row.calls, unpriced_calls=row.unpriced_calls, **numbers)


def _merged(rows: Iterable[Finding]) -> list[Finding]:
    """One finding for each kind and place: some calls are found in several ways, and in several parts of the range."""
    alike: dict[tuple[Any, ...], list[Finding]] = {}
    for row in rows:
        alike.setdefault((row.kind, row.chain, row.agent, row.model, row.provider), []).append(row)
    return [
        same[0]
        if len(same) == 1
        else replace(same[-1], **{name: _known_sum(getattr(row, name) for row in same) for name in _NUMBERS})
        for same in alike.values()
    ]


def _known_sum(values: Iterable[Any]) -> Any:
    known = [value for value in values if value is not None]
    return sum(known[1:], known[0]) if known else None


def _from_row(row: Any) -> Finding:
    from langchain_tokens.store.rows import from_pico

    return _finding(
        row.kind,
        (row.chain_name, row.agent_name, row.model_name, row.provider),
        calls=row.calls,
        tokens=None if row.total_tokens is None else int(row.total_tokens),  # PostgreSQL sums bigints as numeric
        usd=from_pico(row.total_cost),
        unpriced_calls=row.calls - row.priced_calls,
    )


def _from_chance(chance: Chance) -> Finding:
    values = {item.name: getattr(chance, item.name) for item in fields(chance)}
    said, who = values.pop("what"), [values.pop(name) for name in _BY]
    made = _finding(values.pop("kind"), who, **values)
    return made if said is None else replace(made, what=said)


def _finding(kind: str, who: Iterable[Any], **numbers: Any) -> Finding:
    return _make_finding(kind=kind, **dict(zip(_BY, who, strict=True)), **numbers, **_SAID[kind])


def _dearest_first(row: Finding) -> tuple[Any, ...]:
    names = tuple(str(getattr(row, name) or "") for name in _BY)
    return row.usd is None, -(row.usd or 0), -(row.tokens or 0), -row.calls, row.kind, names


def _where(row: Finding) -> str:
    """Who it is about; what is said of a model alone names no chain."""
    if row.kind == "dearer":
        return f"{row.provider}/{row.model}"
    names = [(name, getattr(row, name)) for name in ("agent", "chain", "model")]
    return ", ".join(f"{name} {missing_label(name) if value is None else value}" for name, value in names)


def _numbers(row: Finding) -> tuple[str, str, str]:
    tokens = UNKNOWN if row.tokens is None else f"{row.tokens:,}"
    return f"{row.calls:,}", tokens, UNKNOWN if row.usd is None else f"{row.usd:,.6f}"


def _summary(found: Findings) -> tuple[str, ...]:
    wasted = found.total_wasted
    cost = "cost an unknown amount" if found.cost_usd is None else f"cost {found.cost_usd:,.6f} USD"
    said = f"{counted(found.calls, 'call')} {cost}; {wasted.calls:,} of them were in vain"
    said += f", and used {_amounts(wasted.usd, wasted.tokens)}" if wasted.calls else ""
    gaps = [(found.unpriced_calls, "of all"), (wasted.unpriced_calls, "of those in vain")]
    missing = [f"{count:,} {which}" for count, which in gaps if count]
    lines = [said, *([f"without a price, so in no sum: {', '.join(missing)}"] if missing else [])]
    if any(not row.is_waste for row in found):
        lines.append("what could be saved may be about the same calls twice, and is in no total")
    return tuple(lines)


def _told(row: Finding) -> Iterator[str]:
    about = "" if row.is_waste else "to be saved: "
    estimate = " (an estimate)" if row.is_estimate else ""
    yield f"{about}{_amounts(row.usd, row.tokens)} in {counted(row.calls, 'call')}{estimate}"
    yield f"  {_where(row)}: {row.what}"
    yield f"  -> {row.remedy}"


def _amounts(usd: Decimal | None, tokens: int | None) -> str:
    """What is known of money and tokens."""
    known = [] if usd is None else [f"{usd:,.6f} USD"]
    known += [] if tokens is None else [counted(tokens, "token")]
    return ", ".join(known) or "an unknown amount"


def _wrapped(line: str) -> Sequence[str]:
    """A line on as many as it needs; what is said of a finding stands to the right."""
    return textwrap.wrap(clean(line), _WIDTH, subsequent_indent="     " if line.startswith(" ") else "") or [""]
