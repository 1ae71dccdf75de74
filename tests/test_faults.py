"""Trouble around the store: what the host notices (nothing), what is kept, what is counted, what is delivered after.

How long a fault lasts: `LANGCHAIN_TOKENS_FAULT_SECONDS`, 3 unless said otherwise.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

import pytest

from langchain_tokens import TokenUsageHandler, open_store, track
from langchain_tokens import capture as capture_module
from langchain_tokens import given as given_module
from langchain_tokens import scope as scope_module
from langchain_tokens.codec import encode
from tests.builders import make_call
from tests.models import ScriptedChat, acknowledged_graph

pytestmark = pytest.mark.usefixtures("migrations")

ROOT = Path(__file__).resolve().parent.parent
SECONDS = float(os.environ.get("LANGCHAIN_TOKENS_FAULT_SECONDS", "3"))
LONG = 60.0
"""Seconds that no test takes: a limit for what must come soon."""
USAGE = {"input_tokens": 10, "output_tokens": 5}
IN_A_PROCESS = """
import json, os, resource, signal, sys
from pathlib import Path
from langchain_tokens import TokenUsageHandler

database, journal, calls, faults = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])
FILLER = journal.with_name("filler")

def limit_files(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def fill_the_disk(left=100_000):
    with FILLER.open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(4096))
        except OSError:
            filler.truncate(filler.tell() - left)

def drop_rights():
    if os.getuid() == 0:
        os.setgid(65534)
        os.setuid(65534)

with TokenUsageHandler("sqlite://") as warm:  # imports what may be out of reach later
    warm.record({"input_tokens": 10, "output_tokens": 5})
if "no rights" in faults:
    drop_rights()
handler = TokenUsageHandler(database, journal=journal)
handler.record({"input_tokens": 10, "output_tokens": 5})
assert handler.flush(0.5 if "no rights" in faults else 30) == ("no rights" not in faults)
if "rights taken away" in faults:
    drop_rights()
if "small files" in faults:
    limit_files(database.stat().st_size)
if "full disk" in faults:
    fill_the_disk()
safe = []
for _ in range(calls):
    unprotected = handler.stats().unprotected
    call = handler.record({"input_tokens": 10, "output_tokens": 5})
    if handler.stats().unprotected == unprotected:
        safe.append(call.call_id)
handler.flush(0.5)
stats = handler.stats()
print(json.dumps([safe, stats.pending, stats.unprotected, stats.dropped, stats.last_error]), flush=True)
if "killed" in faults:
    os.kill(os.getpid(), signal.SIGKILL)
if "small files" in faults:
    limit_files(resource.RLIM_INFINITY)
if "full disk" in faults:
    FILLER.unlink()
if "no rights" not in faults:
    assert handler.flush(30)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database lies: in a folder that has nothing else."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder / "usage.db"


def record_each(handler: TokenUsageHandler, times: int) -> list[str]:
    """Record calls; their ids."""
    return [handler.record(USAGE).call_id for _ in range(times)]


def check_stored(path: Path, recorded: Sequence[str]) -> None:
    """Assert that exactly these calls are stored, each once, with sums that agree."""
    store = open_store(path)
    assert sorted(call.call_id for call in store.calls(limit=100_000)) == sorted(recorded)
    assert store.breakdown().total.total_tokens == 15 * len(recorded)
    assert store.check().is_clean


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another writer holds the database, as a backup or a long transaction would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("COMMIT")


