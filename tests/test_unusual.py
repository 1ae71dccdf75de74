"""The unusual found: what is planted is found and explained, and usual consumption raises an alarm as rarely as said."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy
import pytest

from langchain_tokens import UsageStore
from langchain_tokens.errors import QueryError
from langchain_tokens.reports import Unusual, UnusualReport, unusual
from langchain_tokens.reports.outliers import judge, most_unusual
from tests.builders import make_call
from tests.made_usage import NOW, allowed, day, steady_calls, store_of

pytest_plugins = ("tests.databases",)

SIMULATIONS = 200
GROUPS = 4
RATE = 0.05
WEEKENDS = [number % 7 > 4 for number in range(30)]


def lognormal(random: Any) -> tuple[Any, Any]:
    """Days that differ by a factor."""
    return random.lognormal(8, 0.5, 30), numpy.full(30, 500)


def weekends(random: Any) -> tuple[Any, Any]:
    """The same, with a fifth of it at weekends."""
    return random.lognormal(8, 0.3, 30) * numpy.where(WEEKENDS, 0.2, 1), numpy.full(30, 500)


def rare(random: Any) -> tuple[Any, Any]:
    """One call a day, by chance."""
    calls = random.poisson(1, 30)
    return calls.astype(float), calls


def frequent(random: Any) -> tuple[Any, Any]:
    """Twenty calls a day, by chance, of sizes that differ much."""
    calls = random.poisson(20, 30)
    return numpy.array([random.lognormal(6, 1, count).sum() for count in calls]), calls


def few(random: Any) -> tuple[Any, Any]:
    """Ten days only."""
    return random.lognormal(8, 0.5, 10), numpy.full(10, 500)


@pytest.mark.parametrize("make", [lognormal, weekends, rare, frequent, few])
def test_usual_consumption_raises_an_alarm_as_rarely_as_said(make: Callable[[Any], tuple[Any, Any]]) -> None:
    """Of reports on chance alone at most the stated part has any finding."""
    random, alarms = numpy.random.default_rng(6), 0
    for _ in range(SIMULATIONS):
        chances: list[float] = []
        for _ in range(GROUPS):
            amounts, calls = make(random)
            used = amounts > 0
            kinds = numpy.array(WEEKENDS[: len(amounts)])[used].tolist()
            chances += [one.probability for one in judge(amounts[used], calls[used], kinds)]
        alarms += bool(most_unusual(chances, RATE))
    assert alarms <= allowed(SIMULATIONS, RATE)


def test_far_amount_is_found_among_noise() -> None:
    """A day of eight times the usual, seven spreads away, is missed in at most one of a hundred months."""
    random, missed = numpy.random.default_rng(8), 0
    for _ in range(SIMULATIONS):
        amounts = random.lognormal(8, 0.3, 30)
        amounts[12] = numpy.exp(8) * 8
        judged = judge(amounts, [500] * 30, [0] * 30)
        missed += 12 not in most_unusual([one.probability for one in judged], 0.01)
    assert missed <= allowed(SIMULATIONS, 0.01)


def only(found: UnusualReport) -> Unusual:
    """The one finding of a report."""
    assert len(found) == 1, str(found)
    return found[0]


def planted(**more: Any) -> list[Any]:
    """Calls on the fifth day before today."""
    return [call for call in steady_calls(days=5, **more) if call.started_at.date() == day(5).date()]


USUAL = steady_calls()
OTHERS = [call for call in USUAL if call.started_at.date() != day(5).date()]


@pytest.mark.parametrize(
    ("calls", "measure", "names", "said"),
    [
        (USUAL + planted(each=90), "tokens", ["calls"], "more calls: 100 instead of 10"),
        (OTHERS + planted(tokens=(9_000, 100)), "tokens", ["input"], "longer inputs: 9,0"),
        (
            OTHERS + planted(tokens=(1_000, 9_000)),
            "tokens",
            ["output"],
            "longer outputs: 9,000 tokens a call instead of 100",
        ),
        (OTHERS + planted(cost="0.2"), "cost", ["price"], "dearer tokens: 172"),
        (
            OTHERS + planted(cost="0.2", model="o3-pro"),
            "cost",
            ["model"],
            "another model: 100 % of the tokens by o3-pro, usually 0 %",
        ),
        (USUAL + planted(each=90, attempt=2), "calls", ["calls", "retries"], "90 % of the calls were further attempts"),
        (
            USUAL + planted(each=90, status="error"),
            "calls",
            ["calls", "failures"],
            "90 % of the calls failed, usually 0 %",
        ),
    ],
    ids=["calls", "input", "output", "price", "model", "retries", "failures"],
)
def test_planted_day_is_found_and_explained(calls: list[Any], measure: str, names: list[str], said: str) -> None:
    """The day is found, and what was planted is what the report says made it."""
    with store_of(calls) as store:
        found = only(unusual(store, measure=measure, now=NOW))
    assert (found.name, found.start) == ("intent", day(5).replace(hour=0))
    assert [cause.name for cause in found.causes] == names
    assert said in found.text.replace("More", "more").replace("Longer", "longer").replace("Dearer", "dearer").replace(
        "Another", "another"
    )
    assert found.causes[0].share == pytest.approx(1, abs=0.05)
    assert found.seen > found.limit > found.expected
    assert found.times == pytest.approx(float(found.seen) / float(found.expected))


def test_days_are_those_of_utc_whatever_the_zone() -> None:
    """A zone says how a range is read; the day that is found and its causes are those of UTC."""
    late = [replace(call, started_at=call.started_at.replace(hour=23)) for call in OTHERS]
    late += [replace(call, started_at=call.started_at.replace(hour=23)) for call in planted(cost="0.2", model="o3-pro")]
    with store_of(late) as store:
        plain = only(unusual(store, measure="cost", now=NOW))
        zoned = only(unusual(store, measure="cost", now=NOW, tz="Asia/Kolkata"))
    assert zoned == plain
    assert zoned.start == day(5).replace(hour=0)


def test_planted_session_is_found_on_each_database(store: UsageStore) -> None:
    """One session that used far more than the others is found, and why; the same on each database."""
    calls = [
        make_call(session=f"s{n}", started_at=day(1), tokens=(1_000 + n, 100), cost="0.01")
        for n in range(40)
        for _ in range(3)
    ]
    calls += [make_call(session="wild", started_at=day(1), tokens=(1_020, 100), cost="0.01") for _ in range(200)]
    store.add(calls)
    found = unusual(store, by="session", measure="cost", now=NOW)
    assert (only(found).name, found.judged) == ("wild", 41)
    assert (found[0].seen, found[0].start) == (Decimal("2.00"), None)
    assert [cause.name for cause in found[0].causes] == ["calls"]
    assert "session wild: 2.00 USD, expected about 0.030000" in found[0].text
    assert only(unusual(store, by="session", measure="calls", now=NOW)).expected == pytest.approx(3)


def test_busy_hour_is_found_in_its_own_day() -> None:
    """Hours are compared with the same hour of other days, so that a quiet hour may be unusual with a busy one's use."""
    calls = [
        make_call(chain="c", started_at=day(number).replace(hour=hour), tokens=(each + number, 0))
        for number in range(1, 31)
        for hour, each in ((3, 100), (10, 5_000))
    ]
    with store_of([*calls, make_call(chain="c", started_at=day(4).replace(hour=3), tokens=(4_900, 0))]) as store:
        found = only(unusual(store, every="hour", now=NOW))
    assert found.start == day(4).replace(hour=3)
    assert found.text.startswith("2026-11-16 03:00 chain c: 5,004 tokens, expected about 1")


