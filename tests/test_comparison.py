"""Variants compared: intervals hold the truth as often as they say, equal ones stay equal, and nothing unknown is 0."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy
import pytest

from langchain_tokens import UsageStore
from langchain_tokens.errors import MissingExtraError, QueryError
from langchain_tokens.reports import Comparison, compare, forecast, trend, unusual
from langchain_tokens.reports import samples as reading
from langchain_tokens.reports.resampling import between_medians, between_rates, least_sample
from langchain_tokens.reports.verdicts import Difference
from tests.builders import make_call
from tests.made_usage import allowed, day, store_of

pytest_plugins = ("tests.databases",)

SIMULATIONS = 200
HOSTILE = 'b<script>\x1b[31m"\u202e'


def variant_calls(name: str, sizes: list[int], **more: Any) -> list[Any]:
    """Two calls in each of so many runs of a variant, `sizes` tokens a call."""
    return [
        make_call(
            **{
                "run_id": f"{name}-{place}",
                "tags": {"variant": name},
                "tokens": (size, 10),
                "cost": f"0.{size:06}",
                "duration_ms": float(size),
                "started_at": day(1),
                **more,
            }
        )
        for place, size in enumerate(sizes)
        for _ in range(2)
    ]


def of(found: Comparison, measure: str, b: str = "b") -> Difference:
    """The difference of a variant from the first in one measure."""
    return next(one for one in found.differences if one.measure == measure and one.b == b)


@pytest.mark.parametrize(("sizes", "noise"), [((6, 6), 0.5), ((12, 30), 1.2), ((60, 40), 0.5)])
@pytest.mark.parametrize("truth", [1.0, 1.3])
def test_interval_of_medians_holds_the_truth(sizes: tuple[int, int], noise: float, truth: float) -> None:
    """The 95 % interval of the ratio misses it in at most 5 % of samples; so equal variants are not called different."""
    random, missed = numpy.random.default_rng(7), 0
    for _ in range(SIMULATIONS):
        first, second = (
            random.lognormal(7 + numpy.log(ratio), noise, size) for ratio, size in zip((1, truth), sizes, strict=True)
        )
        apart = between_medians(first.tolist(), second.tolist(), 0.95, 1)
        assert apart.ratio_low is not None
        assert apart.ratio_high is not None
        missed += not apart.ratio_low <= truth <= apart.ratio_high
        assert (apart.low > 0) == (apart.ratio_low > 1)
    assert missed <= allowed(SIMULATIONS, 0.05)


def test_interval_goes_by_the_values_and_not_by_their_order() -> None:
    """The same values give the same interval in whatever order they were stored, as calls at the same time are."""
    random = numpy.random.default_rng(11)
    first, second = (random.lognormal(7, 0.8, 16).tolist() for _ in range(2))
    found = between_medians(first, second, 0.95, 0)
    assert found == between_medians(first[::-1], [*second[8:], *second[:8]], 0.95, 0)
    assert found.low < found.high


def test_true_difference_is_found() -> None:
    """Medians that differ by more than four of their standard errors are told apart, but for one time in a hundred."""
    random, unfound = numpy.random.default_rng(3), 0
    for _ in range(100):  # 0.405 apart; the error of the difference is 1.2533 x 0.4 x sqrt(2 / 60) = 0.092
        first, second = random.lognormal(7, 0.4, 60), random.lognormal(7 + numpy.log(1.5), 0.4, 60)
        unfound += not between_medians(first.tolist(), second.tolist(), 0.95, 1).low > 0
    assert unfound <= allowed(100, 0.01)


@pytest.mark.parametrize("rates", [(0.5, 0.5), (0.97, 0.97), (0.9, 0.7)])
def test_interval_of_rates_holds_the_truth(rates: tuple[float, float]) -> None:
    """The interval of the difference of two rates misses it in at most 5 % of samples, close to 100 % too."""
    random, missed = numpy.random.default_rng(5), 0
    for _ in range(1_000):
        good = [int(random.binomial(40, rate)) for rate in rates]
        apart = between_rates((good[0], 40), (good[1], 40), 0.95)
        missed += not apart.low <= rates[1] - rates[0] <= apart.high
    assert missed <= allowed(1_000, 0.05)


@pytest.mark.parametrize(("confidence", "least"), [(0.5, 2), (0.9, 5), (0.95, 6), (0.975, 7), (0.99, 8)])
def test_least_sample_is_what_an_interval_needs(confidence: float, least: int) -> None:
    """With so many values their range holds the median often enough, with one less it does not."""
    assert least_sample(confidence) == least
    assert 2 * 0.5**least <= 1 - confidence + 1e-12 < 2 * 0.5 ** (least - 1)


def test_compare_on_each_database(store: UsageStore) -> None:
    """Tokens, money and time of two variants, run by run, the same on each database."""
    store.add([*variant_calls("a", list(range(100, 120))), *variant_calls("b", list(range(50, 60)))])
    found = compare(store)
    a, b = found.variants
    assert [(one.label, one.units, one.calls, one.calls_per_unit) for one in (a, b)] == [
        ("a", 20, 40, 2),
        ("b", 10, 20, 2),
    ]
    assert {spread.measure: spread.median for spread in b.spreads} == {
        "tokens": 129,
        "cost_usd": Decimal("0.000109"),
        "duration_ms": 109,
        "tokens_per_second": pytest.approx(10 / 0.0545, rel=1e-3),
        "calls": 2,
    }
    tokens = of(found, "tokens")
    assert (tokens.difference, tokens.ratio, tokens.is_clear) == (-110, pytest.approx(129 / 239), True)
    assert tokens.verdict.startswith("b uses 46 % fewer tokens than a (95 % interval 4")
    assert tokens.verdict.endswith("%), 10 and 20 runs")
    assert of(found, "calls").verdict == "b and a: the same calls, 10 and 20 runs"
    assert of(found, "success_rate").is_clear is False
    assert compare(store) == found, "the same data give the same answer"


def test_mixed_runs_are_left_out_and_counted() -> None:
    """A run with calls of two variants belongs to neither; nothing of it is counted, and the report says so."""
    calls = [*variant_calls("a", [100] * 8), *variant_calls("b", [100] * 8)]
    mixed = [make_call(run_id="mixed", tags={"variant": name}, tokens=(9_999, 1)) for name in ("a", "b")]
    with store_of([*calls, *mixed]) as store:
        found = compare(store)
        assert [one.units for one in found.variants] == [8, 8]
        assert "1 run with calls of several variants left out" in str(found)
        assert [one.units for one in compare(store, unit="call").variants] == [17, 17]


def test_unknown_is_left_out_and_counted() -> None:
    """A run with an answer whose tokens or price nobody knows is no 0; one with a failed call counts with the rest."""
    calls = variant_calls("a", [100] * 8) + variant_calls("b", [100] * 8)
    calls += [make_call(run_id="a-0", tags={"variant": "a"}, tokens=None)]
    calls += [make_call(run_id="b-0", tags={"variant": "b"}, tokens=None, status="error")]
    with store_of(calls) as store:
        found = compare(store)
    a, b = ({spread.measure: spread for spread in one.spreads} for one in found.variants)
    assert [(one["tokens"].known, one["tokens"].unknown, one["tokens"].mean) for one in (a, b)] == [
        (7, 1, 220),
        (8, 0, 220),
    ]
    assert (a["cost_usd"].known, b["cost_usd"].known) == (7, 8)
    assert [one.success_rate for one in found.variants] == [1, 7 / 8]
    text = str(found).replace("\n", " ")
    assert "a: tokens, cost USD unknown for 1 of 8 runs" in text
    assert "b: 1 failed call without usage" in text


def test_failed_runs_count_with_what_they_used() -> None:
    """A run whose calls all failed counts with the tokens and the price that are recorded; without any it is unknown."""
    calls = variant_calls("a", [100] * 8) + variant_calls("b", [100] * 6)
    calls += [
        make_call(run_id=f"b-failed-{place}", tags={"variant": "b"}, tokens=(50_000, 0), cost="0.5", status="error")
        for place in range(8)
    ]
    calls += [make_call(run_id="b-silent", tags={"variant": "b"}, tokens=None, status="error")]
    with store_of(calls) as store:
        found = compare(store)
    b = {spread.measure: spread for spread in found.variants[1].spreads}
    assert [(b[measure].known, b[measure].unknown) for measure in ("tokens", "cost_usd")] == [(14, 1), (14, 1)]
    assert (b["tokens"].median, b["cost_usd"].median) == (50_000, Decimal("0.5"))


def test_outcomes_stand_beside_the_tokens() -> None:
    """The application's own results of each run are compared, with tokens and USD for each; runs that say none count not."""
    results = {f"{name}-{place}": {"entities": number} for name, number in (("a", 4), ("b", 8)) for place in range(7)}
    with store_of([*variant_calls("a", [100] * 8), *variant_calls("b", [100] * 8)]) as store:
        found = compare(store, outcomes=results)
        assert compare(store, outcomes=results.get) == found
    a, b = (one.outcomes[0] for one in found.variants)
    assert (a.runs, a.total, a.tokens_per_result, a.cost_usd_per_result) == (7, 28, 55, Decimal("0.00005"))
    assert (b.tokens_per_result, b.cost_usd_per_result) == (27.5, Decimal("0.000025"))
    assert (
        of(found, "entities").verdict == "b has 100 % more entities than a (95 % interval 100 % to 100 %), 7 and 7 runs"
    )
    assert "tokens per entities" in str(found)


