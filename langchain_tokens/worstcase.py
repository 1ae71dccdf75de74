"""What may a call cost at most? A bound of its input, what its answer may have, and the dearest way to charge for both.

Not bounded is what the request does not hold: what a provider's own tools find and put in, files and conversations that
it names only, fees for searches. Then the actual cost takes the place of the bound when it is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_tokens.bounding import Bounding
from langchain_tokens.call import Call
from langchain_tokens.content import sent_with
from langchain_tokens.money import pico_of
from langchain_tokens.trouble import Warnings
from langchain_tokens.usage import TokenUsage

if TYPE_CHECKING:
    from langchain_tokens.prices import PriceBook

__all__ = ("Counting", "Worst", "output_limit", "worst_case")

_LIMITS = (
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "max_new_tokens",
    "max_tokens_to_sample",
    "maxOutputTokens",
    "maxTokens",
    "maxTokenCount",
    "max_gen_len",
    "num_predict",
)
"""What clients call the most that an answer may have."""
_INSIDE = ("generation_config", "model_kwargs", "inferenceConfig", "parameters", "options", "extra_body")
_ANSWERS = ("n", "candidate_count", "num_generations", "best_of")
_SCHEMAS = ("response_format", "format", "text", "response_schema", "output_config", "output_format", "outputConfig")
_MOST_ANSWERS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Worst:
    """What a call needs at most."""

    tokens: int
    cost: int | None
    """Pico-USD; None where its model has no price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counting:
    """What a worst case is made with."""

    prices: PriceBook
    bounding: Bounding
    warnings: Warnings


def worst_case(call: Call, asked: Any, parameters: Mapping[str, Any], output: int, means: Counting) -> Worst:
    """Bound what a call may use and cost.

    Args:
        call: what is known of it at its start.
        asked: its messages, or its prompts.
        parameters: what it is made with.
        output: the most tokens of one answer.
        means: bounds the input, and says what models cost.

    """
    sent = sent_with(tuple(asked) if isinstance(asked, (list, tuple)) else (), parameters)
    given = means.bounding.estimator.bound_input(sent, call.requested_model, call.provider) + _schema_bytes(parameters)
    answered = output * _answers(parameters)
    may_cache = "cache_control" in repr(sent) or "cachePoint" in repr(sent) or "cache_control" in parameters
    try:
        costs = list(_costs(call, given, answered, parameters, means.prices, may_cache=may_cache))
    except Exception as error:  # noqa: BLE001  # a user's price book may do anything; then no price is known
        means.warnings.once("worst", "a call to be made could not be priced; for budgets it has no price", error)
        costs = []
    return Worst(tokens=given + answered, cost=max(costs, default=None))


def output_limit(parameters: Mapping[str, Any]) -> int | None:
    """The most that an answer may have, in tokens, as the call says; None where it does not."""
    inside = (parameters.get(name) for name in _INSIDE)
    places = [parameters, *(place for place in inside if isinstance(place, Mapping))]
    said = [place.get(name) for place in places for name in _LIMITS]
    known = [number for number in said if type(number) is int and number > 0]
    return max(known, default=None)


def _costs(
    call: Call,
    given: int,
    answered: int,
    parameters: Mapping[str, Any],
    prices: PriceBook,
    *,
    may_cache: bool,
) -> Iterator[int]:
    """What it costs in each way in which it may be charged, in pico-USD."""
    if call.requested_model is None:
        return
    ways: list[dict[str, Any]] = [{}, {"reasoning_tokens": answered}]
    ways += [{"cache_write_5m_tokens": given}, {"cache_write_1h_tokens": given}] if may_cache else []
    tier = parameters.get("service_tier")
    tiers = {None, tier} if isinstance(tier, str) else {None}
    for way in ways:
        more = {**way, **({"cache_write_tokens": given} if "reasoning_tokens" not in way and way else {})}
        usage = TokenUsage(input_tokens=given, output_tokens=answered, total_tokens=given + answered, **more)
        for name in tiers:
            price = prices.cost(
                usage, model=call.requested_model, provider=call.provider, at=call.started_at, service_tier=name
            )
            if price.total_usd is not None:
                yield pico_of(price.total_usd)  # it is whole


def _answers(parameters: Mapping[str, Any]) -> int:
    """How many answers it asks for."""
    said = [parameters.get(name) for name in _ANSWERS]
    known = [number for number in said if type(number) is int and 1 <= number <= _MOST_ANSWERS]
    return max(known, default=1)


def _schema_bytes(parameters: Mapping[str, Any]) -> int:
    """The bytes of what an answer must look like, which is sent along: no fewer than its tokens."""
    held = [parameters[name] for name in _SCHEMAS if parameters.get(name)]
    return sum(len(repr(schema).encode("utf-8", "surrogatepass")) for schema in held)
