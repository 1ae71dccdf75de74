"""What does the provider itself say a call costs, and what else is billed? Prices exactly as written, or None."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest

from langchain_tokens.shapes import Reading, read

CHAT = {"prompt_tokens": 8, "completion_tokens": 5, "total_tokens": 13}


def priced(**beside: Any) -> Reading:
    """Read a usage that says these things beside its counts."""
    return read({**CHAT, **beside})


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        pytest.param({"cost": 0.0004970133333333333}, "0.0004970133333333333", id="openrouter"),
        pytest.param({"cost": 1.13e-05, "is_byok": False, "cost_details": None}, "0.0000113", id="exponent"),
        pytest.param({"cost": 0, "is_byok": False}, "0", id="a free model"),
        pytest.param(
            {"cost": 0.95, "is_byok": True, "cost_details": {"upstream_inference_cost": 19}}, "19.95", id="own key"
        ),
        pytest.param(
            {"cost": 0.95, "cost_details": {"upstream_inference_cost": 19}}, "19.95", id="own key, told by the price"
        ),
        pytest.param(
            {"cost": 0.95, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.95}}, "0.95", id="router's"
        ),
        pytest.param({"cost": {"request_cost": 0.005, "total_cost": 0.00501}}, "0.00501", id="perplexity"),
        pytest.param({"cost": {"currency": "USD", "total_cost": 2.8e-08}}, "0.000000028", id="perplexity embeddings"),
        pytest.param({"cost_in_usd_ticks": 6_543_500}, "0.00065435", id="xai: ten thousand million ticks are a dollar"),
        pytest.param({"cost": Decimal("0.10")}, "0.10", id="an exact number"),
    ],
)
def test_price_is_read_exactly(beside: dict[str, Any], expected: str) -> None:
    """The provider's own price is taken to the last digit, in US dollars."""
    reading = priced(**beside)
    assert (reading.reported_cost_usd, reading.flags) == (Decimal(expected), ())


@pytest.mark.parametrize(
    "beside", [{}, {"cost": None}, {"cost": {}}, {"cost": {"total_cost": None}}, {"cost_in_usd_ticks": 0}]
)
def test_no_price_is_none(beside: dict[str, Any]) -> None:
    """Where no price is said there is none, nor a flag; a host that does not bill in ticks leaves them at 0."""
    reading = priced(**beside)
    assert (reading.reported_cost_usd, reading.flags) == (None, ())


@pytest.mark.parametrize(
    "cost",
    [-1, True, math.nan, math.inf, "0.5", [1], 1e300, {"total_cost": "x"}, {"total_cost": 5, "currency": "EUR"}],
)
def test_nonsense_is_no_price(cost: object) -> None:
    """What cannot be a price in US dollars is left out and named; the counts stay."""
    reading = priced(cost=cost)
    assert (reading.reported_cost_usd, reading.flags) == (None, ("nonsense:reported_cost",))
    assert reading.usage is not None
    assert reading.usage.total_tokens == 13


def test_a_hidden_part_of_the_price_is_named() -> None:
    """With a key of the user's own and no word of what its provider charged, there is no price, and a flag says why."""
    reading = priced(cost=0.95, is_byok=True, cost_details={"upstream_inference_cost": None})
    assert (reading.reported_cost_usd, reading.flags) == (None, ("reported_cost_partial",))


def test_a_price_alone_is_kept() -> None:
    """A price is kept where the counts beside it make no sense."""
    reading = read({"prompt_tokens": -1, "cost": 0.5})
    assert (reading.usage, reading.reported_cost_usd) == (None, Decimal("0.5"))


def test_models_within_a_call_are_told_apart() -> None:
    """A system of several models says what each used; the whole stays the call's, the parts are units, a flag warns."""
    models = [
        {"model": "one", "usage": {"prompt_tokens": 3, "completion_tokens": 1}},
        {"model": "two", "usage": {"prompt_tokens": 4, "completion_tokens": 2}},
        {"model": "one", "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
    ]
    reading = read({"usage": CHAT, "usage_breakdown": {"models": models}})
    assert reading.usage is not None
    assert reading.usage.other_units == {
        "one:input_tokens": 4,
        "one:output_tokens": 3,
        "two:input_tokens": 4,
        "two:output_tokens": 2,
    }
    assert (reading.usage.input_tokens, reading.flags) == (8, ("several_models",))
    assert read({"usage": CHAT, "usage_breakdown": {"models": None}}).flags == ()


def test_tools_beside_the_usage_are_units() -> None:
    """Searches and images that stand beside the usage are units; an image is the work of another model."""
    usage = {"input_tokens": 8, "output_tokens": 5, "input_tokens_details": {}}
    tools = {"web_search": {"num_requests": 2}, "image_gen": {"input_tokens": 0, "output_tokens": 700}}
    reading = read({"usage": usage, "tool_usage": tools})
    assert reading.usage is not None
    assert reading.usage.other_units == {"web_search_requests": 2, "image_model_output_tokens": 700}
    assert reading.flags == ("several_models",)


@pytest.mark.parametrize(
    ("payload", "changed", "flags"),
    [
        pytest.param(
            {**CHAT, "total_tokens": 33, "completion_tokens_details": {"reasoning_tokens": 20}},
            {"output_tokens": 25, "reasoning_tokens": 20, "total_tokens": 33},
            ("reasoning_outside_output",),
            id="reasoning",
        ),
        pytest.param(
            {**CHAT, "total_tokens": 20, "prompt_tokens_details": {"audio_tokens": 7}},
            {"input_tokens": 15, "audio_input_tokens": 7, "total_tokens": 20},
            ("audio_outside_input",),
            id="audio",
        ),
        pytest.param(
            {**CHAT, "total_tokens": 73, "prompt_tokens_details": {"cached_tokens": 50, "cache_write_tokens": 10}},
            {"input_tokens": 68, "total_tokens": 73},
            ("cache_added_to_input",),
            id="cache",
        ),
        pytest.param(
            {
                **CHAT,
                "total_tokens": 17,
                "prompt_tokens_details": {"cached_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 4},
            },
            {"input_tokens": 8, "output_tokens": 5, "total_tokens": 17},
            ("total_mismatch",),
            id="two that fit prove nothing",
        ),
        pytest.param(
            {**CHAT, "total_tokens": 73, "prompt_tokens_details": {"cached_tokens": 8}},
            {"input_tokens": 8, "total_tokens": 73},
            ("total_mismatch",),
            id="nothing fits",
        ),
        pytest.param(
            {**CHAT, "citation_tokens": 200, "reasoning_tokens": 95, "num_search_queries": 30},
            {"input_tokens": 8, "output_tokens": 100, "total_tokens": 108},
            ("reasoning_outside_output",),
            id="deep research",
        ),
    ],
)
def test_corrections_are_proven_by_the_numbers(
    payload: dict[str, Any], changed: dict[str, int], flags: tuple[str, ...]
) -> None:
    """A detail that only the total contains is added where it belongs; what proves nothing stays a contradiction."""
    reading = read(payload)
    assert ({name: getattr(reading.usage, name) for name in changed}, reading.flags) == (changed, flags)
