"""What is a fact? A call to a model, and a run that holds calls; frozen, and refined only by making a new one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any, Literal, TypeVar

from langchain_tokens.masking import NOT_STORED
from langchain_tokens.money import rounded
from langchain_tokens.shortening import MOST_BYTES, shortened
from langchain_tokens.usage import TokenUsage

__all__ = (
    "MONEY",
    "NOTHING_USED",
    "Call",
    "CallStatus",
    "PriceStatus",
    "RetryKind",
    "RunFact",
    "RunStatus",
    "UsageSource",
    "bounded_call",
    "bounded_fact",
    "completed",
    "plain",
    "reported_cost",
)

CallStatus = Literal["ok", "error", "cancelled", "cached"]
RunStatus = Literal["running", "ok", "error", "cancelled", "interrupted"]
RetryKind = Literal["retry", "fallback", "replay"]
UsageSource = Literal["provider", "estimated", "missing"]
PriceStatus = Literal["priced", "free", "unpriced", "reported"]


MONEY = ("cost_usd", "input_cost_usd", "output_cost_usd", "other_cost_usd", "saved_cost_usd", "computed_cost_usd")
"""The fields of a call that are money."""
NOTHING_USED = TokenUsage(input_tokens=0, output_tokens=0, total_tokens=0)
"""Of a call that a cache answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request to one model, as it is stored and shown.

    Token counts are inclusive (see `TokenUsage`), times are aware UTC, durations milliseconds, money US dollars.
    What nobody knows is None, never 0.
    """

    call_id: str
    """The model run's own id; the store holds one row for it however often it is delivered."""
    run_id: str
    """The root run: one invocation of a chain or graph with everything below it."""
    started_at: datetime
    parent_run_id: str | None = None
    session: str | None = None
    chain: str | None = None
    """The named step the call was made in; None where nothing gave it a name."""
    agent: str | None = None
    path: str | None = None
    """The names from the root down, such as `nl2sql/sql_agent/sql_fix`; see `paths.split_path`."""
    node: str | None = None
    step: int | None = None
    attempt: int = 1
    """The how-many-eth model call this is for this chain, in this run, agent instance and fan-out lane."""
    attempt_error: str | None = None
    """The error that made this attempt necessary, where the application said it (`tokens_error`)."""
    retry_kind: RetryKind | None = None
    mode: str | None = None
    model: str | None = None
    """The model that served the call."""
    requested_model: str | None = None
    provider: str | None = None
    user: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    ended_at: datetime | None = None
    duration_ms: float | None = None
    time_to_first_token_ms: float | None = None
    """None where the call was not streamed, so that nobody could see the first token."""
    usage: TokenUsage | None = None
    usage_source: UsageSource = "missing"
    usage_flags: tuple[str, ...] = ()
    saved_usage: TokenUsage | None = None
    """What a call answered by LangChain's cache would have used; not part of any sum."""
    raw_usage: Mapping[str, Any] | None = None
    """The provider's own usage payload, as it was handed over."""
    estimate_basis: Mapping[str, int] | None = None
    """Characters sent and arrived, where usage has to be estimated: all that is left of them after a kill."""
    cost_usd: Decimal | None = None
    input_cost_usd: Decimal | None = None
    output_cost_usd: Decimal | None = None
    other_cost_usd: Decimal | None = None
    saved_cost_usd: Decimal | None = None
    """What caches saved: all of it for a hit of LangChain's cache, the difference to plain input for the provider's."""
    computed_cost_usd: Decimal | None = None
    """What the price book makes of it, where `cost_usd` is what the provider itself reported."""
    price_status: PriceStatus = "unpriced"
    price_source: str | None = None
    price_version: str | None = None
    unit_prices: Mapping[str, str] | None = None
    """The rates that were used, USD for one million units, as text."""
    priced_provider: str | None = None
    """The provider and the model in whose name the rates stand."""
    priced_model: str | None = None
    price_context: Mapping[str, str] | None = None
    """What beside the counts chose the rates, such as `{"service_tier": "flex"}`."""
    price_flags: tuple[str, ...] = ()
    """What is odd about the price, such as `standard_estimate`."""
    status: CallStatus = "ok"
    error_type: str | None = None
    error_message: str | None = None
    tool_calls: tuple[str, ...] = ()
    """The names of the tools that the model asked for, in its order."""
    streamed: bool | None = None
    finish_reason: str | None = None
    message_id: str | None = None
    superseded: bool = False
    """Whether its work was thrown away and done again, by a retry or a replay."""
    revision: int = 0
    """Rises when a late event corrects what was recorded; the store keeps the highest."""
    input_parts: Mapping[str, int] | None = None
    """What fills the input, in tokens by part (`system`, `tools`, `history`, `tool_results`, `human`, `other`): an
    estimate that adds up to `usage.input_tokens`. None unless the handler inspects inputs.
    """
    prompt_mark: str | None = None
    """A digest of the whole question, equal for equal questions; likewise."""

    @property
    def wasted_cost_usd(self) -> Decimal | None:
        """Its cost, where nothing came of it: it failed, was given up, or its work was done again."""
        return self.cost_usd if self.superseded or self.status in ("error", "cancelled") else None

    @property
    def tokens_per_second(self) -> float | None:
        """Output tokens for each second of the call; None where either is unknown or the time is zero."""
        if self.usage is None or self.usage.output_tokens is None or not self.duration_ms or self.status == "cached":
            return None
        return self.usage.output_tokens / (self.duration_ms / 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFact:
    """What is known of a root run beside its calls; a later fact about the same run completes an earlier one."""

    run_id: str
    started_at: datetime
    name: str | None = None
    session: str | None = None
    mode: str | None = None
    user: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    ended_at: datetime | None = None
    status: RunStatus = "running"
    error_type: str | None = None
    error_message: str | None = None
    is_given: bool = False
    """Said with a call by `TokenUsageHandler.record()`, not seen as the run's own start or end; not stored."""

    @property
    def duration_ms(self) -> float | None:
        """Milliseconds from start to end; None while the run goes on."""
        if self.ended_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds() * 1000


def completed(before: RunFact, now: RunFact) -> RunFact:
    """A run's fact with what a later one adds, as in the store: what is known wins over None, an end over `running`.

    The run begins at the least start and ends at the greatest end. A given fact is about one call: its failure is the
    run's, its success is not, and neither ends a run that goes on.
    """
    known = {name: value for name, value in zip(_FACT_FIELDS, _all_of_fact(now), strict=True) if value is not None}
    known["tags"] = now.tags or before.tags
    goes_on = before.status == "running"
    ends = [end for end in (before.ended_at, now.ended_at) if end is not None]
    known["started_at"] = min(before.started_at, now.started_at)
    known["ended_at"] = before.ended_at if now.is_given and goes_on else max(ends, default=None)
    is_kept = now.status == "running" or (now.is_given and (goes_on or now.status != "error"))
    known["status"] = before.status if is_kept else now.status
    return RunFact(**{**dict(zip(_FACT_FIELDS, _all_of_fact(before), strict=True)), **known})


def bounded_call(call: Call) -> Call:
    """The call with names that every database can hold, also in its keys; itself, unless one is enormous, or has a NUL
    or half of a surrogate pair, which become U+FFFD.
    """
    usage, said = call.usage, _texts_of_call(call)
    counted = () if usage is None else (usage.service_tier, *(usage.other_units or ()))
    call = _mended(call, (*said, *call.tool_calls, *call.tags, *call.tags.values(), *counted))
    return _bounded(call, _names_of_call(call), _CALL_NAMES)


def bounded_fact(fact: RunFact) -> RunFact:
    """The same for a run."""
    fact = _mended(fact, (*_texts_of_fact(fact), *fact.tags, *fact.tags.values()))
    return _bounded(fact, _names_of_fact(fact), _FACT_NAMES)


def _mended(record: _Record, texts: Iterable[object]) -> _Record:
    """The record with texts that every database takes; itself, where all are such. The provider's own payload stays as
    it was handed over: nothing is looked for in it.
    """
    together = "".join([text for text in texts if isinstance(text, str)])
    if "\0" not in together and (together.isascii() or NOT_STORED.search(together) is None):
        return record
    names = [item.name for item in fields(record) if item.name != "raw_usage"]
    return replace(record, **{name: _mended_value(getattr(record, name)) for name in names})


def _mended_value(value: Any) -> Any:
    if isinstance(value, str):
        return NOT_STORED.sub("\ufffd", value)
    if isinstance(value, Mapping):
        return {_mended_value(key): _mended_value(held) for key, held in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_mended_value, value))
    if isinstance(value, TokenUsage):
        units, tier = _mended_value(value.other_units), _mended_value(value.service_tier)
        return replace(value, other_units=units, service_tier=tier)
    return value


