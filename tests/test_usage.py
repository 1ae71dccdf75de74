"""What is a count? Adding, freezing and reading of `TokenUsage`."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from types import SimpleNamespace
from typing import Any

import pytest

from langchain_tokens.errors import TokensError, UsageShapeError
from langchain_tokens.usage import COUNTS, TokenUsage


def test_fields_are_the_contract() -> None:
    """The fields are those that the contract names, in its order."""
    assert [field.name for field in fields(TokenUsage)] == [
        "input_tokens",
        "output_tokens",
        "total_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "cache_write_5m_tokens",
        "cache_write_1h_tokens",
        "reasoning_tokens",
        "audio_input_tokens",
        "audio_output_tokens",
        "other_units",
        "service_tier",
    ]
    assert [field.name for field in fields(TokenUsage)][:10] == list(COUNTS)


def test_is_frozen_slotted_and_keyword_only() -> None:
    """A usage cannot be changed, takes no further attributes and no positional arguments."""
    usage = TokenUsage(input_tokens=1)
    with pytest.raises(FrozenInstanceError):
        usage.input_tokens = 2  # type: ignore[misc]
    assert not hasattr(usage, "__dict__")
    with pytest.raises(TypeError):
        TokenUsage(1)  # type: ignore[call-arg]


def test_can_be_hashed_with_units() -> None:
    """Equal usages hash alike, even where they hold a mapping of other units."""
    assert (
        len({TokenUsage(input_tokens=1, other_units={"a": 1}), TokenUsage(input_tokens=1, other_units={"a": 1})}) == 1
    )


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (None, None, None),
        (None, 5, 5),
        (5, None, 5),
        (0, None, 0),
        (2, 3, 5),
    ],
)
@pytest.mark.parametrize("name", COUNTS)
def test_counts_add_as_sql_sums_do(name: str, left: int | None, right: int | None, expected: int | None) -> None:
    """None adds nothing; only None plus None is None."""
    one, other = TokenUsage(**{name: left}), TokenUsage(**{name: right})  # type: ignore[arg-type]
    assert one + other == TokenUsage(**{name: expected})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (None, None, None),
        ({"searches": 1}, None, {"searches": 1}),
        (None, {"searches": 1}, {"searches": 1}),
        ({"searches": 1, "seconds": 0.5}, {"searches": 2, "pages": 3}, {"searches": 3, "seconds": 0.5, "pages": 3}),
    ],
)
def test_other_units_add_by_name(left: Any, right: Any, expected: Any) -> None:
    """Other units add by name, and the sum does not share its mapping with a summand."""
    summed = TokenUsage(other_units=left) + TokenUsage(other_units=right)
    assert summed.other_units == expected
    assert summed.other_units is None or (summed.other_units is not left and summed.other_units is not right)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [("flex", "flex", "flex"), ("flex", "default", None), ("flex", None, None), (None, None, None)],
)
def test_tier_stays_where_both_agree(left: str | None, right: str | None, expected: str | None) -> None:
    """A sum has a service tier only if both summands name the same one."""
    assert (TokenUsage(service_tier=left) + TokenUsage(service_tier=right)).service_tier == expected


def test_sum_works() -> None:
    """The built-in sum adds usages without a start value and keeps what all of them share."""
    usages = [TokenUsage(input_tokens=number, service_tier="flex") for number in (1, 2, 3)]
    assert sum(usages) == TokenUsage(input_tokens=6, service_tier="flex")


@pytest.mark.parametrize("other", [5, 0.5, "text", None])
def test_adds_nothing_but_usages(other: Any) -> None:
    """A usage adds to a usage only; the 0 that `sum` starts with is the one exception."""
    with pytest.raises(TypeError):
        TokenUsage() + other
    with pytest.raises(TypeError):
        other + TokenUsage()


def test_from_response_reads_bodies_objects_and_usages() -> None:
    """A response body, an SDK-like object, a bare usage dict and a usage itself all give the same counts."""
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    expected = TokenUsage(input_tokens=7, output_tokens=3, total_tokens=10)
    for response in (usage, {"id": "x", "usage": usage}, SimpleNamespace(usage=SimpleNamespace(**usage)), expected):
        assert TokenUsage.from_response(response) == expected


@pytest.mark.parametrize(
    ("response", "found"),
    [
        ({"choices": [], "secret": "value"}, "dict with keys: choices, secret"),
        ({"usage": None}, "dict with keys: usage"),
        ({}, "found in dict;"),
        (SimpleNamespace(answer=1), "SimpleNamespace with keys: answer"),
        ("text", "found in str;"),
        (None, "found in NoneType;"),
        ({str(number): number for number in range(50)}, "11, …"),
    ],
)
def test_from_response_says_what_it_found(response: object, found: str) -> None:
    """Something unreadable is an error that names the type and keys found and the shapes known, but no values."""
    with pytest.raises(UsageShapeError) as caught:
        TokenUsage.from_response(response)
    assert isinstance(caught.value, TokensError)
    assert found in str(caught.value)
    assert "value" not in str(caught.value)
    assert "openai_chat" in str(caught.value)
    assert "anthropic" in str(caught.value)


def test_from_response_reads_the_frames_of_a_stream() -> None:
    """A list or tuple of a stream's events or chunks gives the usage of the one call that it was."""
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 1}}}
    delta = {"type": "message_delta", "usage": {"output_tokens": 30}}
    expected = TokenUsage(input_tokens=9, output_tokens=30, total_tokens=39)
    assert TokenUsage.from_response([start, {"type": "ping"}, delta]) == expected
    assert TokenUsage.from_response((SimpleNamespace(**start), SimpleNamespace(**delta))) == expected


@pytest.mark.parametrize("frames", [[], [{"type": "ping"}], ["data: [DONE]"], [None, 5]])
def test_from_response_refuses_frames_without_usage(frames: list[object]) -> None:
    """A stream that says no usage is an error, as a body without usage is."""
    with pytest.raises(UsageShapeError, match="no token usage found in list"):
        TokenUsage.from_response(frames)
