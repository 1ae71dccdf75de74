"""What do reports and the command say of budgets? Amounts, bars, projections, and exit codes for scripts."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from langchain_tokens import Budget, UsageStore, open_store
from langchain_tokens.budgetstates import BudgetState, budget_states
from langchain_tokens.cli import main
from langchain_tokens.errors import BudgetError, QueryError
from langchain_tokens.store import budgetreading
from langchain_tokens.store.engine import writing
from langchain_tokens.store.ledger import Request, reserve
from tests.builders import NOON, make_call

pytest_plugins = ("tests.databases",)

FILE = """
[[budget]]
name = "team"
limit_usd = "50"
per = "month"

[[budget]]
name = "coder \\u001b[31mdaily"
limit_usd = 2
per = "day"
where = { agent = "Coder" }
action = "stop"

[[budget]]
limit_calls = 1_000
per = ["session"]
"""


@pytest.fixture
def _at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is noon of 20 November for whoever reads budgets."""
    monkeypatch.setattr(budgetreading, "database_time", lambda _: NOON)


def seed(store: UsageStore) -> None:
    """Two sessions of two agents in the last hour, a call without a price, and one the month before."""
    store.add(
        [
            *(
                make_call(
                    cost="0.5",
                    session=f"s{number % 2}",
                    agent="Coder" if number < 4 else None,
                    run_id=f"run-{number}",
                    tags={"team": "blue"} if number % 3 else {},
                    started_at=NOON - timedelta(minutes=number + 1),
                )
                for number in range(8)
            ),
            make_call(session="s0", run_id="run-9", started_at=NOON - timedelta(hours=1)),
            make_call(cost="7", session="s9", run_id="run-10", started_at=NOON - timedelta(days=30)),
        ]
    )


def in_short(state: BudgetState) -> tuple[Any, ...]:
    """What of a state a table shows."""
    return state.label, state.spent, state.reserved, state.left, state.is_exceeded


@pytest.mark.usefixtures("_at_noon")
def test_states_say_what_is_left(store: UsageStore) -> None:
    """Spent, reserved and left of each account, the fullest first, on each database."""
    seed(store)
    stopping = Budget(limit_usd="4.25", per="day", action="stop")
    requests = [
        Request(
            call=make_call(session="s7", started_at=NOON, usage=None),
            accounts=(stopping.account_of(make_call()),),
            cost=10**11,
            tokens=9,
            process="x",
        )
        for _ in range(3)
    ]
    with writing(store._engine(), store.target) as connection:
        reserve(connection, requests, timedelta(days=10_000))
    by_session = Budget(limit_tokens=600, per="session")
    states = budget_states(
        store, [stopping, by_session, Budget(limit_calls=9, per=("agent", "day")), Budget(limit_usd=1, per="tag:team")]
    )

    day, month_ago = "2026-11-20", Decimal(7)
    assert month_ago not in {state.spent for state in states}
    assert [in_short(state) for state in states] == [
        (day, Decimal(4), Decimal("0.2"), Decimal("0.05"), False),
        ("session 's0'", 600, 0, 0, True),
        ("session 's1'", 480, 0, 120, False),
        ("session 's9'", 120, 0, 480, False),
        ("session 's7'", 0, 18, 582, False),
        (f"agent (none), {day}", 5, 2, 2, False),
        (f"agent 'Coder', {day}", 4, 0, 5, False),
        ("tag:team (none)", Decimal("8.5"), Decimal("0.2"), Decimal("-7.7"), True),
        ("tag:team 'blue'", Decimal("2.5"), 0, Decimal("-1.5"), True),
    ]
    assert (states[0].stopped_calls, states[0].uncovered_calls) == (1, 1)
    assert (states[0].projected, states[0].reached_at) == (Decimal(8), NOON + timedelta(minutes=45))


@pytest.mark.usefixtures("_at_noon")
def test_a_month_is_projected_to_its_end(store: UsageStore) -> None:
    """At this rate: as since the month's begin, by the clocks of the budget's time zone; nothing for what has no end."""
    seed(store)
    month, total = budget_states(store, [Budget(limit_usd=5, per="month", tz="Asia/Kolkata"), Budget(limit_usd=20)])

    assert month.since == datetime(2026, 10, 31, 18, 30, tzinfo=UTC)
    elapsed, whole = NOON - month.since, timedelta(days=30)
    assert month.projected is not None
    assert abs(month.projected - 4 * Decimal(whole / elapsed)) < Decimal("0.000001")
    assert month.reached_at is not None
    assert abs(month.reached_at - (month.since + elapsed * 1.25)) < timedelta(seconds=1)
    assert (total.spent, total.projected, total.reached_at) == (Decimal(11), None, None)


def test_a_wrong_question_is_said(memory_store: UsageStore) -> None:
    """Anything but budgets, and a limit that is no number, is refused; without a file there are none."""
    assert budget_states(memory_store) == []
    with pytest.raises(BudgetError):
        budget_states(memory_store, ["5 USD"])  # type: ignore[list-item]
    with pytest.raises(QueryError):
        budget_states(memory_store, [], limit=0)


