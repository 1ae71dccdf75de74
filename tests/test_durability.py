"""Nothing acknowledged is lost, nothing is stored twice: kills, exits, forks and many processes.

The programs under test run in processes that one helper process forks before it has any handler: each is a process of
its own with a clean package, without the second that importing everything takes.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from langchain_tokens import TokenUsageHandler, open_store
from tests.models import ScriptedChat, acknowledged_graph

ROOT = Path(__file__).resolve().parent.parent
KILLS = 20
FOR_EVER = 1_000_000
TOKENS = 15
"""What each call of the scripted model uses."""
CREW = """
import json, os, signal, sys, threading
from pathlib import Path
from langchain_tokens import TokenUsageHandler
from langchain_tokens.prices import PriceBook
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target
from tests.models import FailingStore, ScriptedChat, StuckStore, acknowledged_graph

GRAPH = acknowledged_graph(ScriptedChat())
SECONDS_TO_END = 30

def say(job, text):
    os.write(1, f"{job} {os.getpid()} {text}\\n".encode())

def ask(handler, times):
    for _ in range(times):
        for call_id in GRAPH.invoke({"question": "q"}, {"callbacks": [handler]})["call_ids"]:
            say(job, call_id)

for line in sys.stdin:
    children = []
    for job, (path, program) in enumerate(json.loads(line)):
        child = os.fork()
        if child == 0:
            signal.alarm(SECONDS_TO_END)
            break
        children.append(child)
    else:
        for job, child in enumerate(children):
            say(job, f"ended {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")
        say(0, "done")
        continue
    path = Path(path)
    say(job, "starts")
    exec(program)
    break
"""
ENDINGS = {
    "clean exit": "ask(TokenUsageHandler(path), 20)",
    "sys.exit": "ask(TokenUsageHandler(path), 20); sys.exit(3)",
    "unhandled exception": "ask(TokenUsageHandler(path), 20); raise ZeroDivisionError('on purpose')",
    "in a thread": "threading.Thread(target=ask, args=(TokenUsageHandler(path), 20)).start()",
    "os._exit": "ask(TokenUsageHandler(path), 20); os._exit(0)",
    "SIGTERM": "ask(TokenUsageHandler(path), 20); os.kill(os.getpid(), signal.SIGTERM)",
    "stuck store": "ask(TokenUsageHandler(StuckStore(path)), 20)",
    "failing store": "ask(TokenUsageHandler(FailingStore(path)), 20)",
}
CODES = {"sys.exit": 3, "unhandled exception": 1, "SIGTERM": -signal.SIGTERM}
ORDERLY = ("clean exit", "sys.exit", "unhandled exception", "in a thread")
RECORD = "handler = TokenUsageHandler(path); ask(handler, {times}); os._exit(0 if handler.flush(60) else 1)"
FORKS = {
    "after delivery": "handler.flush()",
    "at once": "",
    "while a price is looked up": "looked_up.wait()",
    "while the store is written": "written.wait()",
}
FORK = """
looked_up, written = threading.Event(), threading.Event()

class Prices(PriceBook):
    def price(self, call):
        looked_up.set()
        return super().price(call)

class Store(UsageStore):
    def add(self, calls, runs=()):
        written.set()
        super().add(calls, runs)

handler = TokenUsageHandler(Store(parse_target(path)), prices=Prices())
ask(handler, 5)
{moment}
child = os.fork()
ask(handler, 10)
assert handler.breakdown("chain").total.calls == 2 * 15
if child == 0:
    signal.alarm(SECONDS_TO_END)
    {at_end}
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
ask(handler, 5)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a process left."""

    database: Path
    code: int
    acknowledged: list[str]


class Crew:
    """The helper process."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-W", "ignore:.*fork:DeprecationWarning", "-c", CREW],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *jobs: tuple[Path, str], kill_after: int | None = None) -> list[Ended]:
        """Run programs at once, each in a process of its own, to their end.

        Args:
            jobs: the database that a program finds in `path`, and the program.
            kill_after: kill them all when they have acknowledged so many calls together.

        """
        processes: set[int] = set()
        acknowledged: list[list[str]] = [[] for _ in jobs]
        codes: dict[int, int] = {}
        for job, number, said in self._order(jobs):
            if said == "starts":
                processes.add(number)
            elif said.startswith("ended "):
                codes[job] = int(said.removeprefix("ended "))
            else:
                acknowledged[job].append(said)
            if kill_after is not None and sum(map(len, acknowledged)) == kill_after:
                for process in processes:
                    os.kill(process, signal.SIGKILL)
                kill_after = None
        return [
            Ended(database=database, code=codes[job], acknowledged=acknowledged[job])
            for job, (database, _) in enumerate(jobs)
        ]

    def _order(self, jobs: tuple[tuple[Path, str], ...]) -> Iterator[tuple[int, int, str]]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([[str(database), program] for database, program in jobs]) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            job, number, said = line.rstrip("\n").split(" ", 2)
            if said == "done":
                return
            yield int(job), int(number), said


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    """The helper process, for all tests of this file."""
    started = Crew()
    yield started
    started.process.communicate()