def test_running_day_is_compared_but_tells_nothing_of_others() -> None:
    """Today is found as soon as it is beyond what is usual, and while it goes on it is no small day."""
    today = [make_call(chain="intent", started_at=NOW - timedelta(minutes=n), tokens=(1_000, 100)) for n in range(200)]
    with store_of(USUAL + today) as store:
        assert only(unusual(store, now=NOW)).start == NOW.replace(hour=0)
    with store_of(USUAL + today[:1]) as store:
        found = unusual(store, now=NOW)
    assert (len(found), found.judged) == (0, 31)
    assert "Nothing unusual among 31 days by chain compared in tokens" in str(found)


@pytest.mark.parametrize("by", ["agent", "model", "tag:team", "user"])
def test_calls_without_a_name_are_a_group_too(by: str) -> None:
    """What has no name is found as such, by a tag as well."""
    with store_of([*USUAL, *planted(each=90)]) as store:
        found = only(unusual(store, by=by, now=NOW, **({"model": "gpt-4o"} if by != "model" else {})))
    assert found.name == ("gpt-4o" if by == "model" else None)
    assert f"{by} {'gpt-4o' if by == 'model' else '(none)'}: " in found.text


def test_too_few_others_are_counted() -> None:
    """Where nothing tells what is usual, nothing is judged, and the report says how much that was."""
    with store_of(steady_calls(days=5)) as store:
        found = unusual(store, now=NOW)
    assert (len(found), found.judged, found.not_judged) == (0, 0, 5)
    assert "5 days not compared: less than 8 others" in str(found)


