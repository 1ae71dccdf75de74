"""What does a provider report? Sums over many requests, for each span of time and model, as its API gives them.

- OpenAI, usage: `GET /v1/organization/usage/completions` (and `…/embeddings`): buckets of results with `input_tokens`
  (cached ones among them), `input_cached_tokens`, `output_tokens`, `num_model_requests` and, where grouped, `model`.
- OpenAI, costs: `GET /v1/organization/costs`: results with `amount: {value, currency}`, US dollars; no model.
- Anthropic, usage: `GET /v1/organizations/usage_report/messages`: `uncached_input_tokens`, `cache_creation`,
  `cache_read_input_tokens`, `output_tokens` and, where grouped, `model`; no number of requests.
- Anthropic, costs: `GET /v1/organizations/cost_report`: `amount`, decimal text in cents, and `model` where grouped by
  description.

Documented in the API references of both. What their web consoles export is documented nowhere, and not read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from langchain_tokens.errors import FormatError, QueryError
from langchain_tokens.importing.sources import Source
from langchain_tokens.importing.values import as_count, as_moment, as_money, as_text, shown
from langchain_tokens.usage import TokenUsage

__all__ = ("REPORTS", "Reported", "read_report")

_MOST: Final = 10**15
_CENTS: Final = Decimal(100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """What one result says."""

    provider: str
    since: datetime
    until: datetime
    model: str | None
    requests: int | None = None
    usage: TokenUsage | None = None
    cost_usd: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One form of reports."""

    name: str
    provider: str
    needs: frozenset[str]
    """The keys of a result that only this form has, all together."""
    read: Callable[[Mapping[str, Any]], dict[str, Any]]


def read_report(path: str | Path, format: str) -> Iterator[Reported]:  # noqa: A002  # the usual word
    """The results of a report.

    Args:
        path: the answer of the API, as JSON or JSON Lines.
        format: a name of `REPORTS`, or `auto`.

    Raises:
        FormatError: when it is none, or a number in it cannot be.
        QueryError: for an unknown format.

    """
    known = [report for report in REPORTS if format in ("auto", report.name)]
    if not known:
        raise QueryError(f"unknown format {format!r}; expected auto, {', '.join(report.name for report in REPORTS)}")
    source, has_buckets = Source(path), False
    for row in source.rows():
        where = f"{source.path}, row {row.number}"
        if row.values is None:
            raise FormatError(f"{where} {row.problem}")
        try:
            for reported in _results(row.values, known):
                has_buckets = True
                yield reported
            has_buckets = has_buckets or "results" in row.values
        except ValueError as error:
            raise FormatError(f"{where}: {error}") from error
    if not has_buckets:
        raise FormatError(f"{source.path} has no results")


def _results(bucket: Mapping[str, Any], known: list[Report]) -> Iterator[Reported]:
    since = as_moment(_first(bucket, "start_time", "starting_at"), "start_time")
    until = as_moment(_first(bucket, "end_time", "ending_at"), "end_time")
    if since is None or until is None or until <= since:
        raise ValueError("is no bucket of a report: it has no start_time and end_time (starting_at, ending_at)")
    results = bucket.get("results", [bucket])
    for result in results if isinstance(results, list) else [results]:
        if not isinstance(result, Mapping):
            raise ValueError(f"results has {shown(result)}; expected objects")  # noqa: TRY004  # data, not a programmer's mistake
        found = next((report for report in known if report.needs <= set(result)), None)
        if found is None:
            names = ", ".join(sorted(map(str, result)))
            raise ValueError(f"a result with {names} is of no known report: {', '.join(one.name for one in known)}")
        model = as_text(result.get("model"), "model")
        yield Reported(provider=found.provider, since=since, until=until, model=model, **found.read(result))


def _openai_usage(result: Mapping[str, Any]) -> dict[str, Any]:
    said = _counts(result, "input_tokens", "output_tokens", "input_cached_tokens", "num_model_requests")
    usage = TokenUsage(
        input_tokens=said["input_tokens"] or 0,
        output_tokens=said["output_tokens"] or 0,
        total_tokens=(said["input_tokens"] or 0) + (said["output_tokens"] or 0),
        cache_read_tokens=said["input_cached_tokens"],
        service_tier="batch" if result.get("batch") else as_text(result.get("service_tier"), "service_tier"),
    )
    return {"requests": said["num_model_requests"], "usage": usage}


def _anthropic_usage(result: Mapping[str, Any]) -> dict[str, Any]:
    said = _counts(result, "uncached_input_tokens", "cache_read_input_tokens", "output_tokens")
    created = result.get("cache_creation")
    writes = _counts(created if isinstance(created, Mapping) else {}, *_WRITES)
    written = sum(count or 0 for count in writes.values())
    given = (said["uncached_input_tokens"] or 0) + (said["cache_read_input_tokens"] or 0) + written
    usage = TokenUsage(
        input_tokens=given,
        output_tokens=said["output_tokens"] or 0,
        total_tokens=given + (said["output_tokens"] or 0),
        cache_read_tokens=said["cache_read_input_tokens"],
        cache_write_tokens=written,
        cache_write_5m_tokens=writes[_WRITES[0]],
        cache_write_1h_tokens=writes[_WRITES[1]],
        service_tier=as_text(result.get("service_tier"), "service_tier"),
    )
    return {"usage": usage}


_WRITES: Final = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")


def _openai_costs(result: Mapping[str, Any]) -> dict[str, Any]:
    amount = result["amount"]
    if not isinstance(amount, Mapping):  # with no costs, it may be missing
        return {"cost_usd": Decimal(0)} if amount is None else _anthropic_costs(result)
    _check_currency(amount.get("currency"))
    return {"cost_usd": as_money(amount.get("value"), "amount.value") or Decimal(0)}


def _anthropic_costs(result: Mapping[str, Any]) -> dict[str, Any]:
    _check_currency(result.get("currency"))
    return {"cost_usd": (as_money(result["amount"], "amount") or Decimal(0)) / _CENTS}


def _check_currency(currency: Any) -> None:
    if str(currency).lower() != "usd":
        raise ValueError(f"currency is {currency!r}; expected usd")


def _counts(said: Mapping[str, Any], *names: str) -> dict[str, int | None]:
    return {name: as_count(said.get(name), name, _MOST) for name in names}


def _first(values: Mapping[str, Any], *names: str) -> Any:
    return next((values[name] for name in names if values.get(name) is not None), None)


REPORTS: Final = (
    Report(
        name="openai-usage",
        provider="openai",
        needs=frozenset({"input_tokens", "num_model_requests"}),
        read=_openai_usage,
    ),
    Report(
        name="anthropic-usage", provider="anthropic", needs=frozenset({"uncached_input_tokens"}), read=_anthropic_usage
    ),
    Report(
        name="anthropic-costs", provider="anthropic", needs=frozenset({"amount", "currency"}), read=_anthropic_costs
    ),
    Report(name="openai-costs", provider="openai", needs=frozenset({"amount"}), read=_openai_costs),
)
"""The forms, the first that fits."""
