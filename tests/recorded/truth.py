"""What should be reported of a case? The index's truth, under our names and after what the client is known to lose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from langchain_tokens import Call, TokenUsage

from .driving import Case
from .losses import FAILS_AFTER_ANSWER, LOST, SAID_OTHERWISE, SAYS_ZERO, STANDS_IN, Loss
from .oddities import COUNTED_FROM_CONTENT, FLAGGED
from .recordings import Recording

FIELDS = {
    "input": "input_tokens",
    "output": "output_tokens",
    "total": "total_tokens",
    "cache_read": "cache_read_tokens",
    "cache_write": "cache_write_tokens",
    "reasoning": "reasoning_tokens",
    "input_audio": "audio_input_tokens",
    "output_audio": "audio_output_tokens",
}


_TICKS_PER_USD = 10_000_000_000


@dataclass(frozen=True, slots=True)
class Expected:
    """What is to be reported of a case."""

    values: Mapping[str, Any]
    """Field of `TokenUsage`, or `model` → value."""

    changed: frozenset[str]
    """The fields in which that is not the provider's own word."""

    flags: frozenset[str]
    """Flags that say so."""

    @property
    def has_usage(self) -> bool:
        """Whether any count is to be reported."""
        return any(self.values[name] is not None for name in FIELDS.values())


def true_values(recording: Recording) -> dict[str, Any]:
    """The truth under our names: the total is the sum of input and output where the provider says none, and the model
    is the requested one where the wire format has none.
    """
    values = {name: recording.truth.get(key) for key, name in FIELDS.items()}
    if values["total_tokens"] is None and values["input_tokens"] is not None and values["output_tokens"] is not None:
        values["total_tokens"] = values["input_tokens"] + values["output_tokens"]
    return {**values, "model": recording.response_model or recording.requested_model}


def expected(case: Case) -> Expected:
    """The truth after all rows of the tables that hold for a case."""
    truth = true_values(case.recording)
    changes: dict[str, Any] = {}
    flags: set[str] = set()
    for loss in rows_for(case, LOST):
        changes |= {name: None for name in loss.fields if truth[name] is not None}
        flags |= loss.flags
    for _ in rows_for(case, STANDS_IN):
        changes["model"] = case.recording.requested_model
    for loss in rows_for(case, SAYS_ZERO):
        changes |= {name: 0 for name in loss.fields if truth[name] is None}
    if otherwise := SAID_OTHERWISE.get(case.key):
        changes |= otherwise.reported
        flags |= otherwise.flags
    changed = frozenset(name for name, value in changes.items() if value != truth[name])
    return Expected({**truth, **changes}, changed, frozenset(flags))


def rows_for(case: Case, table: Iterable[Loss]) -> list[Loss]:
    """The rows of a table that hold for a case; none where the client hands over an error instead of an answer."""
    if case.key in FAILS_AFTER_ANSWER:
        return []
    return [loss for loss in table if loss.holds_for(case.client.name, case.recording.stem, case.recording.format)]


def expected_flags(case: Case) -> set[str]:
    """Every flag that a case is to have: of its losses, of what is odd about it, and of what its content shows."""
    stem = case.recording.stem
    flags = set(expected(case).flags)
    flags.update(*(row.flags for row in FLAGGED if row.holds_for(case.client.name, stem)))
    if stem in COUNTED_FROM_CONTENT:
        flags.add("counted_from_content")
    if true_rounds(case.recording):
        flags.add("rounds_above_usage")
    return flags


def reported(call: Call) -> dict[str, Any]:
    """What a stored call says, under the same names; all counts are None where it has no usage."""
    usage = call.usage or TokenUsage()
    return {**{name: getattr(usage, name) for name in FIELDS.values()}, "model": call.model}


def true_rounds(recording: Recording) -> dict[str, int]:
    """The sums over the rounds of a call, where they exceed the usage that the provider puts on top."""
    truth = recording.truth
    if "billed_input_iterations" not in truth:
        return {}
    rounds = {f"rounds_{name}_tokens": truth[f"billed_{name}_iterations"] for name in ("input", "output")}
    exceeds = any(rounds[f"rounds_{name}_tokens"] > truth[name] for name in ("input", "output"))
    return rounds if exceeds else {}


def said_cost(case: Case) -> Decimal | None:
    """What the provider says that the call cost, in USD; a host that bills by itself leaves xAI's ticks at 0."""
    usage: Mapping[str, Any] = case.recording.raw_usage or {}
    cost, ticks = usage.get("cost"), usage.get("cost_in_usd_ticks")
    if isinstance(cost, Mapping):
        cost = cost["total_cost"]
    if cost is not None:
        return Decimal(str(cost))
    return Decimal(ticks) / _TICKS_PER_USD if ticks else None
