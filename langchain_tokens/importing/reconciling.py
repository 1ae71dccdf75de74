"""Does what is stored agree with the bill? Each day and model as the provider reports it, beside the stored sums."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_tokens.breakdown import BreakdownRow
from langchain_tokens.call import plain
from langchain_tokens.errors import FormatError, QueryError
from langchain_tokens.importing.reports import Reported, read_report
from langchain_tokens.money import less, reckoned
from langchain_tokens.render import UNKNOWN, Table, csv_table, text_table
from langchain_tokens.repricing import usual_prices
from langchain_tokens.usage import TokenUsage

if TYPE_CHECKING:
    from langchain_tokens.prices import PriceBook
    from langchain_tokens.store.store import UsageStore

__all__ = ("Reconciled", "Reconciliation", "reconcile")

_ALL = "(all models)"
_Key = tuple[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """One day and model: what the provider reports, and what is stored. None is unknown."""

    day: str | None
    """UTC; None is all days."""
    model: str | None
    """None is all models."""
    reported_requests: int | None = None
    reported_input_tokens: int | None = None
    reported_output_tokens: int | None = None
    reported_cost_usd: Decimal | None = None
    is_listed: bool = False
    """Whether that cost is what the reported tokens would cost by the prices known here, since no report says it."""
    stored_calls: int = 0
    stored_input_tokens: int | None = None
    stored_output_tokens: int | None = None
    stored_cost_usd: Decimal | None = None
    stored_calls_without_usage: int = 0
    stored_unpriced_calls: int = 0

    @property
    def missing_tokens(self) -> int | None:
        """Reported less stored tokens; below 0 where more is stored. None where nothing is reported."""
        if self.reported_input_tokens is None or self.reported_output_tokens is None:
            return None
        stored = (self.stored_input_tokens or 0) + (self.stored_output_tokens or 0)
        return self.reported_input_tokens + self.reported_output_tokens - stored

    @property
    def missing_cost_usd(self) -> Decimal | None:
        """Reported less stored cost."""
        reported, stored = self.reported_cost_usd, self.stored_cost_usd
        return None if reported is None else less(reported, stored or Decimal(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """The comparison; prints as text."""

    providers: tuple[str, ...]
    since: datetime
    until: datetime
    rows: Sequence[Reconciled]
    total: Reconciled

    def __str__(self) -> str:
        return text_table(self._table())

    def _table(self) -> Table:
        lines = [_line(row) for row in (*self.rows, self.total)]
        tokens, money = (
            ("reported", "stored", "missing", "%"),
            ("USD reported", "USD stored", "USD missing", "% of USD"),
        )
        headings = ("day", "model", *tokens, *money)
        return Table(headings=headings, rows=tuple(lines), names=2, notes=tuple(self._notes()))

    def to_records(self) -> list[dict[str, Any]]:
        """One flat dict a row."""
        return [_record(row) for row in self.rows]

    def to_json(self) -> str:
        """A JSON document; money as text, unknown as null."""
        return json.dumps(plain(self.to_dict()), ensure_ascii=False, allow_nan=False)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values."""
        head = {"providers": list(self.providers), "since": self.since, "until": self.until}
        return {**head, "rows": self.to_records(), "total": _record(self.total)}

    def to_csv(self) -> str:
        """CSV with a heading line, one line a row, no total."""
        records = self.to_records()
        headings = list(_record(self.total))
        return csv_table(headings, [list(record.values()) for record in records])

    def _notes(self) -> Iterable[str]:
        yield f"Tokens are input and output; days are UTC; {', '.join(self.providers)} only. Nothing was stored."
        if any(row.is_listed for row in self.rows):
            yield "No report says what it cost: USD is what the reported tokens would cost by the prices known here."
        gaps = (
            (self.total.stored_calls_without_usage, "without complete usage: tokens missing in these sums"),
            (self.total.stored_unpriced_calls, "without a price: cost not in these sums"),
        )
        yield from (f"{count:,} of {self.total.stored_calls:,} stored calls {what}" for count, what in gaps if count)


@reckoned
def reconcile(
    store: UsageStore,
    paths: Sequence[str | Path],
    format: str,  # noqa: A002  # the usual word
    prices: PriceBook | None,
) -> Reconciliation:
    """Compare reports with what is stored; as `UsageStore.reconcile`."""
    if not paths:
        raise QueryError("reconcile() needs at least one file")
    reported = [one for path in paths for one in read_report(path, format)]
    if not reported:
        raise FormatError("the reports have no results, so there is nothing to compare")
    since, until = min(one.since for one in reported), max(one.until for one in reported)
    providers = tuple(sorted({one.provider for one in reported}))
    stored = store.breakdown("day", "model", since=since, until=until, provider=list(providers))
    book = None if any(one.cost_usd is not None for one in reported) else usual_prices(prices)
    rows = {key: _reported_row(key, ones, book) for key, ones in _grouped(reported).items()}
    days_as_one = {day for day, model in rows if model is None}
    for held in stored:
        day, model = str(held.key["day"]), held.key["model"]
        for key in _places(day, None if model is None else str(model), rows, days_as_one):
            rows[key] = _with_stored(rows.get(key) or Reconciled(day=day, model=key[1]), held)
    ordered = [rows[key] for key in sorted(rows, key=lambda key: (key[0], key[1] is None, key[1] or ""))]
    total = _with_stored(_total(ordered), stored.total) if stored.total.calls else _total(ordered)
    return Reconciliation(providers=providers, since=since, until=until, rows=ordered, total=total)


