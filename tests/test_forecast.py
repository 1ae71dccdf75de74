"""Spend projected: intervals hold what really comes as often as they say, and too little history is said to be that."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy
import pytest

from langchain_tokens import UsageStore
from langchain_tokens.errors import QueryError
from langchain_tokens.reports import forecast, patterns, trend
from langchain_tokens.reports.projecting import project
from langchain_tokens.reports.trends import Point, _slope
from tests.builders import make_call
from tests.made_usage import NOW, TODAY, allowed, day, steady_calls, store_of

pytest_plugins = ("tests.databases",)

SIMULATIONS = 120
WEEK = numpy.array([1.0, 1.1, 1.05, 1.0, 0.9, 0.3, 0.25])
"""What each weekday uses, Monday first."""


def noisy(random: Any, means: Any, noise: str) -> Any:
    """Days of use around their means: by a factor, as a sum of Poisson many calls, or with a free weekend."""
    if noise == "factor":
        return means * random.lognormal(-0.045, 0.3, len(means))
    if noise == "rough":
        return means * random.lognormal(-0.32, 0.8, len(means))
    calls = random.poisson(means * 2)
    return numpy.array([random.lognormal(-0.5, 1, count).sum() / 2 for count in calls])


@pytest.mark.parametrize(
    ("days", "ahead", "noise", "growth"),
    [
        (7, 14, "factor", 0.0),
        (14, 15, "factor", 0.0),
        (28, 15, "rough", 0.0),
        (56, 15, "calls", 0.0),
        (56, 1, "factor", 0.0),
        (56, 15, "factor", 0.1),
    ],
)
def test_interval_holds_what_really_comes(days: int, ahead: int, noise: str, growth: float) -> None:
    """The 80 % interval misses the true total of the days to come in at most 20 % of simulated months."""
    random, missed = numpy.random.default_rng(11), 0
    numbers = numpy.arange(days + ahead)
    week = WEEK if days > 7 else numpy.ones(7)
    means = 20 * week[numbers % 7] * numpy.exp(growth * numbers / 7)
    for _ in range(SIMULATIONS):
        amounts = noisy(random, means, noise)
        found = project(numbers[:days].tolist(), amounts[:days].tolist(), numbers[days:].tolist(), 1)
        assert found.draws is not None
        low, high = numpy.quantile(found.draws, [0.1, 0.9])
        missed += not low <= amounts[days:].sum() <= high
        assert found.has_weekdays == (days > 7)
    assert missed <= allowed(SIMULATIONS, 0.2)


@pytest.mark.parametrize(("growth", "most", "least"), [(0.0, allowed(100, 0.05), 0), (0.2, 100, 95)])
def test_growth_is_seen_where_it_is(growth: float, most: int, least: int) -> None:
    """Eight weeks that grow by a fifth each week have growth in their model; those that do not have it rarely."""
    random, seen = numpy.random.default_rng(2), 0
    numbers = numpy.arange(56)
    for _ in range(100):
        amounts = noisy(random, WEEK[numbers % 7] * numpy.exp(growth * numbers / 7), "factor")
        seen += project(numbers.tolist(), amounts.tolist(), [56], 1).has_trend
    assert least <= seen <= most


def priced(start: datetime, usd: str) -> Any:
    """A call of a cost."""
    return make_call(started_at=start, cost=usd)


def test_forecast_on_each_database(store: UsageStore) -> None:
    """A month of days that are all alike, but for weekends without any use, ends where it has to."""
    starts = [TODAY - timedelta(days=number) for number in range(28)]
    store.add(
        [
            priced(start + timedelta(hours=hour), "0.5")
            for start in starts
            if start.weekday() < 5
            for hour in (9, 15)
            if start + timedelta(hours=hour) < NOW
        ]
    )
    found = forecast(store, now=NOW)
    assert found.spent == Decimal("14.5"), "14 working days in November, and half of the 20th"
    assert found.projected == found.low == found.high == Decimal(21), "21 working days in all"
    assert "weekdays" in found.method
    assert forecast(store, "day", now=NOW).projected == 1
    assert forecast(store, "week", measure="calls", now=NOW).projected == 10
    assert forecast(store, "2026-11-24", now=NOW).projected == 2
    assert forecast(store, now=NOW) == found, "the same data give the same answer"


def test_steps_are_those_of_utc_whatever_the_zone(store: UsageStore) -> None:
    """A zone says how texts are read; hours, days and months of forecasts and trends stay those of UTC."""
    store.add([priced(day(number) + timedelta(hours=11), str(number % 5 + 1)) for number in range(1, 30)])
    found, steps = forecast(store, now=NOW), trend(store, measure="cost", now=NOW)
    for zone in ("Asia/Kolkata", "Pacific/Kiritimati", "America/St_Johns"):
        assert forecast(store, now=NOW, tz=zone) == found
        assert trend(store, measure="cost", now=NOW, tz=zone) == steps


@pytest.mark.parametrize(
    ("until", "since", "end"),
    [
        ("day", "2026-11-20", "2026-11-21"),
        ("week", "2026-11-16", "2026-11-23"),
        ("month", "2026-11-01", "2026-12-01"),
        ("2026-12-24", "2026-11-20", "2026-12-24"),
    ],
)
def test_periods_are_those_of_the_calendar(until: str, since: str, end: str) -> None:
    """A day, a week from Monday, a month, or until a date; UTC."""
    with store_of([]) as store:
        found = forecast(store, until, now=NOW)
    assert (f"{found.since:%Y-%m-%d}", f"{found.until:%Y-%m-%d}") == (since, end)
    assert (found.spent, found.projected, found.low) == (0, None, None)
    assert "Nothing to project from" in str(found)


def test_too_little_history_has_no_interval() -> None:
    """With six complete days the rate goes on, without an interval, and the report says why."""
    with store_of([priced(day(number) - timedelta(hours=12), "1") for number in range(1, 7)]) as store:
        found = forecast(store, "2026-11-21", now=NOW)
    assert found.history_days == 6
    assert (found.spent, found.projected) == (0, pytest.approx(Decimal(6) * 12 / (6 * 24 + 12)))
    assert (found.low, found.high) == (None, None)
    assert "Too little history" in str(found)


def test_unknown_costs_are_counted_and_their_days_left_out() -> None:
    """A day whose calls have no price is not a day without cost."""
    calls = [priced(day(number), "1") for number in range(1, 15)]
    calls += [make_call(started_at=moment) for moment in (day(15), day(15), NOW - timedelta(hours=1))]
    with store_of(calls) as store:
        found = forecast(store, "2026-11-22", now=NOW)
    assert (found.history_days, found.unknown_calls, found.unknown_history_calls) == (14, 1, 2)
    assert (found.spent, found.projected) == (None, None)
    assert "in no sum here: 3 calls" in str(found)


@pytest.mark.parametrize("measure", ["cost", "tokens"])
@pytest.mark.parametrize("until", ["day", "week", "month"])
@pytest.mark.parametrize("days", [3, 40])
def test_what_no_call_tells_is_not_projected_as_nothing(days: int, until: str, measure: str) -> None:
    """Where there are calls and none knows its number, nothing is said to come: hours without calls do not make it 0."""
    calls = [make_call(tokens=None, started_at=day(number), status="error") for number in range(1, days)]
    with store_of(calls) as store:
        found = forecast(store, until, measure=measure, now=TODAY + timedelta(hours=15))
    assert (found.projected, found.low, found.high, found.method, found.history_days) == (None, None, None, "none", 0)
    assert (found.history_since, found.unknown_calls + found.unknown_history_calls) == (None, days - 1)
    assert "no call of the last weeks tells it" in str(found)


@pytest.mark.parametrize("measure", ["cost", "tokens"])
@pytest.mark.filterwarnings("error")
def test_growth_without_bounds_is_an_answer(measure: str) -> None:
    """A growth that is beyond all numbers in ten years is said to be that; what numbers can say is an amount."""
    noise = numpy.random.default_rng(5).lognormal(0, 0.1, 56)
    used = [1.25**number * float(noise[number]) for number in range(56)]
    calls = [
        make_call(started_at=day(56 - number), tokens=(int(amount) + 1, 5), cost=f"{amount / 1e6:.12f}")
        for number, amount in enumerate(used)
    ]
    with store_of(calls) as store:
        far = forecast(store, NOW.replace(year=2036, hour=0), measure=measure, now=NOW)
        near = forecast(store, NOW.replace(year=2027, hour=0), measure=measure, now=NOW)
    assert (far.projected, far.low, far.high) == (None, None, None)
    assert "beyond all numbers" in str(far)
    assert near.projected is not None
    assert near.projected > 10**16
    json.dumps([far.to_dict(), near.to_dict()], allow_nan=False)


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ({"measure": "speed"}, "unknown measure 'speed'"),
        ({"confidence": 2}, "confidence=2"),
        ({"until": "7d"}, "expected day, week, month or a later midnight"),
        ({"until": "2026-12-01T12:00Z"}, "later midnight"),
        ({"until": "3000-01-01"}, "until='3000-01-01' is 3000-01-01; expected a moment within 10 years"),
        ({"since": "7d"}, "finds its range itself"),
        ({"now": datetime(2026, 11, 20)}, "no time zone"),  # noqa: DTZ001  # that is the point
    ],
)
def test_wrong_questions_are_refused(question: dict[str, Any], said: str) -> None:
    """What cannot be projected says so."""
    with store_of([]) as store, pytest.raises(QueryError, match=said):
        forecast(store, **{"now": NOW, **question})


def test_trend_finds_the_slope() -> None:
    """Days that grow by ten tokens each have that slope, whatever one wild day says; the running day is left out."""
    calls = [make_call(started_at=day(number), tokens=(1_000 - 10 * number, 0)) for number in range(21)]
    with store_of([*calls, make_call(started_at=day(10), tokens=(10**9, 0))]) as store:
        found = trend(store, now=NOW)
        assert len(found.points) == 20
        assert found.slope == 10
        assert found.verdict.startswith("Grows by 10 tokens, 1 % of the median, from one day to the next")
        assert trend(store, since="2026-11-15", now=NOW).slope is None
        falling = _slope(
            [replace(point, used=-(point.used or 0) + 2_000) for point in found.points], "day", "", "tokens"
        )
        said = "Falls by 10 tokens, 0.9 % of the median, from one day to the next (95 % interval 10 to 10)."
        assert (falling["slope"], falling["verdict"]) == (-10, said)
        with pytest.raises(QueryError, match="take longer ones"):
            trend(store, "hour", since="2026-11-01", now=NOW + timedelta(days=90))


def test_level_days_have_no_trend() -> None:
    """In noise the slope's interval leaves zero out in at most 5 % of simulated months."""
    random, clear = numpy.random.default_rng(4), 0
    for _ in range(200):
        sizes = random.lognormal(7, 0.3, 30)
        points = [Point(start=day(number), used=size, calls=1, unknown_calls=0) for number, size in enumerate(sizes)]
        found = _slope(points, "day", "total_tokens", "tokens")
        clear += found["low"] > 0 or found["high"] < 0
    assert clear <= allowed(200, 0.05)


