"""What holds for every usage and every payload? Laws of addition, and a reader that nothing harms."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_tokens.reading.formats import SHAPES
from langchain_tokens.reading.places import BESIDE, METADATA, PLACES
from langchain_tokens.shapes import Reading, read, read_answer
from langchain_tokens.usage import COUNTS, TokenUsage

CASES = 100_000
SEED = 20_261_122
LARGEST = 2**63 - 1
TABLE = (*SHAPES, BESIDE, METADATA)
KEYS = sorted({key for shape in TABLE for names in (*shape.says.values(), *shape.adds.values()) for key in names})
SECTIONS = sorted(
    {
        section.partition(".")[0]
        for shape in TABLE
        for section in (*shape.says, *shape.units, *shape.lists, *shape.words)
    }
    | {key for shape in TABLE for cost in shape.costs for key in (*cost.way, *cost.upstream)}
    | {key for way in PLACES for key in way}
    | {"iterations", "usage_breakdown", "models", "model", "body", "token_count", "service_tier", "serviceTier"}
)
ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    -1,
    0,
    0.0,
    -0.0,
    1.5,
    12.0,
    math.nan,
    math.inf,
    -math.inf,
    LARGEST,
    LARGEST + 1,
    2**200,
    -(2**70),
    1e300,
    "",
    "12",
    "flex",
    "\ud800",
    b"x",
    Decimal("0.1"),
    Decimal("NaN"),
    (),
    [],
    {},
    [[]],
    {"": None},
    {1: 2},
    ...,
)

COUNT = st.none() | st.integers(min_value=0, max_value=2**40)
USAGES = st.builds(
    TokenUsage,
    **dict.fromkeys(COUNTS, COUNT),
    other_units=st.none() | st.dictionaries(st.sampled_from(["searches", "pages", "calls"]), st.integers(0, 2**40)),
    service_tier=st.sampled_from([None, "flex", "default"]),
)
SCALARS = st.sampled_from(ODD) | st.integers() | st.floats() | st.text(max_size=5)
PAYLOADS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*KEYS, *SECTIONS]), inner, max_size=8),
    max_leaves=25,
)


@given(one=USAGES, two=USAGES, three=USAGES)
def test_addition_is_associative(one: TokenUsage, two: TokenUsage, three: TokenUsage) -> None:
    """However a sum is bracketed, it is the same."""
    assert (one + two) + three == one + (two + three)


@given(one=USAGES, two=USAGES)
def test_addition_is_commutative(one: TokenUsage, two: TokenUsage) -> None:
    """In whichever order two usages are added, the sum is the same."""
    assert one + two == two + one


@given(one=USAGES, two=USAGES)
def test_none_adds_nothing(one: TokenUsage, two: TokenUsage) -> None:
    """A count of a sum is None only where both summands say nothing; an unknown count changes no other."""
    total = one + two
    for name in COUNTS:
        parts = [value for usage in (one, two) if (value := getattr(usage, name)) is not None]
        assert getattr(total, name) == (sum(parts) if parts else None)


@given(usages=st.lists(USAGES, min_size=1, max_size=6))
def test_sum_is_repeated_addition(usages: list[TokenUsage]) -> None:
    """The built-in sum gives what adding one by one gives."""
    total = usages[0]
    for usage in usages[1:]:
        total = total + usage
    assert sum(usages) == total


def assert_sound(reading: Reading) -> None:
    """Check what holds for every reading, whatever it was read from."""
    assert list(reading.flags) == sorted(set(reading.flags))
    json.dumps(reading.raw, allow_nan=False).encode()
    cost = reading.reported_cost_usd
    assert cost is None or (cost.is_finite() and 0 <= cost <= 2_000_000)
    if reading.usage is None:
        return
    for name in COUNTS:
        value = getattr(reading.usage, name)
        assert value is None or (type(value) is int and 0 <= value <= LARGEST)
    for unit, number in (reading.usage.other_units or {}).items():
        assert type(unit) is str
        assert type(number) in (int, float)
        assert 0 <= number < math.inf


def answer_of(parts: tuple[Any, Any, Any, Any]) -> Reading:
    """Read an answer of which LangChain hands over these four parts."""
    names = ("usage_metadata", "response_metadata", "llm_output", "generation_info")
    return read_answer(**dict(zip(names, parts, strict=True)))


@settings(deadline=None, max_examples=300)
@given(payload=PAYLOADS)
def test_no_payload_harms_the_reader(payload: Any) -> None:
    """Whatever a payload, a body or a stream's frames are, reading does not raise and gives sound counts."""
    for whole in (payload, {"usage": payload}, [payload, {"usage": payload}], [{"message": {"usage": payload}}]):
        assert_sound(read(whole))


