"""What was spent in vain, and what could be saved? Findings with known answers, on each kind of database."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from langchain_tokens import PriceBook, UsageStore
from langchain_tokens.call import Call
from langchain_tokens.cli import main
from langchain_tokens.errors import QueryError
from langchain_tokens.reports import Findings, findings, input_shares
from langchain_tokens.reports.waste import KINDS
from langchain_tokens.store.target import parse_target
from tests.builders import NOON, make_call, make_fact, make_usage, random_calls
from tests.made_usage import store_of

pytest_plugins = ("tests.databases",)

CENT = Decimal("0.01")
NO_PRICES = PriceBook([], corrections=False, stale_after_days=None)


def at(second: int, **more: Any) -> Call:
    """A call that started so many seconds after noon, for a cent unless said otherwise."""
    return make_call(**{"started_at": NOON + timedelta(seconds=second), "cost": "0.01", "chain": "fix", **more})


def wasteful() -> list[Call]:
    """Calls of which some were in vain, each in one way; the names of runs say which."""
    return [
        at(0, run_id="fine"),
        at(0, run_id="failed", status="error", cost=None, tokens=None),
        at(1, run_id="failed", status="error"),
        at(0, run_id="cancelled", status="cancelled"),
        at(0, run_id="retried", path="a/fix", superseded=True),
        at(1, run_id="retried", path="a/fix", retry_kind="retry", attempt=2, attempt_error="timeout"),
        at(0, run_id="unreadable", path="a/fix", superseded=True),
        at(1, run_id="unreadable", path="a/fix", retry_kind="retry", attempt=2, attempt_error="Invalid json output: x"),
        at(0, run_id="replayed", path="a/fix", superseded=True),
        at(1, run_id="resumed", path="a/fix", retry_kind="replay"),
        at(0, run_id="rejected", path="a/fix"),
        at(1, run_id="rejected", path="a/fix", attempt=2, attempt_error="no such column"),
        at(0, run_id="parser failed", chain="plan"),
        at(1, run_id="parser failed", path="a/fix"),
        at(0, run_id="asked", prompt_mark="same"),
        at(1, run_id="asked again", prompt_mark="same", cost="0.03"),
        at(2, run_id="asked again", prompt_mark="same", status="cached", tokens=(0, 0), cost="0"),
        at(3, run_id="asked again", prompt_mark="other"),
        at(0, run_id="cut off", finish_reason="length"),
    ]


WASTED = {
    "failed": (2, 120, CENT, 1),
    "cancelled": (1, 120, CENT, 0),
    "retries": (1, 120, CENT, 0),
    "replays": (1, 120, CENT, 0),
    "unusable": (3, 360, 3 * CENT, 0),
    "repeats": (1, 120, 3 * CENT, 0),
    "truncated": (1, 120, CENT, 0),
}
"""Kind → calls, tokens, USD, calls without a price."""


def fill(store: UsageStore, calls: Sequence[Call]) -> UsageStore:
    """Store calls with their runs; one of them was ended by its parser."""
    facts = [make_fact(run_id) for run_id in {call.run_id for call in calls} - {"parser failed"}]
    store.add(calls, [*facts, make_fact("parser failed", status="error", error_type="OutputParserException")])
    return store


def found_in(store: UsageStore, **filters: Any) -> Findings:
    """The findings, with no prices for what could be saved."""
    return findings(store, prices=NO_PRICES, **filters)


def by_kind(found: Findings) -> dict[str, tuple[Any, ...]]:
    """Kind → calls, tokens, USD, calls without a price."""
    assert len({row.kind for row in found}) == len(found)
    return {row.kind: (row.calls, row.tokens, row.usd, row.unpriced_calls) for row in found}


def test_waste_is_found_by_kind(store: UsageStore) -> None:
    """Each way of wasting a call is found with its calls, tokens and money, and each call is in one finding."""
    found = found_in(fill(store, wasteful()))
    assert by_kind(found) == WASTED
    wasted = found.total_wasted
    assert (wasted.calls, wasted.tokens, wasted.usd, wasted.unpriced_calls) == (9, 960, Decimal("0.10"), 1)
    assert (found.calls, found.unpriced_calls) == (19, 1)
    assert [row.usd for row in found] == sorted((row.usd for row in found), key=lambda usd: -(usd or 0))


@pytest.mark.parametrize(
    ("filters", "kinds"),
    [
        ({"run": "failed"}, {"failed"}),
        ({"run": ["asked", "asked again"]}, {"repeats"}),
        ({"run": "asked again"}, set()),
        ({"chain": "plan"}, set()),
        ({"until": NOON}, set()),
        ({"since": NOON + timedelta(seconds=1)}, {"failed", "repeats", "unusable"}),
        ({"until": NOON + timedelta(seconds=1)}, set(WASTED) - {"repeats"}),
        ({"status": "cancelled"}, {"cancelled"}),
    ],
)
def test_filters_choose_the_calls(store: UsageStore, filters: dict[str, Any], kinds: set[str]) -> None:
    """Only calls that the filters match are in findings; why they were made again may be told by calls beyond."""
    expected = kinds - {"repeats"} if "since" in filters else kinds
    assert {row.kind for row in found_in(fill(store, wasteful()), **filters)} == expected


def test_places_are_told_apart(store: UsageStore) -> None:
    """Findings are by chain, agent and model; a call without a name is one of nobody."""
    calls = [
        at(0, status="cancelled", agent=agent, model=model) for agent, model in (("a", "m"), ("b", "m"), ("a", None))
    ]
    found = found_in(fill(store, calls))
    assert {(row.chain, row.agent, row.model) for row in found} == {
        ("fix", "a", "m"),
        ("fix", "b", "m"),
        ("fix", "a", None),
    }


def test_nothing_is_no_finding(store: UsageStore) -> None:
    """An empty store has no findings, and unknown sums."""
    found = found_in(store)
    assert (len(found), found.calls, found.cost_usd, found.total_wasted.usd) == (0, 0, None, None)
    assert str(found) == "0 calls cost an unknown amount; 0 of them were in vain"
    json.dumps(found.to_dict())


@settings(max_examples=20, deadline=None)
@given(calls=random_calls(most=20))
def test_money_in_vain_is_what_breakdowns_say(calls: list[Call]) -> None:
    """Failed and cancelled calls add up to the wasted cost that a breakdown says."""
    with store_of(calls) as store:
        found = found_in(store)
        assert found.total_wasted.usd == store.breakdown().total.wasted_cost_usd
    kinds = Counter(call.status for call in calls)
    counted = {row.kind: 0 for row in found} | {"failed": 0, "cancelled": 0}
    for row in found:
        counted[row.kind] += row.calls
    assert (counted["failed"], counted["cancelled"]) == (kinds["error"], kinds["cancelled"])


def test_a_run_of_ten_thousand_calls(memory_store: UsageStore) -> None:
    """Many calls of one run, one half made again after the other, are found in one pass."""
    memory_store.delete(until="2100-01-01")
    calls = [
        at(
            number // 2,
            run_id="long",
            path="a/fix",
            superseded=number % 2 == 0,
            retry_kind="retry" if number % 2 else None,
        )
        for number in range(10_000)
    ]
    fill(memory_store, calls)
    # The last of them that was thrown away has nothing after it in its second but its own retry, which is no later.
    assert {kind: row[0] for kind, row in by_kind(found_in(memory_store)).items()} == {"retries": 4_999, "replays": 1}


# What could be saved


def agentic(calls_of_run: int = 4, runs: int = 5, cached: int = 0, **more: Any) -> list[Call]:
    """An agent's runs, whose input grows by a thousand tokens each turn from two thousand on."""
    return [
        make_call(
            agent="coder",
            chain="model",
            model="gpt-4o",
            provider="openai",
            run_id=f"run-{run}",
            attempt=turn,
            usage=make_usage(1_000 + 1_000 * turn, 100, cache_read_tokens=cached),
            **more,
        )
        for run in range(runs)
        for turn in range(1, calls_of_run + 1)
    ]


