"""How does a process end under test? A helper process forks one for each program, clean, and says what each acknowledged.

The programs run in processes that the helper forks before it has any handler: each is a process of its own with a clean
package, without the second that importing everything takes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from langchain_tokens import open_store

__all__ = ("RECORD", "ROOT", "TOKENS", "Crew", "Ended", "check_stored")

ROOT = Path(__file__).resolve().parent.parent
TOKENS = 15
"""What each call of the scripted model uses."""
RECORD = "handler = TokenUsageHandler(path); ask(handler, {times}); os._exit(0 if handler.flush(60) else 1)"
"""A program that asks so many questions, and stores all there is."""
CREW = """
import json, os, signal, sys, threading
from pathlib import Path
from langchain_tokens import TokenUsageHandler
from langchain_tokens.prices import PriceBook
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target
from tests.models import FailingStore, ScriptedChat, StuckStore, acknowledged_graph

GRAPH = acknowledged_graph(ScriptedChat())
SECONDS_TO_END = 100

def say(job, text):
    os.write(1, f"{job} {os.getpid()} {text}\\n".encode())

def ask(handler, times):
    for _ in range(times):
        for call_id in GRAPH.invoke({"question": "q"}, {"callbacks": [handler]})["call_ids"]:
            say(job, call_id)

def record(handler, times):
    for _ in range(times):
        say(job, handler.record({"input_tokens": 10, "output_tokens": 5}).call_id)

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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.process.communicate()

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
