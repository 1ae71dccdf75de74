"""How is a fact written in the journal? Encoded to one line and read back, whatever it holds."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_tokens.call import Call, RunFact
from langchain_tokens.codec import decode, encode
from langchain_tokens.usage import TokenUsage
from tests.builders import MOMENTS, MONEY, NOON, make_call, make_fact, make_usage, random_calls

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
"""Such as are mended already; see `tests.test_unstorable` for others."""
RAW_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | RAW_TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(RAW_TEXTS, inner, max_size=3),
    max_leaves=6,
)
MILLISECONDS = st.none() | st.floats(0, 1e9)
COUNTS = st.none() | st.integers(0, 2**63 - 1)
USAGES = st.none() | st.builds(
    TokenUsage,
    input_tokens=COUNTS,
    audio_output_tokens=COUNTS,
    other_units=st.none() | st.dictionaries(TEXTS, st.integers(0, 9) | st.floats(0, 9), max_size=2),
    service_tier=st.none() | TEXTS,
)
CALLS = st.builds(
    Call,
    call_id=TEXTS,
    run_id=TEXTS,
    started_at=MOMENTS,
    ended_at=st.none() | MOMENTS,
    chain=st.none() | TEXTS,
    step=st.none() | st.integers(0, 99),
    attempt=st.integers(1, 99),
    tags=st.dictionaries(TEXTS, TEXTS, max_size=3),
    duration_ms=MILLISECONDS,
    time_to_first_token_ms=MILLISECONDS,
    usage=USAGES,
    saved_usage=USAGES,
    usage_flags=st.lists(TEXTS, max_size=2).map(tuple),
    raw_usage=st.none() | st.dictionaries(RAW_TEXTS, PLAIN, max_size=3),
    cost_usd=MONEY,
    other_cost_usd=MONEY,
    unit_prices=st.none() | st.dictionaries(TEXTS, TEXTS, max_size=2),
    error_message=st.none() | TEXTS,
    tool_calls=st.lists(TEXTS, max_size=2).map(tuple),
    streamed=st.none() | st.booleans(),
    revision=st.integers(0, 3),
)
FACTS = st.builds(
    RunFact,
    run_id=TEXTS,
    started_at=MOMENTS,
    ended_at=st.none() | MOMENTS,
    name=st.none() | TEXTS,
    tags=st.dictionaries(TEXTS, TEXTS, max_size=3),
    status=st.sampled_from(["running", "ok", "error", "cancelled", "interrupted"]),
    error_message=st.none() | TEXTS,
)


@given(fact=CALLS | FACTS)
@settings(max_examples=150, deadline=None)
def test_fact_comes_back_equal(fact: Call | RunFact) -> None:
    """Any fact is one line with one line feed at its end, and reads back equal."""
    line = encode(fact)
    assert (line.count(b"\n"), line[-1:]) == (1, b"\n")
    assert decode(line) == fact
    assert decode(line[:-1]) == fact


@given(calls=random_calls(most=3))
@settings(max_examples=40, deadline=None)
def test_money_and_offsets_come_back_exact(calls: list[Call]) -> None:
    """Money keeps every digit, and a moment its offset."""
    read = [decode(encode(call)) for call in calls]
    assert [(fact.started_at.utcoffset(), str(fact.cost_usd)) for fact in read if isinstance(fact, Call)] == (
        [(call.started_at.utcoffset(), str(call.cost_usd)) for call in calls]
    )


@pytest.mark.parametrize(
    ("more", "name", "expected"),
    [
        ({"chain": "a\ud800b"}, "chain", "a?b"),
        ({"tags": {"a": "\udfff"}}, "tags", {"a": "?"}),
        ({"raw_usage": {"big": 2**70}}, "raw_usage", {"big": 2**70}),
        ({"raw_usage": {1: "a"}}, "raw_usage", {"1": "a"}),
        ({"duration_ms": float("nan")}, "duration_ms", None),
        ({"raw_usage": {"at": NOON}}, "raw_usage", {"at": NOON.isoformat()}),
        ({"raw_usage": {"price": Decimal("0.10")}}, "raw_usage", {"price": "0.10"}),
    ],
)
def test_what_json_cannot_hold_is_written_all_the_same(more: dict[str, Any], name: str, expected: Any) -> None:
    """A value that JSON cannot hold never keeps the fact out of the journal."""
    assert getattr(decode(encode(make_call(**more))), name) == expected


def test_large_count_is_kept() -> None:
    """A count beyond 64 bits is written in full."""
    assert decode(encode(call := make_call(usage=make_usage(2**64, 1)))) == call


def test_any_mapping_comes_back_as_a_mapping() -> None:
    """Tags and units that are a mapping, but no dict, are kept as one."""
    usage = make_usage(1, 1, other_units=MappingProxyType({"searches": 1}))
    call = make_call(usage=usage, tags=MappingProxyType({"a": "b"}))
    read = decode(encode(call))
    assert isinstance(read, Call)
    assert read.usage is not None
    assert (dict(read.tags), read.usage.other_units) == ({"a": "b"}, {"searches": 1})


def test_fields_of_a_later_version_are_left_out() -> None:
    """A line of a newer version of the package, with a field more, can be read."""
    line = json.dumps({"run": {"run_id": "r", "started_at": NOON.isoformat(), "mood": "good"}}).encode()
    assert decode(line) == RunFact(run_id="r", started_at=NOON)


def test_every_field_is_written() -> None:
    """No field of a fact is left out of its line."""
    for kind, fact in (("call", make_call()), ("run", make_fact(ended_at=NOON + timedelta(1)))):
        written = json.loads(encode(fact))
        assert set(written[kind]) == {item.name for item in dataclasses.fields(fact)}


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"junk",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"7",
        b"{}",
        b'{"call": null}',
        b'{"call": []}',
        b'{"call": {}}',
        b'{"trace": {}}',
        b'{"call": {"call_id": "a", "run_id": "r"}}',
        b'{"call": {"call_id": "a", "run_id": "r", "started_at": "noon"}}',
        b'{"call": {"call_id": "a", "run_id": "r", "started_at": 7}}',
        b'{"run": {"run_id": "r", "started_at": "2026-11-20T12:00:00+00:00"}, "call": {}}',
        b'{"call": {"call_id": "a", "run_id": "r", "started_at": "2026-11-20T12:00:00+00:00", "cost_usd": "much"}}',
        b'{"call": {"call_id": "a", "run_id": "r", "started_at": "2026-11-20T12:00:00+00:00", "usage": {"x": 1}}}',
        b'{"call": {"call_id": "a", "run_id": "r", "started_at": "2026-11-20T12:00:00+00:00", "tool_calls": 7}}',
        encode(make_call())[:-20],
    ],
)
def test_junk_line_is_a_value_error(line: bytes) -> None:
    """A line that is none of ours, or torn, is a `ValueError`."""
    with pytest.raises(ValueError):
        decode(line)


@given(place=st.integers(0, 10_000), flipped=st.integers(1, 255))
@settings(max_examples=200, deadline=None)
def test_changed_byte_is_a_value_error(place: int, flipped: int) -> None:
    """A line of which the disk changed a byte is not taken for another fact, even where it still reads as one."""
    line = bytearray(encode(make_call(call_id="c", chain="sql_fix")))
    line[place % (len(line) - 1)] ^= flipped
    with pytest.raises(ValueError):
        decode(bytes(line))


def test_line_of_an_earlier_version_is_read() -> None:
    """A line without a check sum, as earlier versions wrote it, reads back to its fact."""
    call = make_call(tags={"team": "a"})
    assert decode(b"{" + encode(call)[18:]) == call


@given(line=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: json.dumps({"call": text}).encode()))
def test_any_bytes_are_a_value_error(line: bytes) -> None:
    """No bytes make the reader fail in another way."""
    with pytest.raises(ValueError):
        decode(line)


def test_deeply_nested_line_is_a_value_error() -> None:
    """A line of nothing but brackets is junk like any other."""
    with pytest.raises(ValueError):
        decode(b"[" * 100_000)
