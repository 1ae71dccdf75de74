"""Nothing that was acknowledged is lost, nothing is stored twice, wherever a process is killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from langchain_tokens import open_store
from langchain_tokens.store.target import parse_target
from tests.crew import RECORD, ROOT, TOKENS, Crew, check_stored
from tests.killed import PROCESSES

pytest_plugins = ("tests.databases",)

KILLS = int(os.environ.get("LANGCHAIN_TOKENS_KILLS", "12"))
"""Points on each kind of database."""
SHOWN = 100_000
FOR_EVER = 1_000_000


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    """The helper process."""
    with Crew() as started:
        yield started


@pytest.mark.timeout(120 + 2 * KILLS)
def test_killed_at_random_points(tmp_path: Path, lasting_database: Any) -> None:
    """While four processes record into one database, one after the other is killed at a random point and replaced: each
    acknowledged call is stored, none twice, all sums are those of the calls, and no journal is left.
    """
    folder, seed = tmp_path / "acknowledged", random.SystemRandom().randrange(1 << 32)
    folder.mkdir()
    print(f"{KILLS} kills, seed {seed}")  # noqa: T201  # shown when the test fails
    program = [sys.executable, "-W", "error", "-m", "tests.killed", lasting_database.url, folder, KILLS, seed]
    subprocess.run(list(map(str, program)), env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT, check=True)

    said = [line for file in folder.iterdir() for line in file.read_text().splitlines()]
    acknowledged = set(said)
    assert len(acknowledged) == len(said) > KILLS
    store = open_store(lasting_database.url)
    stored = [call.call_id for page in range(100) for call in store.calls(limit=SHOWN, offset=page * SHOWN)]
    print(f"{len(acknowledged):,} acknowledged, {len(stored):,} stored")  # noqa: T201
    assert acknowledged - set(stored) == set()
    assert len(stored) == len(set(stored))
    assert len(set(stored) - acknowledged) <= KILLS + PROCESSES  # each was killed between the hook and its word of it
    total = store.breakdown().total
    assert (total.calls, total.total_tokens) == (len(stored), TOKENS * len(stored))
    assert str(store.check()).splitlines() == [
        f"{len(stored):,} calls checked, 0 of them without raw usage: no differences"
    ]
    store.close()
    journal = parse_target(lasting_database.url).journal_folder
    assert journal is not None
    assert not journal.exists() or list(journal.iterdir()) == []


def test_killed_together(tmp_path: Path, crew: Crew) -> None:
    """Four processes on one database, all killed while they record: the next opener stores what each acknowledged."""
    job = (tmp_path / "usage.db", RECORD.format(times=FOR_EVER))
    ended = crew.run(job, job, job, job, kill_after=400)

    assert [member.code for member in ended] == [-signal.SIGKILL] * 4
    check_stored(job[0], [call_id for member in ended for call_id in member.acknowledged], in_flight=4 * 2)