@settings(deadline=None, max_examples=200)
@given(parts=st.tuples(PAYLOADS, PAYLOADS, PAYLOADS, PAYLOADS))
def test_no_answer_harms_the_reader(parts: tuple[Any, Any, Any, Any]) -> None:
    """Whatever LangChain hands over, reading does not raise and gives sound counts."""
    assert_sound(answer_of(parts))


@settings(deadline=None, max_examples=200)
@given(payload=PAYLOADS)
def test_the_payload_is_not_changed(payload: Any) -> None:
    """What is read stays as it was, and the copy that is kept shares nothing with it."""
    before = repr(payload)
    readings = [
        read(payload),
        read([payload, {"usage": payload}]),
        answer_of((payload, {"usage": payload}, None, payload)),
    ]
    assert repr(payload) == before
    assert all(reading.raw is None or reading.raw is not payload for reading in readings)


@given(given_tokens=st.integers(0, 2**40), answered=st.integers(0, 2**40), read_back=st.integers(0, 2**40))
def test_a_total_is_never_below_its_parts(given_tokens: int, answered: int, read_back: int) -> None:
    """What is left outside by a shape is added, so that details are always contained in the totals."""
    usage = {"input_tokens": given_tokens, "cache_read_input_tokens": read_back, "output_tokens": answered}
    reading = read(usage)
    assert reading.usage is not None
    assert reading.usage.input_tokens == given_tokens + read_back
    assert reading.usage.total_tokens == given_tokens + read_back + answered
    assert reading.flags == ()


def made(chance: random.Random, depth: int) -> Any:
    """A payload by chance: known keys, odd values, rubbish within rubbish."""
    kind = chance.random()
    if depth == 0 or kind < 0.55:
        return chance.choice(ODD) if kind < 0.3 else chance.randrange(2_000)
    if kind < 0.62:
        return [made(chance, depth - 1) for _ in range(chance.randrange(3))]
    pool = KEYS if kind < 0.85 else SECTIONS
    return {chance.choice(pool): made(chance, depth - 1) for _ in range(chance.randrange(1, 6))}


def dressed(chance: random.Random, payload: Any) -> Callable[[], Reading]:
    """One of the ways in which a payload reaches the reader."""
    ways: tuple[Callable[[], Reading], ...] = (
        lambda: read(payload),
        lambda: read({chance.choice(SECTIONS): payload}),
        lambda: read([payload, payload]),
        lambda: answer_of((payload, {chance.choice(SECTIONS): payload}, None, payload)),
    )
    return chance.choice(ways)


def test_a_hundred_thousand_payloads_are_read() -> None:
    """A hundred thousand payloads by chance, the same in every run, are read without harm."""
    chance = random.Random(SEED)
    read_well = 0
    for _ in range(CASES):
        keys = {chance.choice(KEYS): made(chance, 2) for _ in range(chance.randrange(1, 5))}
        payload = {**keys, chance.choice(SECTIONS): made(chance, 3)}
        reading = dressed(chance, payload)()
        read_well += reading.usage is not None
        assert "unreadable" not in reading.flags
        if reading.flags or reading.usage is not None:
            assert_sound(reading)
    assert CASES / 10 < read_well < CASES
