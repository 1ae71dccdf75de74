"""Nothing acknowledged is lost, nothing is stored twice: exits, forks and many processes. For kills, see test_kills.py."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from langchain_tokens import TokenUsageHandler
from tests.crew import RECORD, Crew, Ended, check_stored
from tests.models import ScriptedChat, acknowledged_graph

ENDINGS = {
    "clean exit": "ask(TokenUsageHandler(path), 20)",
    "sys.exit": "ask(TokenUsageHandler(path), 20); sys.exit(3)",
    "unhandled exception": "ask(TokenUsageHandler(path), 20); raise ZeroDivisionError('on purpose')",
    "in a thread": "threading.Thread(target=ask, args=(TokenUsageHandler(path), 20)).start()",
    "os._exit": "ask(TokenUsageHandler(path), 20); os._exit(0)",
    "SIGTERM": "ask(TokenUsageHandler(path), 20); os.kill(os.getpid(), signal.SIGTERM)",
    "stuck store": "ask(TokenUsageHandler(StuckStore(path)), 20)",
    "failing store": "ask(TokenUsageHandler(FailingStore(path)), 20)",
    "after the exit hooks": """
import atexit
atexit.register(lambda: record(handler, 20))
handler = TokenUsageHandler(path)
ask(handler, 10)
""",
}
CODES = {"sys.exit": 3, "unhandled exception": 1, "SIGTERM": -signal.SIGTERM}
ORDERLY = ("clean exit", "sys.exit", "unhandled exception", "in a thread")
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
ORPHAN = """
connected, gone, ended = os.pipe(), os.pipe(), os.pipe()
parent = os.fork()
if parent == 0:
    handler = TokenUsageHandler(path)
    ask(handler, 5)
    assert handler.flush(SECONDS_TO_END)
    if os.fork() == 0:
        signal.alarm(SECONDS_TO_END)
        os.close(gone[1])
        ask(handler, 5)
        assert handler.flush(SECONDS_TO_END)
        os.write(connected[1], b"!")
        os.read(gone[0], 1)
        ask(handler, 5)
        assert handler.flush(SECONDS_TO_END)
        handler.close()
        os._exit(0)
    os.read(connected[0], 1)
    handler.close()
    os._exit(0)
for end in (gone[1], ended[1]):
    os.close(end)
os.read(ended[0], 1)
assert os.waitpid(parent, 0)[1] == 0
"""
MULTIPROCESSING = """
import multiprocessing
handler = TokenUsageHandler(path)
ask(handler, 5)
fork = multiprocessing.get_context("fork")
children = [fork.Process(target=ask, args=(handler, 10)) for _ in range(3)]
for child in children:
    child.start()
for child in children:
    child.join()
    assert child.exitcode == 0
ask(handler, 5)
"""
PREFORK = """
handler = TokenUsageHandler(path)
workers = []
for ending in (None, signal.SIGTERM, signal.SIGKILL, None, signal.SIGKILL):
    worker = os.fork()
    if worker == 0:
        signal.alarm(SECONDS_TO_END)
        ask(handler, 10)
        if ending is None:
            break
        os.kill(os.getpid(), ending)
    workers.append(worker)
else:
    for worker in workers:
        os.waitpid(worker, 0)
"""


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    """The helper process, for all tests of this file."""
    with Crew() as started:
        yield started


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


def test_child_outlives_its_parent(tmp_path: Path, crew: Crew) -> None:
    """A service that goes on in a child, as daemons do, loses nothing when its parent closes the database and ends."""
    (ended,) = crew.run((tmp_path / "usage.db", ORPHAN))

    assert (ended.code, len(ended.acknowledged)) == (0, 2 * (5 + 5 + 5))
    check_stored(ended.database, ended.acknowledged)


@pytest.mark.parametrize(
    ("program", "asked"), [(MULTIPROCESSING, 40), (PREFORK, 50)], ids=["multiprocessing", "prefork"]
)
def test_workers_share_the_handler_of_their_parent(tmp_path: Path, crew: Crew, program: str, asked: int) -> None:
    """Worker processes that inherit a handler, of multiprocessing (which runs no exit hooks in them) or of a server that
    forks them before the first request, store what each recorded, however each of them ends.
    """
    (ended,) = crew.run((tmp_path / "usage.db", program))

    assert (ended.code, len(ended.acknowledged)) == (0, 2 * asked)
    check_stored(ended.database, ended.acknowledged)


def test_two_handlers_on_one_store_record_once(tmp_path: Path) -> None:
    """With two handlers on one store in one call of a graph, each model call is one row."""
    database = tmp_path / "usage.db"
    with TokenUsageHandler(database) as first, TokenUsageHandler(f"sqlite:///{database}") as second:
        state = acknowledged_graph(ScriptedChat()).invoke({"question": "q"}, {"callbacks": [first, second]})

        assert [handler.breakdown().total.calls for handler in (first, second)] == [2, 2]
    check_stored(database, state["call_ids"])
