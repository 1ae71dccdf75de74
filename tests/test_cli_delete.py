"""What a terminal sees of `delete`: what would go, the question, what is gone; and what pruned calls leave behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target
from tests.builders import NOON, make_call, make_fact
from tests.terminals import Terminal
from tests.test_cli import Run, Said, fill, run

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)
__all__ = ("run",)

OLD = NOON - timedelta(days=100)
LINE = (
    "2 calls of 1 run and 1 session, 120 tokens (1 call without complete usage), 0.000500 USD (1 call without a price)"
)


@contextmanager
def opened(database: Database) -> Iterator[UsageStore]:
    with closing(UsageStore(parse_target(database.url))) as store:
        yield store


@pytest.fixture
def chats(lasting_database: Database) -> Database:
    """Two sessions: one of two calls, of which the second failed, and a run without a call; the other of one call."""
    with opened(lasting_database) as store:
        later: dict[str, Any] = {"started_at": NOON + timedelta(minutes=5), "status": "error"}
        store.add(
            [
                make_call(run_id="r1", session="s1", user="ann", cost="0.0005"),
                make_call(run_id="r1", session="s1", user="ann", tokens=None, **later),
                make_call(run_id="r2", session="s2", user="raj", cost="0.0005", tags={"team": "a"}),
            ],
            [make_fact("r1", session="s1"), make_fact("r2", session="s2"), make_fact("r3", session="s1")],
        )
    return lasting_database


def left(database: Database) -> tuple[int, int, int]:
    """How many calls and runs have a row, and how many calls are counted."""
    with opened(database) as store:
        assert store.check().is_clean
        return len(store.calls()), len(store.runs()), store.breakdown().total.calls


def test_a_dry_run_says_what_would_go(run: Run, chats: Database) -> None:
    """Calls, runs, sessions, tokens and cost with what they do not cover, and the time; nothing is deleted."""
    said = run("delete", "--session", "s1", "--dry-run", "--db", chats.url)
    assert said.out == f"would go: {LINE}, and 1 run without a call\n"
    assert (said.code, said.err) == (0, "from 2026-11-20 12:00 to 2026-11-20 12:05\n")
    document = run("delete", "--session", "s1", "--dry-run", "--json", "--db", chats.url).document
    assert {name: document[name] for name in ("is_dry_run", "calls", "sessions", "total_tokens", "cost_usd")} == {
        "is_dry_run": True,
        "calls": 2,
        "sessions": 1,
        "total_tokens": 120,
        "cost_usd": "0.000500000000",
    }
    assert left(chats) == (3, 3, 3)


@pytest.mark.parametrize(
    ("filters", "rest"),
    [
        (("--session", "s1"), (1, 1, 1)),
        (("--user", "raj"), (2, 2, 2)),
        (("--run", "r2"), (2, 2, 2)),
        (("--tag", "team=a"), (2, 2, 2)),
        (("--since", "2026-11-20T12:01Z"), (2, 3, 2)),
        (("--session", "s1", "--status", "error"), (2, 3, 2)),
        (("--until", "2100-01-01"), (0, 0, 0)),
    ],
    ids=str,
)
def test_what_matches_goes(run: Run, chats: Database, filters: tuple[str, ...], rest: tuple[int, int, int]) -> None:
    """Exactly the calls that match go, with runs that have none left; the sums are those of what stays."""
    said = run("delete", *filters, "--yes", "--db", chats.url)
    assert (said.code, said.out.partition(" call")[0]) == (0, f"deleted: {3 - rest[2]}")
    assert left(chats) == rest
    again = run("delete", *filters, "--yes", "--db", chats.url)
    assert (again.code, again.out, again.err.startswith("nothing was deleted: ")) == (0, "", True)
    assert run("delete", *filters, "--yes", "--fail-empty", "--db", chats.url).code == 3


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("YES\n", 0), ("n\n", 1), ("\n", 1), ("", 1)])
def test_a_terminal_is_asked(
    run: Run, chats: Database, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    """It is said what goes, from where; only a yes deletes it."""
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    said = run("delete", "--session", "s1", "--db", chats.url)
    assert (said.code, said.out.startswith(f"deleted: {LINE}")) == (code, code == 0)
    assert f"would go: {LINE}, and 1 run without a call\n" in said.err
    assert said.err.splitlines()[0].endswith(", session=s1 · UTC")
    assert left(chats) == ((3, 3, 3) if code else (1, 1, 1))


class Recording(Terminal):
    """A terminal at which a program records something before the answer."""

    def __init__(self, record: Callable[[], None]) -> None:
        super().__init__("y\n")
        self._record = record

    def readline(self, *_: Any) -> str:
        self._record()
        return super().readline()


def test_what_nobody_was_shown_stays(run: Run, chats: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that came between the question and the answer was in no number: then nothing goes at all."""

    def record() -> None:
        with opened(chats) as store:
            store.add([make_call(run_id="r1", session="s1")])

    monkeypatch.setattr("sys.stdin", Recording(record))
    said = run("delete", "--session", "s1", "--db", chats.url)
    assert (said.code, said.out) == (1, "")
    assert "nothing was deleted: 3 calls match now, and 2 were shown" in said.err
    assert left(chats) == (4, 3, 4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "delete needs a filter, such as --session s-17"),
        (("--yes", "--tz", "Asia/Kolkata"), "delete needs a filter"),
        (("--session", "s1"), "nothing was deleted: there is nobody to ask, and no --yes"),
        (("--since", "2026-11-03", "--until", "2026-11-02", "--yes"), "an empty range"),
        (("--tag", "team", "--yes"), "no KEY=VALUE"),
    ],
    ids=str,
)
def test_wrong_usage_deletes_nothing(run: Run, arguments: tuple[str, ...], said: str) -> None:
    """Without a filter, with a wrong one, or with nobody to ask, it is exit code 2, and all stays."""
    database = fill([make_call(session="s1")])
    found = run("delete", *arguments, "--db", database)
    assert (found.code, found.out, said in found.err) == (2, "", True)
    assert run("calls", "--db", database).code == 0
    assert run("delete", "--session", "s1", "--yes", "--db", "none.db") == Said(
        code=1, out="", err=run("calls", "--db", "none.db").err
    )


