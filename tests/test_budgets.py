"""What is a budget? Arguments that can be and that cannot, whose account a call counts in, and budgets in files."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from langchain_tokens import Budget, BudgetExceeded, TokensError, TokenUsageHandler, track
from langchain_tokens.errors import BudgetError
from langchain_tokens.webhook import Webhook
from tests.builders import NOON, make_call


@pytest.mark.parametrize(
    ("given", "unit", "limit"),
    [
        ({"limit_usd": "5"}, "usd", 5 * 10**12),
        ({"limit_usd": "$0.000001"}, "usd", 10**6),
        ({"limit_usd": Decimal("1.5")}, "usd", 15 * 10**11),
        ({"limit_usd": 0.1}, "usd", 10**11),
        ({"limit_tokens": 1_000}, "tokens", 1_000),
        ({"limit_calls": 1}, "calls", 1),
    ],
)
def test_limits_are_exact(given: dict[str, Any], unit: str, limit: int) -> None:
    """A limit is kept in whole pico-USD, tokens or calls; a float means what it is written as."""
    budget = Budget(**given)

    assert (budget.unit, budget.limit) == (unit, limit)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "exactly one limit, found none"),
        ({"limit_usd": 1, "limit_calls": 2}, "found limit_usd=1, limit_calls=2"),
        ({"limit_usd": "a lot"}, "limit_usd='a lot'"),
        ({"limit_usd": "nan"}, "limit_usd='nan'"),
        ({"limit_usd": float("inf")}, "limit_usd=inf"),
        ({"limit_usd": True}, "limit_usd=True"),
        ({"limit_usd": 0}, "limit_usd=0"),
        ({"limit_usd": "-1"}, "limit_usd='-1'"),
        ({"limit_usd": 10**9}, "below 9 million"),
        ({"limit_usd": "9e999999"}, "below 9 million"),
        ({"limit_tokens": 1.5}, "limit_tokens=1.5"),
        ({"limit_calls": 0}, "a whole number above 0"),
        ({"limit_calls": 1, "per": "week"}, "per='week'; expected one of run, session"),
        ({"limit_calls": 1, "per": "tag:"}, "per='tag:'"),
        ({"limit_calls": 1, "per": ("day", "month")}, "exclude each other"),
        ({"limit_calls": 1, "per": ("user", "user")}, "per=('user', 'user')"),
        ({"limit_calls": 1, "per": ("user", "total")}, "exclude each other"),
        ({"limit_calls": 1, "per": 3}, "per=3"),
        ({"limit_calls": 1, "per": [["user"]]}, "per=['user']; expected one of run"),
        ({"limit_calls": 1, "where": {"since": "7d"}}, "where has 'since'; allowed: session"),
        ({"limit_calls": 1, "where": {"agent": []}}, "where: the filter agent has an empty list"),
        ({"limit_calls": 1, "where": "Coder"}, "where='Coder' is a str"),
        ({"limit_calls": 1, "warn_at": (0.5, 1)}, "warn_at has 1"),
        ({"limit_calls": 1, "warn_at": "half"}, "warn_at='half'"),
        ({"limit_calls": 1, "warn_at": (float("nan"),)}, "warn_at has nan"),
        ({"limit_calls": 1, "warn_at": (10**400,)}, "warn_at has 1000"),
        ({"limit_calls": 1, "action": "raise"}, "action='raise'; expected 'warn', 'stop' or a callable"),
        ({"limit_calls": 1, "unpriced": "no"}, "unpriced='no'"),
        ({"limit_calls": 1, "unpriced": "block"}, "only action='stop' does"),
        ({"limit_calls": 1, "alert": "https://example.com"}, "alert='https://example.com' is a str"),
        ({"limit_calls": 1, "tz": "Mars/Phobos"}, "tz='Mars/Phobos'"),
        ({"limit_calls": 1, "tz": "../../etc/passwd"}, "is no time zone"),
        ({"limit_calls": 1, "tz": None}, "is no time zone"),
        ({"limit_calls": 1, "name": 7}, "name=7 is a int"),
        ({"limit_calls": 1, "if_unreachable": "wait"}, "if_unreachable='wait'"),
        ({"limit_calls": 1, "assumed_output_tokens": 0}, "assumed_output_tokens=0"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], said: str) -> None:
    """A wrong argument is a `BudgetError` that says what was found and what was expected."""
    with pytest.raises(BudgetError) as raised:
        Budget(**given)

    assert said in str(raised.value)


@pytest.mark.parametrize("budgets", [Budget(limit_calls=1), ["5 USD"], "5", 7])
def test_budgets_are_a_list_of_budgets(budgets: Any, tmp_path: Path) -> None:
    """A handler and a block take nothing else, and say so before anything is opened."""
    with pytest.raises(BudgetError, match="expected"):
        TokenUsageHandler(tmp_path / "tokens.db", budgets=budgets)
    with pytest.raises(BudgetError, match="expected"), track(tmp_path / "tokens.db", budgets=budgets):
        pass
    assert not (tmp_path / "tokens.db").exists()


@pytest.mark.parametrize(
    ("given", "scope"),
    [
        ({}, ()),
        ({"per": "session"}, (("session", "s1"),)),
        ({"per": "run"}, (("run", "run-1"),)),
        ({"per": "user"}, (("user", None),)),
        ({"per": "tag:team"}, (("tag:team", "blue"),)),
        ({"per": ("agent", "tag:team")}, (("agent", "Coder"), ("tag:team", "blue"))),
    ],
)
def test_a_call_counts_in_its_account(given: dict[str, Any], scope: Any) -> None:
    """A budget has an account for each of its names, one for calls without the name among them."""
    call = make_call(session="s1", agent="Coder", tags={"team": "blue"})
    account = Budget(limit_calls=1, **given).account_of(call)

    assert account.scope == scope
    assert account.holds(call)
    assert not scope or not account.holds(make_call(run_id="run-2", agent="Other", user="u"))


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ({"agent": "Coder"}, True),
        ({"agent": ["Writer", "Coder"], "session": "s1"}, True),
        ({"agent": "Writer"}, False),
        ({"user": "(none)"}, True),
        ({"tags": {"team": "blue"}}, True),
        ({"tags": {"team": "red"}}, False),
        ({"run": "run-1"}, True),
    ],
)
def test_where_says_which_calls_count(where: dict[str, Any], holds: bool) -> None:
    """Only calls that all of `where` allows count."""
    call = make_call(session="s1", agent="Coder", tags={"team": "blue"})

    assert Budget(limit_calls=1, where=where).holds(call) is holds


@pytest.mark.parametrize(
    ("per", "tz", "at", "since", "until"),
    [
        ("day", "UTC", NOON, "2026-11-20T00:00", "2026-11-21T00:00"),
        ("month", "UTC", NOON, "2026-11-01T00:00", "2026-12-01T00:00"),
        ("month", "UTC", datetime(2026, 12, 31, 23, tzinfo=UTC), "2026-12-01T00:00", "2027-01-01T00:00"),
        ("day", "Asia/Kolkata", NOON, "2026-11-19T18:30", "2026-11-20T18:30"),
        ("day", "Europe/Berlin", datetime(2026, 3, 29, 12, tzinfo=UTC), "2026-03-28T23:00", "2026-03-29T22:00"),
        ("day", "Europe/Berlin", datetime(2026, 10, 25, 12, tzinfo=UTC), "2026-10-24T22:00", "2026-10-25T23:00"),
        ("month", "Europe/Berlin", datetime(2026, 3, 5, tzinfo=UTC), "2026-02-28T23:00", "2026-03-31T22:00"),
    ],
)
def test_periods_are_those_of_the_time_zone(per: str, tz: str, at: datetime, since: str, until: str) -> None:
    """Days and months begin at midnight of the budget's time zone, also where a day has 23 or 25 hours."""
    account = Budget(limit_calls=1, per=per, tz=tz).account_of(make_call(started_at=at))

    assert account.since is not None
    assert account.until is not None
    assert [moment.isoformat()[:16] for moment in (account.since, account.until)] == [since, until]


