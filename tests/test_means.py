from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, text

from langchain_tokens.call import Call
from langchain_tokens.query import make_query
from langchain_tokens.reports import means, patterns
from langchain_tokens.store import halfknown
from langchain_tokens.store.halfknown import read_half_known
from langchain_tokens.store.lacking import read_lacking
from langchain_tokens.store.store import UsageStore
from langchain_tokens.sums import dimension_value, matches
from tests.builders import make_call
from tests.dashboards import make_client

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)

NOW = datetime.now(UTC).replace(microsecond=0)
API = "/api/v1/breakdown"
TIMES = (None, 0.0, 250.5, 4_000.0)
TOKENS = (None, (100, 20), (4_000, 900), (7, None))
COSTS = (None, "0", "0.25", "1.000000000001")
Number = Callable[[Call], Any]


def mixed_calls() -> list[Call]:
    """Calls of all mixtures of known and unknown durations, tokens and costs, under few names."""
    random = Random(7)
    return [
        make_call(
            tokens=tokens,
            cost=cost,
            duration_ms=duration,
            started_at=NOW - timedelta(hours=random.randrange(24 * 40), seconds=random.randrange(3_000)),
            chain=random.choice(["a", "b", "", None]),
            model=random.choice(["m", "n"]),
            provider=random.choice(["p", None]),
            session=random.choice(["s", "t"]),
            tags=random.choice([{}, {"team": "red"}, {"team": "blue"}]),
        )
        for duration, tokens, cost in product(TIMES, TOKENS, COSTS)
        for _ in range(3)
    ]


def mean(calls: Sequence[Call], number: Number) -> float | None:
    """What those calls have on average that know a number."""
    known = [found for call in calls if (found := number(call)) is not None]
    return float(sum(known) / len(known)) if known else None


def total_of(call: Call) -> int | None:
    return None if call.usage is None else call.usage.total_tokens


def rate_of(calls: Sequence[Call]) -> float | None:
    """What a million tokens of the calls cost that know both."""
    both = [(call.cost_usd, tokens) for call in calls if (tokens := total_of(call)) and call.cost_usd is not None]
    tokens = sum(count for _, count in both)
    return float(sum((cost for cost, _ in both), Decimal(0)) * 1_000_000 / tokens) if tokens else None


def known_means(calls: Sequence[Call]) -> dict[str, float | None]:
    """Call by call what the API says by sums."""
    return {
        "duration_ms": mean(calls, lambda call: call.duration_ms),
        "total_tokens": mean(calls, total_of),
        "cost_usd": mean(calls, lambda call: call.cost_usd),
        "cost_per_1m_tokens_usd": rate_of(calls),
    }


def rounded(means: dict[str, Any]) -> dict[str, Any]:
    """Without the last digits, in which sums in another order differ."""
    return {
        name: None if value is None else pytest.approx(float(value), rel=1e-9)
        for name, value in means.items()
        if name != "output_tokens"
    }


QUESTIONS: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    ((), {}),
    (("chain",), {}),
    (("provider", "model"), {"since": NOW - timedelta(days=20, minutes=7)}),
    (("model",), {"chain": ["a", None], "until": NOW - timedelta(days=3)}),
    (("chain", "status"), {"session": "s"}),
    (("tag:team",), {}),
    (("month", "model"), {}),
    (("model",), {"tags": {"team": "red"}}),
]