@pytest.fixture
def pruned(chats: Database) -> Database:
    """The same after three calls of a session a hundred days before were pruned, with their sums kept."""
    with opened(chats) as store:
        store.add(
            [
                make_call(run_id="r0", session="s0", agent="x", started_at=OLD + timedelta(hours=each))
                for each in range(3)
            ],
            [make_fact("r0", session="s0", started_at=OLD)],
        )
        store.prune("2026-10-01")
    return chats


@pytest.mark.parametrize(
    ("filters", "gone", "hint", "counted"),
    [
        (("--until", "2026-11-01"), 0, "also 3 calls of which only sums are left: they go, too", 3),
        (("--until", f"{OLD + timedelta(minutes=90):%Y-%m-%dT%H:%MZ}"), 0, "also 1 call of which only sums", 5),
        (("--session", "s0", "--session", "s2"), 1, "also 3 calls of which only sums are left: these stay", 5),
        (("--agent", "x"), None, "nothing was deleted: no call matches", 6),
        (("--user", "ann", "--agent", "(none)"), 2, "of calls that were pruned the sums stay as they are", 4),
        (("--since", "2026-10-15"), 3, "from 2026-11-20 12:00", 3),
    ],
    ids=str,
)
def test_of_pruned_calls_it_says_what_becomes_of_the_sums(
    run: Run, pruned: Database, *, filters: tuple[str, ...], gone: int | None, hint: str, counted: int
) -> None:
    """A range takes their sums along, a session its name out of them, other filters leave them; each as it is said."""
    said = run("delete", *filters, "--yes", "--db", pruned.url)
    assert said.out.startswith("" if gone is None else f"deleted: {gone} call")
    assert (said.code, hint in said.err) == (0, True)
    assert left(pruned)[2] == counted
    with opened(pruned) as store:
        cost = store.breakdown("session").total.cost_usd
        assert cost is None or cost <= Decimal("0.001")