def test_several_variants_share_the_confidence() -> None:
    """Each is compared with the first; the intervals are wider, so that all of them hold together, and that is said."""
    calls = [call for name in "abcde" for call in variant_calls(name, list(range(100, 120)))]
    with store_of(calls) as store:
        found = compare(store, values=["c", "a", "b", "d", "e"])
    assert {(one.a, one.b) for one in found.differences} == {("c", name) for name in "abde"}
    assert {round(one.confidence, 4) for one in found.differences} == {0.9875}
    assert "98.8 % interval" in str(found)
    assert "each of 4 is compared with c" in str(found)
    assert str(found).count("tokens, median") == 2, "one table has at most four columns"


@pytest.mark.parametrize(
    ("question", "labels"),
    [
        ({"by": "model"}, ["m1", "m2"]),
        ({"by": "tag:variant", "values": ["b", None]}, ["b", "(none)"]),
        (
            {"a": {"since": "2026-11-01", "until": "2026-11-18"}, "b": {"since": "2026-11-18"}},
            ["2026-11-01..2026-11-18", "2026-11-18.."],
        ),
        ({"a": {"model": "m1"}, "b": {"chain": "x"}}, ["model m1", "chain x"]),
    ],
)
def test_sides_are_told_apart_by_any_filter(question: dict[str, Any], labels: list[str]) -> None:
    """By model, a tag's values, ranges of time, or what else can be filtered."""
    calls = [make_call(run_id=f"1-{n}", model="m1", started_at=day(9), tags={"variant": "b"}) for n in range(6)]
    calls += [make_call(run_id=f"2-{n}", model="m2", chain="x", started_at=day(1)) for n in range(6)]
    with store_of(calls) as store:
        found = compare(store, **question)
    assert [(one.label, one.units) for one in found.variants] == [(label, 6) for label in labels]


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ({"by": "path"}, "variants cannot be told apart by 'path'"),
        ({"unit": "day"}, "unit='day'"),
        ({"measures": ["speed"]}, "measures has 'speed'"),
        ({"measures": "tokens"}, "measures has 'tokens'; allowed: a list"),
        ({"confidence": 95}, "confidence=95"),
        ({"a": {}}, "a= and b= belong together"),
        ({"unit": "call", "outcomes": {}}, "outcomes= are those of runs"),
        ({"outcomes": {"a-0": {"tokens": 3}}}, "the outcome 'tokens'"),
        ({"outcomes": {"a-0": {"entities": "many"}}}, "the outcome 'entities' of run 'a-0' is 'many'"),
        ({"by": "chain", "values": [str(number) for number in range(11)]}, "more than 10 values"),
    ],
)
def test_wrong_questions_are_refused(question: dict[str, Any], said: str) -> None:
    """What cannot be compared says so, and what is allowed."""
    with store_of(variant_calls("a", [1])) as store, pytest.raises(QueryError, match=said):
        compare(store, **question)


