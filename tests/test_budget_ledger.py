"""Is one account the same for all? Processes at once, processes that are killed, and the moment a call is stored."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Connection

from langchain_tokens import Budget, TokenUsageHandler, UsageStore, ledger, open_store
from langchain_tokens.budgets import Alert
from langchain_tokens.call import Call
from langchain_tokens.ledger import Ledger, _Question
from langchain_tokens.registry import REGISTRY
from langchain_tokens.store.budgetreading import read_reservations
from langchain_tokens.store.engine import reading, writing
from langchain_tokens.store.ledger import Reading, Refusal, Request, read_balance, record, release, renew, reserve
from tests.builders import make_call
from tests.models import StreamingChat

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)

MakeStore = Callable[["Database"], UsageStore]
ROOT = Path(__file__).resolve().parent.parent
MINUTE = timedelta(minutes=1)
LAPSED = timedelta(seconds=-1)


@pytest.fixture(autouse=True)
def _drained() -> Iterator[None]:
    """Stop the threads that a test began."""
    yield
    REGISTRY.drain()


def asked(budget: Budget, *, call: Call | None = None, cost: int | None = 100, tokens: int = 10) -> Request:
    """A call that is to be made now, under one budget."""
    call = call or make_call(started_at=datetime.now(UTC), usage=None)
    return Request(call=call, accounts=(budget.account_of(call),), cost=cost, tokens=tokens, process="here:1")


def ask(store: UsageStore, *requests: Request, lease: timedelta = MINUTE) -> list[Refusal | None]:
    """Reserve, as the ledger's thread does."""
    with writing(store._engine(), store.target) as connection:
        return list(reserve(connection, requests, lease).refusals)


class Unhashable:
    """Somebody to tell who has no hash, as an instance of a dataclass has none."""

    __hash__ = None  # type: ignore[assignment]  # as Python sets it

    def __call__(self, alert: Alert) -> None:
        """Tell nobody."""


def held(store: UsageStore, budget: Budget) -> tuple[int, int]:
    """What is spent and reserved of a budget with one account."""
    now = datetime.now(UTC)
    with reading(store._engine(), store.target) as connection:
        balance = read_balance(connection, budget.account((), now), now)
    return balance.spent, balance.reserved


@pytest.mark.parametrize(
    ("budget", "fits"),
    [
        (Budget(limit_usd="0.0000000003", action="stop"), 3),
        (Budget(limit_tokens=39, action="stop"), 3),
        (Budget(limit_calls=3, action="stop", per="day"), 3),
        (Budget(limit_calls=3, action="stop", per=["user", "day"]), 3),
        (Budget(limit_calls=3, action="stop", alert=Unhashable()), 3),
        (Budget(limit_calls=3, action="stop", alert=[Unhashable()], where={"agent": ["(none)"]}), 3),
    ],
)
def test_what_fits_is_reserved(budget: Budget, fits: int, store: UsageStore) -> None:
    """Of calls that are asked for at once, and one after the other, those are let through that fit; exactly those."""
    found = ask(store, *(asked(budget) for _ in range(2))) + [ask(store, asked(budget))[0] for _ in range(3)]

    assert [refusal is None for refusal in found] == [True] * fits + [False] * (5 - fits)
    refusal = found[-1]
    assert refusal is not None
    assert (refusal.reason, refusal.spent, refusal.reserved) == ("limit", 0, refusal.asked * fits)  # type: ignore[operator]


def test_a_stored_call_takes_the_place_of_its_reservation(store: UsageStore) -> None:
    """Before and after a call is stored, it counts once: as what was reserved, then as what it cost."""
    budget = Budget(limit_usd="1", per="month", action="stop")
    request = asked(budget, cost=5_000)
    ask(store, request)
    assert held(store, budget) == (0, 5_000)

    done = make_call(call_id=request.call.call_id, started_at=request.call.started_at, cost="0.000000000700")
    store.add([done, make_call(started_at=request.call.started_at, cost="0.000000000001")])

    assert held(store, budget) == (701, 0)
    store.add([done])
    assert held(store, budget) == (701, 0)