def check_stored(database: Path, acknowledged: list[str], *, in_flight: int = 0) -> None:
    """Assert that after the next opening every acknowledged call is stored once, and that nothing is left to deliver.

    Args:
        database: the SQLite file.
        acknowledged: call ids.
        in_flight: how many calls may be there beyond those, which ended but were not acknowledged.

    """
    store = open_store(database)
    stored = [call.call_id for call in store.calls(limit=100_000)]
    assert len(set(stored)) == len(stored)
    assert set(acknowledged) <= set(stored)
    assert len(stored) <= len(acknowledged) + in_flight
    assert store.breakdown().total.total_tokens == TOKENS * len(stored)
    assert sum(len(run.calls) for run in store.runs(limit=100_000)) == len(stored)
    assert list(database.parent.glob(f"{database.name}.pending/*")) == []
    assert open_store(database).breakdown().total.calls == len(stored)


def test_killed_at_random_points(tmp_path: Path, crew: Crew) -> None:
    """After SIGKILL right after a call returned, at 20 random points, the next opener stores all, each once."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201  # shown when the test fails
    chance = random.Random(seed)  # noqa: S311
    for place in range(KILLS):
        last = chance.choice((chance.randint(1, 10), chance.randint(10, 300)))
        job = (tmp_path / f"killed-{place}.db", RECORD.format(times=FOR_EVER))
        (ended,) = crew.run(job, kill_after=last)

        assert ended.code == -signal.SIGKILL
        assert len(ended.acknowledged) >= last
        check_stored(ended.database, ended.acknowledged, in_flight=2)


def test_killed_together(tmp_path: Path, crew: Crew) -> None:
    """Four processes on one database, all killed while they record: the next opener stores what each acknowledged."""
    job = (tmp_path / "usage.db", RECORD.format(times=FOR_EVER))
    ended = crew.run(job, job, job, job, kill_after=400)

    assert [member.code for member in ended] == [-signal.SIGKILL] * 4
    check_stored(job[0], [call_id for member in ended for call_id in member.acknowledged], in_flight=4 * 2)


def test_many_processes_share_a_database(tmp_path: Path, crew: Crew) -> None:
    """Four processes with their own handlers on one file that does not exist yet store all of their calls."""
    job = (tmp_path / "usage.db", RECORD.format(times=50))
    ended = crew.run(job, job, job, job)

    assert [(member.code, len(member.acknowledged)) for member in ended] == [(0, 100)] * 4
    check_stored(job[0], [call_id for member in ended for call_id in member.acknowledged])


@pytest.fixture(scope="module")
def endings(crew: Crew, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """What processes left that ended in each of the ways, all at once."""
    folder = tmp_path_factory.mktemp("endings")
    jobs = [(folder / f"{number}.db", program) for number, program in enumerate(ENDINGS.values())]
    return dict(zip(ENDINGS, crew.run(*jobs), strict=True))


@pytest.mark.parametrize("ending", ENDINGS)
def test_end_of_the_process_loses_nothing(endings: dict[str, Ended], ending: str) -> None:
    """However a process ends, without flush or close and whatever its store does, it does end, and all is stored: at
    once where exit hooks run, else by the next opener.
    """
    ended = endings[ending]

    assert (ended.code, len(ended.acknowledged)) == (CODES.get(ending, 0), 40)
    assert ended.database.with_name(f"{ended.database.name}.pending").exists() == (ending not in ORDERLY)
    check_stored(ended.database, ended.acknowledged)


@pytest.mark.parametrize("at_end", ["handler.flush()", "pass"], ids=["child flushes", "child just ends"])
@pytest.mark.parametrize("moment", FORKS)
def test_forked_child_goes_on_with_the_same_handler(tmp_path: Path, crew: Crew, moment: str, at_end: str) -> None:
    """Whatever the writer does when its process forks: what parent and child record is stored, each call once."""
    (ended,) = crew.run((tmp_path / "usage.db", FORK.format(moment=FORKS[moment], at_end=at_end)))

    assert (ended.code, len(ended.acknowledged)) == (0, 2 * (5 + 10 + 10 + 5))
    check_stored(ended.database, ended.acknowledged)


def test_two_handlers_on_one_store_record_once(tmp_path: Path) -> None:
    """With two handlers on one store in one call of a graph, each model call is one row."""
    database = tmp_path / "usage.db"
    with TokenUsageHandler(database) as first, TokenUsageHandler(f"sqlite:///{database}") as second:
        state = acknowledged_graph(ScriptedChat()).invoke({"question": "q"}, {"callbacks": [first, second]})

        assert [handler.breakdown().total.calls for handler in (first, second)] == [2, 2]
    check_stored(database, state["call_ids"])