@pytest.mark.parametrize(
    "calls",
    [
        [],
        variant_calls("a", [1]),
        variant_calls("a", [5] * 9) + variant_calls("b", [5] * 9),
        variant_calls("a", [0] * 9, tokens=(0, 0), duration_ms=0.0) + variant_calls("b", [0] * 9, tokens=(0, 0)),
        variant_calls("a", [5] * 9, tokens=None, cost=None, duration_ms=None)
        + variant_calls("b", [5] * 9, tokens=None, cost=None),
        variant_calls("a", [5] * 9) + variant_calls("b", [*[5] * 8, 10**12 + 1], cost="1"),
        variant_calls(HOSTILE, [5] * 9) + variant_calls("\n", [7] * 9),
        variant_calls("a", [5] * 9, status="error") + variant_calls("b", [7] * 9, status="cached"),
    ],
    ids=["none", "one", "equal", "zeros", "unknown", "huge", "hostile", "failed"],
)
@pytest.mark.parametrize("unit", ["run", "call"])
def test_odd_data_are_told(calls: list[Any], unit: Any) -> None:
    """Nothing, one call, zeros, unknowns and hostile names give an answer that can be shown everywhere."""
    with store_of(calls) as store:
        found = compare(store, unit=unit)
    text = str(found)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "nan" not in text
    assert "<script>" not in found._repr_html_()
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize("tz", ["UTC", "Asia/Kolkata"])
@pytest.mark.parametrize(("most", "since"), [(1_000, None), (10, day(2).replace(hour=0)), (5, day(1))])
def test_very_many_calls_are_narrowed_to_the_newest(
    most: int, since: Any, tz: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond a bound whole days, or hours of the last day, are read, UTC; the report says from when on."""
    monkeypatch.setattr(reading, "_MOST_CALLS", {"run": most, "call": most})
    calls = [make_call(run_id=f"r{number}", model="m", started_at=day(number)) for number in range(1, 40)]
    calls += [
        make_call(run_id=f"s{hour}-{n}", model="m", started_at=day(1).replace(hour=hour))
        for hour in (9, 12)
        for n in range(4)
    ]
    with store_of(calls) as store:
        found = compare(store, a={"model": "m"}, b={"model": "other"}, tz=tz)
    assert found.variants[0].units == {1_000: 47, 10: 10, 5: 5}[most]
    assert (since is None) or f"model m: very many calls; read from {since:%Y-%m-%d %H:%M} UTC on" in str(found)


@pytest.mark.parametrize("report", [compare, forecast, trend, unusual])
def test_missing_extra_is_named(report: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the libraries the error says which extra brings them."""
    monkeypatch.setitem(sys.modules, "statsmodels", None)
    with store_of([]) as store, pytest.raises(MissingExtraError, match=r"langchain_tokens\[analytics\]"):
        report(store)