# The command


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[Any, str, str]]:
    """Runs the command on a seeded database, in a folder with a file of budgets: exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "budgets.toml").write_text(FILE, encoding="utf-8")
    store = open_store(tmp_path / "t.db")
    seed(store)
    store.close()
    monkeypatch.setattr(budgetreading, "database_time", lambda _: NOON)

    def command(*arguments: str) -> tuple[Any, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["budget", *arguments, "--db", str(tmp_path / "t.db")])
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return command


def test_the_list_has_a_line_for_each_account(run: Callable[..., tuple[Any, str, str]]) -> None:
    """Bars, amounts and rates; names from files are escaped."""
    code, out, err = run("list", "--file", "budgets.toml", "-n", "1")

    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert [" ".join(line) for line in lines] == [
        "Budgets of budgets.toml · UTC",
        "budget account used spent reserved limit % stopped at this rate",
        "team 2026-11 ░░░░░░░░░░░░ $4.00 $0.00 $50.00 8% 0 ends at $6.15",
        "coder \\x1b[31mdaily 2026-11-20 ████████████ $2.00 $0.00 $2.00 100% 0 over",
        "1,000 calls per session session 's0' ░░░░░░░░░░░░ 5 calls 0 calls 1,000 calls 0% 0 –",  # noqa: RUF001
        "1 call without a price or usage: not in what is spent",
    ]


def test_the_list_as_json(run: Callable[..., tuple[Any, str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """One document, money as text; the file may be named by the environment, or the project's own."""
    monkeypatch.setenv("LANGCHAIN_TOKENS_BUDGETS", "budgets.toml")
    _, out, _ = run("list", "--json")
    document = json.loads(out)
    monkeypatch.delenv("LANGCHAIN_TOKENS_BUDGETS")
    Path("pyproject.toml").write_text('[tool.langchain_tokens]\nbudgets = "budgets.toml"\n')

    assert json.loads(run("list", "--json")[1]) == document
    first = document["budgets"][0]
    assert (document["schema_version"], first["budget"], first["spent"], first["is_exceeded"]) == (
        1,
        "team",
        "4.000000000000",
        False,
    )
    assert [state["scope"] for state in document["budgets"][2:]] == [
        {"session": "s0"},
        {"session": "s1"},
        {"session": "s9"},
    ]


def test_check_tells_scripts(run: Callable[..., tuple[Any, str, str]]) -> None:
    """Exit code 4 where a limit is reached, with the accounts; 0 where none is."""
    code, out, _ = run("check", "--file", "budgets.toml")
    assert (code, "daily" in out, "team" in out) == (4, True, False)
    code, out, _ = run("check", "--file", "budgets.toml", "--json")
    assert (code, json.loads(out)["is_exceeded"], len(json.loads(out)["exceeded"])) == (4, True, 1)
    Path("fine.toml").write_text("[[budget]]\nlimit_usd = 100\n")
    assert run("check", "--file", "fine.toml") == (0, "1 account, within its limit\n", "")


def test_release_lets_lapsed_reservations_go(run: Callable[..., tuple[Any, str, str]], tmp_path: Path) -> None:
    """Only what nobody renews goes, unless all is asked for."""
    budget, store = Budget(limit_calls=99, action="stop"), open_store(tmp_path / "t.db")
    with writing(store._engine(), store.target) as connection:
        for lease in (timedelta(days=10_000), NOON - datetime.now(UTC) - timedelta(seconds=1)):
            call = make_call(started_at=NOON)
            request = Request(call=call, accounts=(budget.account_of(call),), cost=1, tokens=1, process="x")
            reserve(connection, [request], lease)
    store.close()

    code, out, _ = run("release", "--json")
    assert (code, json.loads(out)["released"], [row["has_lapsed"] for row in json.loads(out)["kept"]]) == (
        0,
        1,
        [False],
    )
    assert run("release", "--all") == (0, "1 of 1 reservations released\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("list",), "there are no budgets to look at: name a file with tables [[budget]]"),
        (("list", "--file", "none.toml"), "cannot be read: No such file"),
        (("check", "--file", "broken.toml"), "budget 1: limit_calls='x'"),
    ],
)
def test_what_is_wrong_is_one_line(
    arguments: tuple[str, ...], said: str, run: Callable[..., tuple[Any, str, str]]
) -> None:
    """An error is one line on stderr, and exit code 1."""
    Path("broken.toml").write_text('[[budget]]\nlimit_calls = "x"\n')
    code, out, err = run(*arguments)

    assert (code, out, err.count("\n")) == (1, "", 1)
    assert said in err


def test_an_empty_database_is_explained(run: Callable[..., tuple[Any, str, str]]) -> None:
    """Budgets whose accounts nobody has used yet are no error; a hint says so."""
    Path("users.toml").write_text('[[budget]]\nlimit_calls = 1\nper = "session"\nwhere = { agent = "Nobody" }\n')
    code, _, err = run("list", "--file", "users.toml")

    assert code == 0
    assert "have no accounts yet" in err
