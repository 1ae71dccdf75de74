"""Who is killed, and when? Four processes record into one database; at random points one of them is killed, and replaced.

Run: `python -m tests.killed URL FOLDER KILLS SEED`. Each process writes the id of every call that was acknowledged (its
hook, or `record`, has returned) to a file of its own in the folder. In the end all are killed.
"""

from __future__ import annotations

import importlib
import os
import random
import signal
import sys
import time
from itertools import count
from pathlib import Path
from uuid import UUID

from langchain_tokens import TokenUsageHandler, tally
from tests.models import ScriptedChat

PROCESSES = 4
SECONDS_BETWEEN = 0.2
"""At most."""
MOST_PENDING = 1_000
"""Beyond, a process waits a little, so that the load stays one that the database can take in the end."""
SECONDS_TO_LIVE = 120
USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}


def work(url: str, folder: Path, worker: int) -> None:
    """Record calls, and write down which were acknowledged, until somebody kills this process."""
    if worker % 2:
        tally._QUEUE_BOUND = 20  # what does not fit into memory is to survive too
    said = os.open(folder / str(worker), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    handler, model = TokenUsageHandler(url), ScriptedChat()
    for number in count(1):
        if number % 3:
            call_id = str(UUID(int=(worker << 64) + number))
            model.invoke("q", {"callbacks": [handler], "run_id": UUID(call_id)})
        else:
            call_id = handler.record(USAGE, model="gpt-4o-mini", provider="openai").call_id
        os.write(said, f"{call_id}\n".encode())
        if handler.stats().pending > MOST_PENDING:
            handler.flush(0.02)


def warm_up() -> None:
    """Load here what every process would load first, so that they are killed at their work, not at their imports."""
    with TokenUsageHandler("sqlite://") as handler:
        ScriptedChat().invoke("q", {"callbacks": [handler]})
        handler.flush()
    importlib.import_module("psycopg")


def main(url: str, folder: Path, kills: int, seed: int) -> None:
    """Keep four at work, and kill."""
    chance = random.Random(seed)
    warm_up()
    workers = count()
    alive: list[int] = []

    def begin() -> None:
        worker, process = next(workers), os.fork()
        if process == 0:
            signal.alarm(SECONDS_TO_LIVE)
            work(url, folder, worker)
        alive.append(process)

    def kill(process: int) -> None:
        os.kill(process, signal.SIGKILL)
        assert os.waitpid(process, 0)[1] == signal.SIGKILL
        alive.remove(process)

    for _ in range(PROCESSES):
        begin()
    for _ in range(kills):
        time.sleep(chance.uniform(0, SECONDS_BETWEEN))
        kill(chance.choice(alive))
        begin()
    time.sleep(SECONDS_BETWEEN)
    for process in tuple(alive):
        kill(process)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