def test_accounts_are_the_same_whatever_the_limit() -> None:
    """Two budgets of the same calls share an account and its lock; what was told is told for each limit."""
    one, other, third = (
        Budget(limit_calls=limit, where=where).account_of(make_call(agent="a", mode="m"))
        for limit, where in (
            (1, {"agent": ["b", "a"], "mode": "m"}),
            (2, {"mode": "m", "agent": ["a", "b"]}),
            (1, {"agent": "a"}),
        )
    )

    assert (one.key, one.lock) == (other.key, other.lock)
    assert one.told_key != other.told_key
    assert third.key != one.key


def test_an_error_is_no_reason_to_try_again() -> None:
    """`BudgetExceeded` is a `TokensError` and a `RuntimeError`, and survives being handed to another process."""
    error = BudgetExceeded("stopped", {"budget": "team", "limit": Decimal(5), "chain": "sql_fix"})
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own

    assert isinstance(error, TokensError)
    assert isinstance(error, RuntimeError)
    assert (str(again), again.budget, again.limit, again.chain, again.agent) == (
        "stopped",
        "team",
        Decimal(5),
        "sql_fix",
        None,
    )


# Files

FILE = """
[[budget]]
name = "team"
limit_usd = "250"
per = "month"
tz = "Europe/Berlin"

[[budget]]
limit_calls = 100
per = ["user", "day"]
where = { agent = ["Coder", "Writer"] }
warn_at = [0.9]
action = "stop"
webhook = { url = "https://hooks.example.com/${TOKEN}", timeout = 2, retries = 0, headers = { Authorization = "Bearer ${TOKEN}" } }
"""