@pytest.mark.parametrize(("by", "filters"), QUESTIONS)
def test_means_are_those_of_the_calls_that_know_it(
    by: tuple[str, ...], filters: dict[str, Any], store: UsageStore
) -> None:
    """Each mean is over the calls that know the number, whatever is asked, and nobody's is nothing."""
    calls = mixed_calls()
    store.add(calls)
    asked = [("by", name) for name in by] + [("means", "true")]
    for name, value in filters.items():
        values = value if isinstance(value, list) else [value]
        asked += [
            ("tag", f"team={each['team']}") if name == "tags" else (name, "(none)" if each is None else _text(each))
            for each in values
        ]
    found = make_client(store).get(API, params=asked)
    assert found.status_code == 200, found.text
    query = make_query(by, filters)
    matching = [call for call in calls if matches(call, query) or _is_nameless(call, filters)]
    is_of_rows = "session" in filters  # sums do not tell a name that is missing from one that is empty

    def same(value: Any) -> Any:
        return value if is_of_rows else value or None

    rows = [*found.json()["rows"], *([found.json()["total"]] if by else [])]
    assert len(rows) > len(by)
    for row in rows:
        of_row = [
            call
            for call in matching
            if row is rows[-1] or all(same(dimension_value(call, name)) == row[name] for name in by)
        ]
        assert row["calls"] == len(of_row)
        assert known_means(of_row) == rounded(row["means"]), row


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _is_nameless(call: Call, filters: dict[str, Any]) -> bool:
    """Sums do not tell a chain without a name from one whose name is empty."""
    return call.chain == "" and None in (filters.get("chain") or ()) and call.started_at < filters["until"]


def test_output_of_a_call_needs_the_whole_usage(store: UsageStore) -> None:
    """Where some calls say a total and no output, nobody knows of how many the output is the sum."""
    total_only = make_call(chain="part", tokens=(10, None))
    assert total_only.usage is not None
    store.add([make_call(chain="whole", tokens=(10, 4)), make_call(chain="whole", tokens=(10, 8)), total_only])
    store.add([make_call(chain="part", tokens=(10, 4)), make_call(chain="none", tokens=None)])
    rows = make_client(store).get(API, params={"by": "chain", "means": "true"}).json()["rows"]
    assert {row["chain"]: row["means"]["output_tokens"] for row in rows} == {"whole": 6, "part": None, "none": None}


@pytest.mark.parametrize("number", ["duration_ms", "total_cost", "total_tokens"])
def test_too_many_without_a_number_are_not_read(number: Any, store: UsageStore) -> None:
    """Where it would take long, nobody says; with an own index of what is asked for only those count."""
    store.add([make_call(session=f"s{place % 2}", tokens=None, chain="c") for place in range(6)])
    by_chain = make_query(("chain",), {})
    of_session = make_query(("chain",), {"session": "s1"})
    with store._reading() as connection:
        assert read_lacking(connection, by_chain, number, 5) is None
        assert [lack.calls for lack in (read_lacking(connection, by_chain, number, 6) or {}).values()] == [6]
        assert [lack.calls for lack in (read_lacking(connection, of_session, number, 5) or {}).values()] == [3]


@pytest.fixture
def pruned(store: UsageStore) -> UsageStore:
    """A call that said its duration and one that did not, both pruned, and a newer one."""
    old = {"started_at": NOW - timedelta(days=30), "model": "m", "provider": "p", "tokens": (10, 1), "cost": "1"}
    store.add([make_call(**old, duration_ms=1_000.0), make_call(**old, duration_ms=None)])
    store.add([make_call(**{**old, "started_at": NOW}, duration_ms=3_000.0)])
    assert store.prune(NOW - timedelta(days=10)).calls == 2
    return store


def test_of_pruned_calls_nobody_knows_how_many_said_it(pruned: UsageStore) -> None:
    """What was pruned is in a sum of durations, and no longer says how many calls that is of."""
    client = make_client(pruned)
    whole = client.get(API, params={"by": "model", "means": "true"}).json()["rows"][0]
    new = client.get(API, params={"by": "model", "means": "true", "since": "5d"}).json()["rows"][0]
    assert (whole["calls"], whole["duration_ms"], whole["means"]["duration_ms"]) == (3, 4_000, None)
    assert Decimal(whole["means"]["cost_usd"]) == 1
    assert new["means"]["duration_ms"] == 3_000
    assert [one.mean_duration_ms for one in patterns(pruned).speeds] == [None]
    assert [one.mean_duration_ms for one in patterns(pruned, since="5d").speeds] == [3_000]


def test_cost_of_tokens_is_of_calls_that_know_both(store: UsageStore) -> None:
    """Neither the tokens of calls without a price nor the cost of calls without tokens change what 1,000 tokens cost."""
    model = {"model": "m", "provider": "p"}
    store.add([make_call(**model, tokens=(900, 100), cost="0.5"), make_call(**model, tokens=(9_000, 0))])
    store.add([make_call(**model, tokens=None, cost="7", price_status="reported"), make_call(**model, tokens=None)])
    found = make_client(store).get("/api/v1/overview").json()
    assert Decimal(found["cost_per_1k_tokens_usd"]) == Decimal("0.5")