def chance(store: UsageStore, kind: str, **filters: Any) -> Any:
    """The one finding of a kind."""
    (row,) = [row for row in findings(store, prices=PriceBook(), **filters) if row.kind == kind]
    return row


def test_growing_history_is_found(store: UsageStore) -> None:
    """Five runs of 2,000 to 5,000 tokens sent 5 * (1,000 + 2,000 + 3,000) beyond the first turn's; gpt-4o takes 2.50."""
    row = chance(fill(store, agentic()), "growth")
    assert (row.calls, row.tokens, row.usd) == (15, 30_000, Decimal("0.075"))
    assert "grew by some 1,000 tokens with each turn, from 2,000 at first" in row.what
    assert (row.is_waste, row.is_estimate, row.agent) == (False, True, "coder")


@pytest.mark.parametrize(
    "calls",
    [
        agentic(calls_of_run=2),
        agentic(runs=2),
        [make_call(agent="a", attempt=1 + number % 4, tokens=(5_000, 1)) for number in range(40)],
        [
            make_call(agent="a", attempt=1 + number % 4, tokens=(9_000 - 2_000 * (number % 4), 1))
            for number in range(40)
        ],
    ],
    ids=["few turns", "few calls", "flat", "shrinking"],
)
def test_what_does_not_grow_is_no_finding(memory_store: UsageStore, calls: list[Call]) -> None:
    """Too few turns or calls tell nothing, and an input that stays or shrinks is none that grows."""
    memory_store.delete(until="2100-01-01")
    assert "growth" not in {row.kind for row in found_in(fill(memory_store, calls))}