def test_a_file_says_what_arguments_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file's tables become budgets; secrets come from the environment and never show."""
    monkeypatch.setenv("TOKEN", "s3cret")
    (tmp_path / "budgets.toml").write_text(FILE)

    team, users = Budget.load(tmp_path / "budgets.toml")

    assert team == Budget(name="team", limit_usd="250", per="month", tz="Europe/Berlin")
    assert (users.per, users.warn_at, users.stops) == (("user", "day"), (0.9,), True)
    assert isinstance(users.told[0], Webhook)
    assert "s3cret" not in repr(users)


def test_the_environment_names_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a path the environment's file is read, by a handler too; without both there are no budgets."""
    assert Budget.load() == ()
    (tmp_path / "b.toml").write_text('[[budget]]\nlimit_calls = 3\naction = "stop"\n')
    monkeypatch.setenv("LANGCHAIN_TOKENS_BUDGETS", str(tmp_path / "b.toml"))

    assert [budget.limit for budget in Budget.load()] == [3]
    with TokenUsageHandler(tmp_path / "t.db") as handler, TokenUsageHandler(tmp_path / "t.db", budgets=()) as other:
        assert (handler.raise_error, other.raise_error) == (True, False)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[[budget", "cannot be read: it is no TOML"),
        ("", "has nothing; expected tables [[budget]] only"),
        ("[budget]\nlimit_calls = 1", "has 'budget'"),
        ("[[budget]]\nlimit_calls = 1\n[other]\n", "'other'"),
        ("[[budget]]\nlimit_calls = 1\n[[budget]]\nlimit_cals = 1", "budget 2: found 'limit_cals'; allowed: limit_usd"),
        ("[[budget]]\nlimit_calls = -1", "budget 1: limit_calls=-1"),
        ('[[budget]]\nlimit_calls = 1\nwebhook = "ftp://x"', "budget 1: the webhook's url is no URL"),
        ('[[budget]]\nlimit_calls = 1\nwebhook = "https://x/${NO_SUCH}"', "no variable 'NO_SUCH'"),
        ('[[budget]]\nlimit_calls = 1\nwebhook = "https://x/$"', "a $ stands alone"),
        ("[[budget]]\nlimit_calls = 1\nwebhook = { uri = 1 }", "expected a URL, or a table with url"),
    ],
)
def test_a_wrong_file_is_said(content: str, said: str, tmp_path: Path) -> None:
    """A file that cannot be read, or has a wrong budget, is a `BudgetError` with its place."""
    (tmp_path / "b.toml").write_text(content)

    with pytest.raises(BudgetError) as raised:
        Budget.load(tmp_path / "b.toml")

    assert said in str(raised.value)
    assert str(tmp_path / "b.toml") in str(raised.value)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    """A file that is not there is no reason to go on without budgets."""
    with pytest.raises(BudgetError, match="No such file"):
        Budget.load(tmp_path / "none.toml")