@pytest.mark.timeout(60 + 2 * SECONDS)
def test_database_that_another_writer_holds(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While another writer holds the database for longer than SQLite waits, calls return and wait in the journal; when
    it is free again all are stored.
    """
    with TokenUsageHandler(f"sqlite:///{path}?timeout=0.5") as handler:
        recorded = record_each(handler, 1)
        assert handler.flush(LONG)
        with locked(path):
            recorded += record_each(handler, 200)
            ScriptedChat().invoke("q", {"callbacks": [handler]})
            assert not handler.flush(SECONDS)
            recorded += record_each(handler, 200)
            stats = handler.stats()
            lines = sum(file.read_bytes().count(b"\n") for file in path.parent.glob("*.pending/*.jsonl"))
        assert handler.flush(LONG)
        recorded += [call.call_id for run in handler.runs for call in run.calls if call.model == "gpt-4o-mini"]

    assert (stats.pending, stats.dropped, stats.unprotected) == (2 * 401, 0, 0)
    assert lines >= stats.pending
    assert "database is locked" in str(stats.last_error)
    assert len(caplog.messages) == 1
    check_stored(path, recorded)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What a process said before its end, under its faults."""

    code: int
    safe: list[str]
    """The calls that the journal took."""
    pending: int
    unprotected: int
    dropped: int
    last_error: str | None
    log: str


def in_a_process(database: Path, journal: Path, calls: int, *faults: str) -> Recorded:
    """Record calls in a process of its own under these faults, to its end."""
    done = subprocess.run(
        [sys.executable, "-c", IN_A_PROCESS, database, journal, str(calls), json.dumps(faults)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=database.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    safe, pending, unprotected, dropped, error = json.loads(done.stdout)
    return Recorded(
        code=done.returncode,
        safe=safe,
        pending=pending,
        unprotected=unprotected,
        dropped=dropped,
        last_error=error,
        log=done.stderr,
    )


def stored_ids(path: Path) -> set[str]:
    """The ids of the calls that are stored, after delivery of what waits."""
    store = open_store(path)
    assert store.check().is_clean
    return {call.call_id for call in store.calls(limit=10_000)}


@pytest.mark.parametrize("is_killed", [False, True], ids=["room again", "killed"])
def test_no_file_can_grow(path: Path, is_killed: bool) -> None:
    """When no file can grow (a quota) the host records on: what the journal took is never lost, the rest waits in
    memory and is counted, and all is stored when there is room again.
    """
    journal = path.with_name("usage.db.pending")
    ended = in_a_process(path, journal, 1_000, "small files", *(["killed"] if is_killed else []))

    assert (ended.code, ended.dropped) == (-signal.SIGKILL if is_killed else 0, 0)
    assert 0 < len(ended.safe) < 1_000
    assert ended.pending >= ended.unprotected == 2 * (1_000 - len(ended.safe))
    assert ended.last_error is not None
    stored = stored_ids(path)
    assert set(ended.safe) <= stored
    assert len(stored) == (1 + len(ended.safe) if is_killed else 1_001)
    assert list(path.parent.glob("*.pending/*")) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small file system")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.parametrize("is_killed", [False, True], ids=["room again", "killed"])
def test_disk_is_full(small_disk: Path, is_killed: bool) -> None:
    """The same with a disk that is full, for journal and database alike."""
    database, journal = small_disk / "usage.db", small_disk / "usage.db.pending"
    ended = in_a_process(database, journal, 1_000, "full disk", *(["killed"] if is_killed else []))
    (small_disk / "filler").unlink(missing_ok=True)

    assert (ended.code, ended.dropped) == (-signal.SIGKILL if is_killed else 0, 0)
    assert 0 < len(ended.safe) < 1_000
    assert ended.pending >= ended.unprotected > 0
    assert ended.last_error is not None
    stored = stored_ids(database)
    assert set(ended.safe) <= stored
    assert len(stored) == 1_001 or is_killed
    assert list(journal.parent.glob("*.pending/*")) == []


@pytest.fixture
def readable_folder() -> Iterator[Path]:
    """A folder that everybody may read, and (but for root) nobody may write."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)


def test_folder_is_read_only(readable_folder: Path) -> None:
    """Where neither a database nor a journal may be made the host records on; what waits is in memory, counted as
    unprotected, and lost with the process: a warning says how much.
    """
    ended = in_a_process(readable_folder / "usage.db", readable_folder / "pending", 100, "no rights")

    assert (ended.code, ended.safe, ended.dropped) == (0, [], 0)
    assert ended.pending == ended.unprotected == 2 * 101
    assert ended.last_error is not None
    assert "202 records are neither stored nor in the journal; they end with this process" in ended.log


def test_rights_are_taken_away(path: Path) -> None:
    """A process that may no longer open its database or journal goes on with the journal file that it has open."""
    journal = path.with_name("usage.db.pending")
    ended = in_a_process(path, journal, 300, "rights taken away", "killed")

    assert (len(ended.safe), ended.unprotected, ended.dropped) == (300, 0, 0)
    assert stored_ids(path) >= set(ended.safe)


@pytest.mark.parametrize("gone", ["journal", "everything"])
def test_folder_is_removed_while_running(path: Path, gone: str) -> None:
    """After somebody removed the journal's folder, or the database's with all in it, the host records on into new ones,
    and what waited in memory is stored there.
    """
    with TokenUsageHandler(path) as handler:
        before = record_each(handler, 50)
        assert handler.flush(LONG)
        with locked(path):
            waiting = record_each(handler, 50)
            shutil.rmtree(path.parent if gone == "everything" else path.with_name("usage.db.pending"))
            after = record_each(handler, 50)
        assert handler.flush(LONG)
        stats = handler.stats()

    assert (stats.stored, stats.pending, stats.dropped, stats.unprotected) == (300, 0, 0, 0)
    check_stored(path, [*waiting, *after] if gone == "everything" else [*before, *waiting, *after])
    assert not path.with_name("usage.db.pending").exists()


@pytest.mark.parametrize("kind", ["file in the way", "no such disk"])
def test_journal_has_no_folder(path: Path, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """Where the journal's folder cannot be made, calls wait in memory, counted as unprotected; one warning says so."""
    (tmp_path / "file").write_text("in the way")
    journal = tmp_path / "file" / "pending" if kind == "file in the way" else Path("/proc/no/such/place")
    with TokenUsageHandler(path, journal=journal) as handler:
        recorded = record_each(handler, 20)
        waiting = handler.stats()
        assert handler.flush(LONG)

        assert waiting.unprotected == waiting.pending
        assert (handler.stats().stored, handler.stats().unprotected) == (40, 0)
    assert len(caplog.messages) == 1
    check_stored(path, recorded)


class JumpingClock(datetime):
    """A wall clock that is set back an hour each time that it is read, and once a day ahead."""

    reads = 0

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        """The time, as this clock has it."""
        cls.reads += 1
        return super().now(tz) + timedelta(hours=24 * (cls.reads == 3) - cls.reads)


def test_wall_clock_jumps(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the wall clock is set while calls are made, they are all stored, with durations that can be."""
    for module in (capture_module, given_module, scope_module):
        monkeypatch.setattr(module, "datetime", JumpingClock)
    with TokenUsageHandler(path) as handler:
        for _ in range(5):
            acknowledged_graph(ScriptedChat()).invoke({"question": "q"}, {"callbacks": [handler]})
            with track():
                ScriptedChat().invoke("q", {"callbacks": [handler]})
            handler.record(USAGE, duration_ms=5)
        assert handler.flush(LONG)

    calls, runs = open_store(path).calls(), open_store(path).runs()
    assert (len(calls), len(runs)) == (20, 15)
    assert all(0 <= (run.duration_ms or 0) < 1000 * LONG for run in runs)
    assert all(0 <= (call.duration_ms or 0) < 1000 * LONG for call in calls)
    assert all(call.ended_at is not None and call.ended_at >= call.started_at for call in calls)


@pytest.mark.parametrize("moment", [0, 4_000_000_000], ids=["1970", "2096"])
def test_age_of_a_journal_does_not_matter(path: Path, moment: int) -> None:
    """Whether a journal was left by a dead process is told by its lock, not by a clock."""
    folder, call = path.with_name("usage.db.pending"), make_call()
    folder.mkdir()
    (folder / "1-dead.jsonl").write_bytes(encode(call))
    os.utime(folder / "1-dead.jsonl", (moment, moment))

    assert stored_ids(path) == {call.call_id}