def test_reservations_of_others_count_by_their_names(store: UsageStore) -> None:
    """A budget sees what was reserved for calls of its account, whatever budgets they were reserved for."""
    everything = Budget(limit_calls=100, action="stop")
    now = datetime.now(UTC)
    for names in ({"session": "s1", "tags": {"team": "a'b"}}, {"session": "s2"}, {"session": None}):
        ask(store, asked(everything, call=make_call(started_at=now, **names)))
    for budget, limit in (
        (Budget(limit_calls=1, per="session", action="stop"), {"session": "s1"}),
        (Budget(limit_calls=1, per="session", action="stop"), {"session": None}),
        (Budget(limit_calls=1, per="tag:team", action="stop"), {"tags": {"team": "a'b"}}),
        (Budget(limit_calls=1, where={"tags": {"team": "a'b"}}, action="stop"), {"tags": {"team": "a'b"}}),
        (Budget(limit_calls=3, per="day", action="stop"), {}),
    ):
        assert ask(store, asked(budget, call=make_call(started_at=now, **limit)))[0] is not None, budget
    assert (
        ask(store, asked(Budget(limit_calls=1, per="session", action="stop"), call=make_call(session="s3")))[0] is None
    )


def test_the_same_call_is_reserved_once(store: UsageStore) -> None:
    """A call that two handlers ask for counts once; where the second one refuses it, nothing is left of it."""
    budget, call = Budget(limit_calls=1, action="stop"), make_call()
    assert ask(store, asked(budget, call=call)) == [None]
    assert ask(store, asked(budget, call=call)) == [None]
    assert held(store, budget) == (0, 1)
    assert ask(store, asked(Budget(limit_tokens=5, action="stop"), call=call))[0] is not None
    assert held(store, budget) == (0, 0)


def test_reservations_lapse_unless_they_are_renewed(store: UsageStore) -> None:
    """What nobody renews makes room; what is renewed does not."""
    budget = Budget(limit_calls=2, action="stop")
    lapsing, lasting = asked(budget), asked(budget)
    ask(store, lapsing, lasting, lease=LAPSED)
    assert held(store, budget) == (0, 0)
    with writing(store._engine(), store.target) as connection:
        renew(connection, [lasting.call.call_id], MINUTE)
    assert held(store, budget) == (0, 1)
    assert [refusal is None for refusal in ask(store, asked(budget), asked(budget))] == [True, False]
    with reading(store._engine(), store.target) as connection:
        assert lapsing.call.call_id not in {row["call_id"] for row in read_reservations(connection)}


def test_what_was_let_through_unasked_is_recorded_later(store: UsageStore) -> None:
    """A call that its process let through alone is reserved when the database answers, unless it is stored by then."""
    budget = Budget(limit_calls=5, action="stop")
    going, done = asked(budget), asked(budget)
    store.add([make_call(call_id=done.call.call_id)])
    with writing(store._engine(), store.target) as connection:
        record(connection, going, MINUTE)
        record(connection, done, MINUTE)
    assert held(store, budget) == (1, 1)
    with writing(store._engine(), store.target) as connection:
        assert release(connection, [going.call.call_id, "unknown"]) == 1


