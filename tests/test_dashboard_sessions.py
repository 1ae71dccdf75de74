"""Does the dashboard list sessions as the terminal does? When they were used, by which agents, and what they cost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target
from tests.builders import make_call, make_fact
from tests.dashboards import make_client, served

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytest_plugins = ("tests.browsers", "tests.databases")

NOW = datetime.now(UTC).replace(microsecond=0)
API = "/api/v1/sessions"
CALLS: tuple[tuple[str | None, str | None, int, tuple[int, int] | None, str | None, str], ...] = (
    ("old", "coder", 50, (9_000, 1_000), "0.5", "ok"),
    ("old", "coder", 49, (9_000, 1_000), "0.5", "ok"),
    ("new", "supervisor", 3, (10, 5), "0.01", "ok"),
    ("new", "coder", 2, (100, 50), "0.02", "ok"),
    ("new", None, 1, None, None, "error"),
    (None, "helper", 30, (200, 10), "0.05", "ok"),
)
DETAILS = ("first_call_at", "last_call_at", "agents")


def fill(store: UsageStore) -> UsageStore:
    """An old session with much, a new one with little and two agents, and a call without one."""
    calls = [
        make_call(
            session=session,
            agent=agent,
            tokens=tokens,
            cost=cost,
            status=status,
            started_at=NOW - timedelta(hours=hours),
            run_id=f"run-{session}",
        )
        for session, agent, hours, tokens, cost, status in CALLS
    ]
    runs = [
        make_fact(f"run-{name}", session=name, started_at=NOW - timedelta(hours=hours), name=f"graph_{name}")
        for name, hours in (("old", 50), ("new", 3))
    ]
    store.add(calls, runs)
    return store


def ask(store: UsageStore, **asked: Any) -> dict[str, Any]:
    response = make_client(store).get(API, params=asked)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def hours_ago(*moments: str | None) -> list[float | None]:
    return [None if at is None else (NOW - datetime.fromisoformat(at)).total_seconds() / 3_600 for at in moments]


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("last_call_at", ["new", None, "old"]),
        ("total_tokens", ["old", None, "new"]),
        ("cost_usd", ["old", None, "new"]),
        ("calls", ["new", "old", None]),
    ],
)
def test_sessions_are_listed_with_their_times_and_agents(
    order: str, names: list[str | None], store: UsageStore
) -> None:
    """In each order each has the same facts beside the sums of a breakdown, and the total is of all sessions."""
    found = ask(fill(store), order=order, details="true")
    assert [row["session"] for row in found["rows"]] == names
    by_name = {row["session"]: row for row in found["rows"]}
    times = {name: hours_ago(row["first_call_at"], row["last_call_at"]) for name, row in by_name.items()}
    assert times == {"old": [50, 49], "new": [3, 1], None: [30, 30]}
    agents = {name: row["agents"] for name, row in by_name.items()}
    assert agents == {"old": ["coder"], "new": ["coder", "supervisor"], None: ["helper"]}
    assert (by_name["new"]["calls"], by_name["new"]["failed_calls"], by_name["new"]["unpriced_calls"]) == (3, 1, 1)
    bare = make_client(store).get("/api/v1/breakdown", params={"by": "session"}).json()
    assert found["total"] == bare["total"]
    sums = {name: {key: row[key] for key in row if key not in DETAILS} for name, row in by_name.items()}
    assert sums == {row["session"]: row for row in bare["rows"]}


def test_sessions_are_those_of_the_calls_that_match(store: UsageStore) -> None:
    """Filters say which calls count, a limit how many sessions come; the total is of all that match."""
    fill(store)
    found = ask(store, order="last_call_at", details="true", agent="coder", limit=1)
    (row,) = found["rows"]
    assert (row["session"], row["calls"], row["agents"]) == ("new", 1, ["coder"])
    assert hours_ago(row["first_call_at"], row["last_call_at"]) == [2, 2]
    assert found["total"]["calls"] == 3
    assert ask(store, order="last_call_at", details="true", agent="no such")["rows"] == []


def test_of_pruned_calls_nobody_says_when_they_were(store: UsageStore) -> None:
    """Sums of pruned sessions stay; when they began and by which agents they were used is unknown."""
    fill(store)
    store.prune(NOW - timedelta(hours=40))
    by_name = {row["session"]: row for row in ask(store, details="true")["rows"]}
    assert by_name["old"]["calls"] == 2
    assert [by_name["old"][name] for name in DETAILS] == [None] * 3
    assert hours_ago(by_name["new"]["first_call_at"], by_name["new"]["last_call_at"]) == [None, 1]
    (row,) = ask(store, details="true", since=(NOW - timedelta(hours=20)).isoformat())["rows"]
    assert (row["session"], hours_ago(row["first_call_at"])) == ("new", [3])


@pytest.fixture(scope="module")
def desk() -> Iterator[str]:
    """The dashboard of these sessions."""
    store = fill(UsageStore(parse_target("sqlite://")))
    with served(store) as url:
        yield url
    store._opener._engine.dispose()


def test_sessions_are_a_page(page: Page, desk: str) -> None:
    """They can be put in another order, and a click opens the runs of one."""
    page.goto(f"{desk}?view=sessions")
    lines = page.get_by_role("table", name="Sessions", exact=True).locator("tbody tr")
    expect(lines).to_have_count(3)
    expect(lines.nth(0)).to_contain_text("coder, supervisor")
    first = lines.nth(0).locator("th, td").all_inner_texts()
    assert [first[place] for place in (0, 3, 4, 5, 6, 7)] == ["new", "2.0 h", "3", "1", "165", "$0.0300*"]
    page.get_by_label("order").select_option("total_tokens")
    expect(lines.nth(0).locator("th")).to_have_text("old")
    lines.nth(0).click()
    runs = page.get_by_role("table", name="Runs", exact=True).locator("tbody tr")
    expect(runs).to_have_count(1)
    expect(runs).to_contain_text("graph_old")