@pytest.mark.parametrize(
    "make", [lambda store: forecast(store, now=NOW), lambda store: trend(store, now=NOW), patterns]
)
@pytest.mark.parametrize(
    "calls",
    [
        [],
        steady_calls(days=1, each=1),
        steady_calls(tokens=(0, 0), cost="0"),
        steady_calls(tokens=(0, 0), cost=None, agent="<b>\x1b[31m\u202e"),
        [*steady_calls(), make_call(started_at=day(1), tokens=(2**62, 1), cost="900000")],
        [make_call(started_at=day(1), cost="1", price_status="unpriced")],
    ],
    ids=["none", "one", "zeros", "unknown", "huge", "a cost without its status"],
)
def test_odd_data_are_told(calls: list[Any], make: Callable[[UsageStore], Any]) -> None:
    """Nothing, one call, zeros, unknowns and huge numbers give an answer that can be shown everywhere."""
    with store_of(calls) as store:
        found = make(store)
    text = str(found)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert not any(odd in text for odd in ("\x1b", "\u202e", "nan", "inf"))
    assert "<b>" not in found._repr_html_()
    json.dumps(found.to_dict(), allow_nan=False)


def test_patterns_add_up() -> None:
    """Use by hour and weekday is that of all calls; speed and cost stand by model, the dearest place first."""
    slow = {"model": "m", "provider": "p", "duration_ms": 2_000.0}
    calls = [
        make_call(**slow, started_at=day(number), tokens=(10, 40), cost="0.5", agent="a") for number in range(1, 8)
    ]
    with store_of([*calls, make_call(started_at=NOW, tokens=None, status="error")]) as store:
        found = patterns(store)
    assert [(one.name, one.calls, one.failed_calls) for one in found.hours if one.calls] == [("12", 8, 1)]
    assert [one.calls for one in found.weekdays] == [1, 1, 1, 1, 2, 1, 1]
    assert sum(one.total_tokens or 0 for one in found.weekdays) == 350
    fastest = found.speeds[0]
    assert (fastest.model, fastest.tokens_per_second, fastest.mean_duration_ms) == ("m", 20, 2_000)
    assert [(one.agent, one.cost_usd, one.share, one.cost_usd_per_call) for one in found.costly] == [
        ("a", Decimal("3.5"), 1.0, Decimal("0.5"))
    ]
    assert "1 of 8 calls without a price" in str(found)


def test_mean_durations_are_those_of_calls_that_know_it() -> None:
    """A call without a duration does not make the others look faster."""
    model: dict[str, Any] = {"model": "m", "provider": "p", "started_at": NOW}
    timed, untimed = make_call(**model, duration_ms=1_000.0), [make_call(**model, duration_ms=None) for _ in range(9)]
    with store_of([timed, *untimed, make_call(model="other", provider="p", duration_ms=None)]) as store:
        found = patterns(store)
    assert [(one.model, one.calls, one.mean_duration_ms) for one in found.speeds] == [
        ("m", 10, 1_000),
        ("other", 1, None),
    ]


def test_patterns_are_those_of_utc_whatever_the_zone() -> None:
    """A zone says how texts are read; hours and weekdays stay those of UTC."""
    with store_of([make_call(started_at=day(number)) for number in range(1, 8)]) as store:
        assert patterns(store, tz="Asia/Kolkata") == patterns(store)