def test_a_call_that_goes_on_is_renewed(lasting_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is reserved for a call that goes on holds as long as its process lives; but not for ever, if it never ends."""
    budget = Budget(limit_calls=5, action="stop")
    monkeypatch.setattr(ledger, "LEASE_SECONDS", -1.0)  # lapsed at once
    with TokenUsageHandler(lasting_database.url, budgets=[budget]) as handler:
        stream = StreamingChat().stream("q", {"callbacks": [handler]})
        next(stream)
        gate = handler._capture.gate
        assert gate is not None
        asking = gate._means.ledger
        assert asking.held == 1
        asking.close(30)  # its thread may be renewing at this moment, by the lease of before
        assert held(handler.store, budget) == (0, 0)
        monkeypatch.setattr(ledger, "LEASE_SECONDS", 60.0)
        asking._renew_at = 0.0
        asking._renew_in_time()
        assert held(handler.store, budget) == (0, 1)
        monkeypatch.setattr(ledger, "_LONGEST_CALL_SECONDS", -1.0)
        asking._renew_at = 0.0
        asking._renew_in_time()
        assert asking.held == 0
        assert len(list(stream)) > 1
        assert handler.flush(30)
        assert held(handler.store, budget) == (1, 0)


def test_a_question_at_fault_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of our own neither says that the database is away, nor does it keep others' questions from an answer."""

    def failing(connection: Connection, requests: Sequence[Request], lease: timedelta) -> Reading:
        if any(request.call.agent == "at fault" for request in requests):
            raise TypeError("unhashable type")
        return reserve(connection, requests, lease)

    monkeypatch.setattr(ledger, "reserve", failing)
    budget = Budget(limit_calls=1, action="stop")
    store = open_store(tmp_path / "t.db")
    store.add([make_call(started_at=datetime.now(UTC))])
    questions = [_Question(asked(budget, call=make_call(agent=agent, usage=None))) for agent in ("at fault", None)]
    asking = Ledger(store)
    asking._answer(questions)

    assert isinstance(questions[0].failure, TypeError)
    assert questions[1].refusal is not None
    asking._decide_alone(questions[0].request, questions[0].failure)
    assert "it cannot be asked whether budgets allow a call" in caplog.text
    assert "the database does not say" not in caplog.text


# Processes

PROGRAM = """
import json, os, sys
from langchain_tokens import Budget, BudgetExceeded, TokenUsageHandler
from tests.models import Reply, ScriptedChat, in_turn

def work(url, limit):
    usage = {"input_tokens": 20, "output_tokens": 100, "total_tokens": 120}
    model = ScriptedChat(script=in_turn(Reply(usage=usage))).bind(max_tokens=100)
    made = 0
    with TokenUsageHandler(url, budgets=[Budget(limit_usd=limit, action="stop")]) as handler:
        for _ in range(12):
            try:
                model.invoke("q", {"callbacks": [handler]})
                made += 1
            except BudgetExceeded:
                pass
        return made, handler.stopped_calls, handler.flush(60)

url, folder, limit = sys.argv[1:]
for number in range(4):
    if os.fork() == 0:
        os.environ["XDG_STATE_HOME"] = f"{folder}/{number}"
        os.write(1, (json.dumps(work(url, limit)) + "\\n").encode())
        os._exit(0)
for _ in range(4):
    os.wait()
"""


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts programs that write to and read from the test; none outlives it."""
    started: list[subprocess.Popen[str]] = []

    def begin(program: str, *arguments: str) -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", program, *arguments]
        started.append(subprocess.Popen(command, text=True, env=environment, **pipes))
        return started[-1]

    yield begin
    for program in started:
        if program.poll() is None:
            program.kill()
        program.communicate()


def test_processes_stay_within_one_limit(
    lasting_database: Database, make_store: MakeStore, tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """Four processes at once spend no more than the limit, and about as much as it allows."""
    one = 20 * 15 * 10**4 + 100 * 6 * 10**5  # pico-USD that a call costs, at 0.15 and 0.60 USD a million tokens
    limit = Decimal(one * 16).scaleb(-12)
    store = make_store(lasting_database)
    store.breakdown()
    program = start(PROGRAM, lasting_database.url, str(tmp_path), str(limit))
    said = [json.loads(line) for line in program.communicate(timeout=100)[0].splitlines()]

    total = store.breakdown().total
    assert [is_stored for _, _, is_stored in said] == [True] * 4
    assert total.calls == sum(made for made, _, _ in said)
    assert total.cost_usd is not None
    assert total.cost_usd <= limit
    assert total.calls >= 10  # what surely fits: each may need 0.0001 USD
    assert sum(stopped for _, stopped, _ in said) == 48 - total.calls


KILLED = """
import os, sys
from langchain_tokens import Budget, TokenUsageHandler, ledger
from tests.models import ScriptedChat, StreamingChat
url, folder = sys.argv[1:]
os.environ["XDG_STATE_HOME"] = folder
ledger.LEASE_SECONDS = 3.0
handler = TokenUsageHandler(url, budgets=[Budget(limit_calls=3, action="stop")])
handler.flush()
handler.store.breakdown()
handler._capture.recorder.pause()  # nothing more is stored; what is acknowledged lies in the journal
ScriptedChat().invoke("q", {"callbacks": [handler]})
stream = StreamingChat().stream("q", {"callbacks": [handler]})
next(stream)
print("ready", flush=True)
sys.stdin.readline()
"""


def test_a_killed_process_gives_its_room_back(
    lasting_database: Database, tmp_path: Path, start: Callable[..., subprocess.Popen[str]], make_store: MakeStore
) -> None:
    """After a kill, the call that was acknowledged is delivered from the journal and counts; the one that was going on
    makes room when its reservation lapses.
    """
    store, budget = make_store(lasting_database), Budget(limit_calls=3, action="stop")
    program = start(KILLED, lasting_database.url, str(tmp_path))
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    assert held(store, budget) == (0, 2)
    program.send_signal(signal.SIGKILL)
    program.wait(30)

    with TokenUsageHandler(lasting_database.url, budgets=[budget]) as handler:
        assert handler._capture.recorder.stats().pending == 0
        handler.record({"prompt_tokens": 1, "completion_tokens": 1})
        assert handler.flush(30)
        handler.close()
    assert held(store, budget)[0] == 2
    with writing(store._engine(), store.target) as connection:
        rows = read_reservations(connection)
    assert len(rows) <= 1
    assert all(row["expires_at"] < datetime.now(UTC) + timedelta(seconds=3) for row in rows)
    deadline = max((row["expires_at"] for row in rows), default=datetime.now(UTC))
    with reading(store._engine(), store.target) as connection:
        later = read_balance(connection, budget.account((), deadline), deadline)
    assert (later.spent, later.reserved) == (2, 0)