def _bounded(record: _Record, values: Sequence[str | None], names: Mapping[str, str]) -> _Record:
    for value in values:
        if value is not None and len(value) > _SURELY_SHORT:
            break
    else:
        return record
    named = zip(names.items(), values, strict=True)
    kept: dict[str, Any] = {name: shortened(value, of) for (name, of), value in named if value is not None}
    return replace(record, **kept)


_Record = TypeVar("_Record", Call, RunFact)
_FACT_NAMES = {"mode": "mode", "session": "session", "user": "user", "run_id": "run"}
_CALL_NAMES = {**_FACT_NAMES, **{name: name for name in ("agent", "chain", "model", "path", "provider")}}
"""Field → the dimension whose names it holds."""
_FACT_TEXTS = ("run_id", "name", "session", "mode", "user", "error_type", "error_message")
_CALL_TEXTS = (
    *("call_id", "run_id", "parent_run_id", "message_id", "session", "user", "chain", "agent", "path", "node", "mode"),
    *("model", "requested_model", "provider", "finish_reason", "error_type", "error_message", "attempt_error"),
    *("price_source", "price_version", "priced_provider", "priced_model", "prompt_mark"),
)
"""Fields that hold any text, beside tags, names of tools and what usage says."""
_texts_of_call: Callable[[Call], tuple[object, ...]] = attrgetter(*_CALL_TEXTS)
_texts_of_fact: Callable[[RunFact], tuple[object, ...]] = attrgetter(*_FACT_TEXTS)
_names_of_call: Callable[[Call], tuple[str | None, ...]] = attrgetter(*_CALL_NAMES)
_names_of_fact: Callable[[RunFact], tuple[str | None, ...]] = attrgetter(*_FACT_NAMES)
_FACT_FIELDS = tuple(item.name for item in fields(RunFact))
_all_of_fact: Callable[[RunFact], tuple[Any, ...]] = attrgetter(*_FACT_FIELDS)
_SURELY_SHORT = min(MOST_BYTES.values()) // 4
"""Characters that are no more bytes than any name may have."""


def reported_cost(cost: Decimal | None) -> dict[str, Any]:
    """The fields of a call whose provider itself says what it costs, to the digits that are stored; none otherwise."""
    if cost is None:
        return {}
    return {"cost_usd": rounded(cost), "price_status": "reported", "price_source": "provider"}


def plain(value: Any) -> Any:
    """Make a value JSON-able without losing anything: times as ISO 8601, money as text, tuples as lists."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return format(value, "f") if isinstance(value, Decimal) else value