def test_uncached_input_is_found(store: UsageStore) -> None:
    """Of 70,000 input tokens 80 % repeat; all but a twentieth of them could be read for half the price."""
    parts = {"system": 60, "tools": 20, "human": 20}
    calls = agentic(input_parts=parts)
    for call in calls:
        assert call.usage is not None
    scaled = [
        make_call(
            agent="coder",
            model="gpt-4o",
            provider="openai",
            tokens=(3_500, 100),
            input_parts={name: share * 35 for name, share in parts.items()},
            prompt_mark=f"question {number}",
        )
        for number in range(20)
    ]
    row = chance(fill(store, scaled), "uncached")
    assert (row.calls, row.tokens) == (20, 53_200)
    assert row.usd == 20 * Decimal(2_660) * Decimal("1.25") / 1_000_000
    assert "80% of the input repeats, 0% was read from the cache" in row.what


def test_what_is_cached_is_no_finding(memory_store: UsageStore) -> None:
    """An input that is read from the cache, is short, or was not inspected, is none to be cached."""
    memory_store.delete(until="2100-01-01")
    parts = {"system": 80, "human": 20}
    usage = make_usage(3_500, 1, cache_read_tokens=2_700)
    read = [make_call(usage=usage, chain="read", input_parts=parts, prompt_mark=f"r{n}") for n in range(20)]
    short = [make_call(tokens=(1_000, 1), chain="short", input_parts=parts, prompt_mark=f"s{n}") for n in range(20)]
    unseen = [make_call(tokens=(3_500, 1), chain="unseen") for _ in range(20)]
    assert [row.kind for row in found_in(fill(memory_store, [*read, *short, *unseen]))] == []


def test_dearer_models_are_found(store: UsageStore) -> None:
    """A model with a cheaper one beside it refers to what compares call by call."""
    book = PriceBook()
    calls = [book.price(make_call(model="gpt-4o", provider="openai", tokens=(1_000, 100))) for _ in range(20)]
    row = chance(fill(store, calls), "dearer")
    cheapest = book.cheaper_models(make_usage(1_000, 100, cache_read_tokens=0), "gpt-4o", "openai")
    paid = next(item for item in cheapest if item.price.total_usd)
    assert (row.calls, row.usd) == (20, 20 * paid.saving_usd)
    assert "store.savings()" in row.remedy


# What fills the input


def test_input_shares_add_up(store: UsageStore) -> None:
    """Parts are added up by name, with the calls that are not covered; shares are of what is covered."""
    calls = [
        make_call(agent="a", tokens=(100, 1), input_parts={"system": 60, "human": 40}),
        make_call(agent="a", tokens=(50, 1), input_parts={"tool_results": 50}),
        make_call(agent="a", tokens=(70, 1)),
        make_call(agent=None, tokens=(10, 1), input_parts={"other": 10}),
        make_call(agent="c", tokens=(5, 1)),
    ]
    found = input_shares(fill(store, calls))
    assert [(row.name, row.calls, row.uncovered_calls, row.input_tokens) for row in found.rows] == [
        ("a", 3, 1, 150),
        (None, 1, 0, 10),
        ("c", 1, 1, None),
    ]
    first, _, unknown = found.rows
    assert dict(first.parts) == {"system": 60, "tools": 0, "history": 0, "tool_results": 50, "human": 40, "other": 0}
    assert (first.share("system"), unknown.share("system"), dict(unknown.parts)) == (0.4, None, {})
    assert (found.total.calls, found.total.uncovered_calls, found.total.input_tokens) == (5, 2, 160)
    assert "2 of 5 calls are not covered" in str(found)
    assert json.loads(json.dumps(found.to_dict()))["total"]["parts"]["other"] == 10