def _grouped(reported: Sequence[Reported]) -> Mapping[_Key, list[Reported]]:
    groups: dict[_Key, list[Reported]] = {}
    for one in reported:
        groups.setdefault((one.since.astimezone(UTC).date().isoformat(), one.model), []).append(one)
    return groups


def _places(day: str, model: str | None, rows: Mapping[_Key, Reconciled], days_as_one: set[str]) -> list[_Key]:
    """Where a stored sum belongs: to its model, and to its day where a report says no models."""
    whole: list[_Key] = [(day, None)] if day in days_as_one else []
    is_by_model = any(known is not None and known_day == day for known_day, known in rows)
    own: list[_Key] = [(day, model or "(none)")] if is_by_model or not whole else []
    return [*own, *whole]


def _reported_row(key: _Key, ones: Sequence[Reported], book: PriceBook | None) -> Reconciled:
    usages = [one.usage for one in ones if one.usage is not None]
    usage = sum(usages) if usages else None
    costs = [one.cost_usd for one in ones if one.cost_usd is not None]
    listed = _listed(ones, book) if book is not None else None
    requests = [one.requests for one in ones if one.requests is not None]
    return Reconciled(
        day=key[0],
        model=key[1],
        reported_requests=sum(requests) if requests else None,
        reported_input_tokens=usage.input_tokens if isinstance(usage, TokenUsage) else None,
        reported_output_tokens=usage.output_tokens if isinstance(usage, TokenUsage) else None,
        reported_cost_usd=sum(costs, Decimal(0)) if costs else listed,
        is_listed=not costs and listed is not None,
    )


def _listed(ones: Sequence[Reported], book: PriceBook) -> Decimal | None:
    """What reported tokens would cost; None where a price of them is not known."""
    total = Decimal(0)
    for one in ones:
        if one.usage is None or one.model is None:
            return None
        price = book.cost(one.usage, model=one.model, provider=one.provider, at=one.since)
        if price.total_usd is None:
            return None
        total += price.total_usd
    return total


def _with_stored(row: Reconciled, held: BreakdownRow) -> Reconciled:
    return replace(
        row,
        stored_calls=row.stored_calls + held.calls,
        stored_input_tokens=_plus(row.stored_input_tokens, held.input_tokens),
        stored_output_tokens=_plus(row.stored_output_tokens, held.output_tokens),
        stored_cost_usd=_plus(row.stored_cost_usd, held.cost_usd),
        stored_calls_without_usage=row.stored_calls_without_usage + held.calls_without_usage,
        stored_unpriced_calls=row.stored_unpriced_calls + held.unpriced_calls,
    )


def _total(rows: Sequence[Reconciled]) -> Reconciled:
    total = Reconciled(day=None, model=None, is_listed=any(row.is_listed for row in rows))
    sums: dict[str, Any] = {}
    for name in ("reported_requests", "reported_input_tokens", "reported_output_tokens", "reported_cost_usd"):
        for row in rows:
            sums[name] = _plus(sums.get(name), getattr(row, name))
    return replace(total, **sums)


def _plus(left: Any, right: Any) -> Any:
    if left is None:
        return right
    return left if right is None else left + right


def _line(row: Reconciled) -> tuple[str, ...]:
    reported = _plus(row.reported_input_tokens, row.reported_output_tokens)
    stored = _plus(row.stored_input_tokens, row.stored_output_tokens)
    return (
        row.day or "total",
        row.model or (_ALL if row.day else ""),
        *(UNKNOWN if count is None else f"{count:,}" for count in (reported, stored, row.missing_tokens)),
        _percent(row.missing_tokens, reported),
        *(
            UNKNOWN if amount is None else f"{amount:,.6f}"
            for amount in (row.reported_cost_usd, row.stored_cost_usd, row.missing_cost_usd)
        ),
        _percent(row.missing_cost_usd, row.reported_cost_usd),
    )


def _percent(part: int | Decimal | None, whole: int | Decimal | None) -> str:
    return "" if part is None or not whole else f"{Decimal(part) / Decimal(whole):.1%}"


def _record(row: Reconciled) -> dict[str, Any]:
    return asdict(row) | {"missing_tokens": row.missing_tokens, "missing_cost_usd": row.missing_cost_usd}