def test_most_findings_are_limited() -> None:
    """The farthest come first; how many more there are is said."""
    calls = [make_call(session=f"s{n}", started_at=day(1), tokens=(1_000 + n, 0)) for n in range(60)]
    calls += [make_call(session=f"wild-{n}", started_at=day(1), tokens=(10**6 * (n + 1), 0)) for n in range(3)]
    with store_of(calls) as store:
        found = unusual(store, by="session", limit=1, now=NOW)
    assert only(found).name == "wild-2"
    assert "2 more are not shown." in str(found)


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ({"by": "day"}, "unknown by='day'"),
        ({"by": "tag:"}, "unknown by='tag:'"),
        ({"every": "month"}, "every='month'"),
        ({"rate": 1}, "rate=1"),
        ({"limit": 0}, "limit=0"),
        ({"measure": "speed"}, "unknown measure 'speed'"),
    ],
)
def test_wrong_questions_are_refused(question: dict[str, Any], said: str) -> None:
    """What cannot be searched says so."""
    with store_of([]) as store, pytest.raises(QueryError, match=said):
        unusual(store, **question)


@pytest.mark.parametrize("by", ["chain", "session"])
@pytest.mark.parametrize(
    "calls",
    [
        [],
        steady_calls(days=1, each=1),
        steady_calls(tokens=(0, 0), cost="0"),
        steady_calls(tokens=(0, 0), cost=None),
        [make_call(chain="c", session=f"s{n}", started_at=day(n), tokens=(100, 10)) for n in range(1, 20)],
        [
            make_call(
                chain="<b>\x1b[31m\u202e\n",
                session="<i>\x1b" * n,
                started_at=day(n),
                tokens=(2**60 if n == 5 else 100, 10),
            )
            for n in range(1, 20)
        ],
    ],
    ids=["none", "one", "zeros", "unknown", "equal", "huge"],
)
def test_odd_data_are_told(calls: list[Any], by: str) -> None:
    """Nothing, one call, zeros, unknowns, equal days and hostile names give an answer that can be shown everywhere."""
    with store_of(calls) as store:
        found = unusual(store, by=by, now=NOW)
        assert len(unusual(store, by=by, measure="cost", now=NOW)) == 0
    assert len(found) == (1 if any((call.usage.input_tokens or 0) > 2**59 for call in calls if call.usage) else 0)
    text = str(found)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert not any(odd in text for odd in ("\x1b", "\u202e", "nan"))
    assert not any(odd in found._repr_html_() for odd in ("<b>", "<i>"))
    json.dumps(found.to_dict(), allow_nan=False)