@pytest.mark.parametrize("by", ["chain", "model", "day", "tag:team", "attempt"])
def test_input_shares_by_any_dimension(store: UsageStore, by: str) -> None:
    """Any dimension groups, also in a range."""
    call = make_call(chain="x", model="x", tags={"team": "x"}, tokens=(9, 1), input_parts={"human": 9})
    found = input_shares(fill(store, [call]), by, since=NOON)
    assert [(row.name, row.input_tokens) for row in found.rows] == [
        ({"day": "2026-11-20", "attempt": 1}.get(by, "x"), 9)
    ]


def test_wrong_questions_are_refused(memory_store: UsageStore) -> None:
    """An unknown dimension or filter is an error that says so."""
    with pytest.raises(QueryError, match="unknown dimension 'agnet'"):
        input_shares(memory_store, "agnet")
    with pytest.raises(QueryError, match="unknown filter 'chian'"):
        findings(memory_store, chian="x")


def test_pruned_rows_are_not_left_out_silently(store: UsageStore) -> None:
    """A time whose rows are gone is refused: findings would say too little."""
    fill(store, [at(0), make_call(started_at=NOON + timedelta(days=3))])
    store.prune(NOON + timedelta(days=2))
    for report in (found_in, input_shares):
        with pytest.raises(QueryError, match="were pruned"):
            report(store)
        report(store, since=NOON + timedelta(days=3))


# How it looks


def test_text_fits_a_terminal(memory_store: UsageStore) -> None:
    """Text has no line over eighty columns, whatever the names, shows the twenty largest, and no control characters."""
    memory_store.delete(until="2100-01-01")
    names = [f"\x1b[31m{'long name ' * 9}{number}\n" for number in range(25)]
    found = found_in(fill(memory_store, [at(0, chain=name, status="cancelled") for name in names]))
    text = str(found)
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    assert "and 5 more findings of less" in text
    assert text.count("-> ") == 20


def test_names_are_escaped_in_html(memory_store: UsageStore) -> None:
    """Markup in a name is text in a notebook."""
    memory_store.delete(until="2100-01-01")
    fill(memory_store, [at(0, chain="<b>", agent="<b>", status="error")])
    for report in (found_in(memory_store), input_shares(memory_store)):
        assert "<b>" not in report._repr_html_()


def test_every_kind_has_a_remedy_of_one_line() -> None:
    """What mends a finding is said in one line that fits."""
    assert all(0 < len(kind.remedy) <= 120 and "\n" not in kind.remedy for kind in KINDS.values())


@pytest.mark.parametrize("command", ["findings", "inputs"])
def test_commands(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Text and JSON of the commands are the reports', and an empty range is explained."""
    name = str(tmp_path / "usage.db")
    fill(UsageStore(parse_target(name)), wasteful()).close()
    said = []
    for arguments in (["--since", "2026-11-01"], ["--since", "2026-11-01", "--json"], ["--since", "2100-01-01"]):
        with pytest.raises(SystemExit) as ended:
            main([command, "--db", name, *arguments])
        assert ended.value.code in (0, None)
        said.append(capsys.readouterr())
    text, document, nothing = said
    store = UsageStore(parse_target(name))
    report: Any = (
        findings(store, since="2026-11-01") if command == "findings" else input_shares(store, since="2026-11-01")
    )
    store.close()
    title, shown = text.out.split("\n", 1)
    assert title.endswith(" · since 2026-11-01 00:00 · UTC")
    assert shown.split() == str(report).split()
    said = json.loads(document.out)
    assert said == said | report.to_dict()
    assert (nothing.out, nothing.err[:13]) == ("", "no call match")