def kinds_of_models() -> list[Call]:
    """Models all calls of which know everything, or one of which knows a price, a usage or a duration."""
    kinds: dict[str, dict[str, Any]] = {
        "known": {"tokens": (900, 100), "cost": "0.5", "duration_ms": 2_000.0},
        "local": {"tokens": (7_000, 0), "duration_ms": None},
        "silent": {"tokens": None, "cost": "7", "price_status": "reported", "duration_ms": 4_000.0},
        "failing": {"tokens": None, "status": "error", "duration_ms": None},
    }
    return [
        make_call(model=name, provider="p", chain=chain, started_at=NOW - timedelta(days=day, minutes=7), **kind)
        for name, kind in kinds.items()
        for chain in ("a", "b")
        for day in (0, 1, 40)
    ]


@pytest.mark.parametrize(("by", "filters"), [((), {}), (("chain",), {"since": "30d"}), (("model",), {"chain": "a"})])
def test_means_need_no_rows_where_calls_of_a_model_know_a_number_or_none(
    by: tuple[str, ...], filters: dict[str, Any], store: UsageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A local model without prices, however often it is called, hides neither what others cost nor what they take."""
    monkeypatch.setattr(means, "_MOST", 0)
    monkeypatch.setattr(halfknown, "_MOST_ENTRIES", 0)
    calls = kinds_of_models()
    store.add(calls)
    asked = [*(("by", name) for name in by), *filters.items(), ("means", "true")]
    found = make_client(store).get(API, params=asked).json()
    query = make_query(by, filters)
    matching = [call for call in calls if matches(call, query)]
    for row in [*found["rows"], found["total"]]:
        of_row = [
            call
            for call in matching
            if all(row.get(name, value) == value for name in by for value in [getattr(call, name)])
        ]
        assert row["calls"] == len(of_row)
        assert known_means(of_row) == rounded(row["means"]), row


def test_calls_that_know_half_are_bounded(store: UsageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where too many calls of models that have all kinds know one of both alone, nobody says what tokens cost."""
    model = {"model": "m", "provider": "p", "chain": "c"}
    store.add([make_call(**model, cost="1"), *[make_call(**model) for _ in range(6)]])
    with store._reading() as connection:
        for by, most, entries in (((), 0, 6), (("chain",), 6, 0)):
            monkeypatch.setattr(halfknown, "_MOST_ENTRIES", entries)
            tokens = [
                lack.total_tokens for lack in (read_half_known(connection, make_query(by, {}), most) or {}).values()
            ]
            assert tokens == [6 * (total_of(make_call()) or 0)]
            monkeypatch.setattr(halfknown, "_MOST_ENTRIES", max(entries - 1, 0))
            assert read_half_known(connection, make_query(by, {}), max(most - 1, 0)) is None


def test_calls_that_know_half_are_found_by_an_index(
    lasting_database: Database, make_store: Callable[..., UsageStore]
) -> None:
    """Of models that have all kinds of calls, those are read from an index that has nothing else."""
    store, is_server, sent = make_store(lasting_database), lasting_database.kind == "postgresql", []
    model: dict[str, Any] = {"model": "m", "provider": "p", "started_at": NOW}
    store.add([make_call(**model, cost="1"), make_call(**model)])
    with store._reading() as connection:
        if is_server:
            connection.execute(text("SET LOCAL enable_seqscan = off"))
        event.listen(connection, "before_cursor_execute", lambda *told: sent.append(told[2:4]))
        assert read_half_known(connection, make_query((), {"since": NOW - timedelta(days=7)}), 5)
        explain = "EXPLAIN" if is_server else "EXPLAIN QUERY PLAN"
        for statement, values in sent[-2:]:
            said = str(connection.exec_driver_sql(f"{explain} {statement}", values).all())
            assert "ix_llm_call_knows_half" in said
            assert is_server or "COVERING INDEX ix_llm_call_knows_half (model_name=? AND started_at>?)" in said
