"""The journal: what was appended survives, is given back once it is stored, and is delivered once."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from langchain_tokens import TokenUsageHandler, open_store
from langchain_tokens import journal as journal_module
from langchain_tokens import recovery as recovery_module
from langchain_tokens import segments as segments_module
from langchain_tokens.call import Call, RunFact
from langchain_tokens.codec import decode, encode
from langchain_tokens.errors import StoreError
from langchain_tokens.journal import Journal, abandoned
from langchain_tokens.recovery import Pieces, Recovered, recover, recovering
from langchain_tokens.segments import Segment
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target
from langchain_tokens.trouble import Warnings
from tests.builders import make_call, make_fact
from tests.opened import open_files

ROOT = Path(__file__).resolve().parent.parent
LINE = b'{"call": "one line"}\n'
BIG = b"x" * 70_000 + b"\n"
LONG = 15.0
"""Seconds that no test takes: a limit for what must come soon."""
WRITE_AND_DIE = """
import os, signal, sys
from pathlib import Path
from langchain_tokens.journal import Journal
journal = Journal(Path(sys.argv[1]))
for line in sys.stdin.buffer:
    journal.append(line)
os.kill(os.getpid(), signal.SIGKILL)
"""
RECOVER = """
import sys
from langchain_tokens import open_store
sys.stdin.readline()
print(open_store(sys.argv[1]).breakdown().total.calls)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the journal lies; the journal makes it."""
    return tmp_path / "usage.db.pending"


def segments(folder: Path) -> list[Path]:
    """The journal's files."""
    return sorted(folder.glob("*.jsonl"))


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a program that has the package, with pipes to it."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def leave_behind(folder: Path, *lines: bytes) -> None:
    """Let a process append these lines and be killed."""
    with start(WRITE_AND_DIE, folder) as process:
        process.communicate(b"".join(lines).decode())
    assert process.returncode == -signal.SIGKILL


def left_open(folder: Path, *lines: bytes) -> Path:
    """A segment as a dead process leaves it, with any bytes in it."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{len(segments(folder))}-dead.jsonl"
    path.write_bytes(b"".join(lines))
    return path


def ids(calls: Sequence[Call]) -> list[str]:
    """The ids of calls."""
    return sorted(call.call_id for call in calls)


def stored_ids(database: Path) -> list[str]:
    """The ids of the calls that are in a database, after delivery of what waits."""
    return ids(open_store(database).calls(limit=10_000))


@contextmanager
def opened(folder: Path, *, max_bytes: int = 1 << 30, is_synced: bool = False) -> Iterator[Journal]:
    """A journal that is closed at the end."""
    with closing(Journal(folder, max_bytes=max_bytes, is_synced=is_synced)) as journal:
        yield journal


def left_lines(folder: Path) -> list[list[bytes]]:
    """The lines in each segment that dead processes left."""
    return [[line for lines in segment.batches(1_000) for line in lines] for segment in abandoned(folder)]


def contents(folder: Path) -> list[bytes]:
    """All that lies in the journal's files."""
    return [path.read_bytes() for path in segments(folder)]


def test_appended_line_is_in_the_file_at_once(folder: Path) -> None:
    """When append returns, the line is with the operating system."""
    with opened(folder) as journal:
        journal.append(LINE)

        assert contents(folder) == [LINE]


def test_small_segment_is_emptied_when_idle(folder: Path) -> None:
    """Released records stay in a small file until the journal is tidied, and are gone then."""
    with opened(folder) as journal:
        segment = journal.append(LINE)
        journal.release(segment, 1)
        assert contents(folder) == [LINE]
        journal.tidy()

        assert contents(folder) == [b""]


def test_large_segment_is_emptied_when_all_of_it_is_released(folder: Path) -> None:
    """A segment above 64 KiB gives its space back as soon as its last record is stored, not before."""
    with opened(folder) as journal:
        segment = journal.append(BIG)
        journal.append(LINE)
        journal.release(segment, 1)
        assert contents(folder) == [BIG + LINE]
        journal.release(segment, 1)

        assert contents(folder) == [b""]


def test_journal_goes_on_after_it_was_emptied(folder: Path) -> None:
    """What is appended after a truncation starts at the file's beginning."""
    with opened(folder) as journal:
        journal.release(journal.append(LINE), 1)
        journal.tidy()
        journal.append(b"second\n")
        journal.tidy()

        assert contents(folder) == [b"second\n"]


def test_lines_appended_together_are_released_together(folder: Path) -> None:
    """Several lines of one append count each: the file keeps them until the last one is stored."""
    with opened(folder) as journal:
        segment = journal.append(LINE * 3, 3)
        journal.release(segment, 2)
        journal.tidy()
        assert contents(folder) == [LINE * 3]
        journal.release(segment, 1)
        journal.tidy()

        assert contents(folder) == [b""]


def test_rotation_keeps_the_old_segment_until_it_is_released(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment that has grown large is followed by a new one, and removed with its last record."""
    monkeypatch.setattr(journal_module, "_ROTATE_AT", len(LINE))
    with opened(folder) as journal:
        old = journal.append(LINE)
        journal.append(LINE)
        journal.append(b"third\n")
        assert sorted(contents(folder)) == sorted([LINE * 2, b"third\n"])
        journal.release(old, 2)

        assert contents(folder) == [b"third\n"]


def test_large_segment_goes_on_where_none_can_follow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When no new file can be made, as with no descriptor left, the segment that is there takes the record."""
    monkeypatch.setattr(journal_module, "_ROTATE_AT", 0)
    with opened(folder) as journal:
        journal.append(LINE)
        monkeypatch.setattr(os, "open", failing_with(errno.EMFILE))
        journal.append(LINE)

        assert contents(folder) == [LINE * 2]


def test_spilled_records_lie_in_segments_of_their_own(folder: Path) -> None:
    """What is in the journal only is handed out by itself, oldest first, while the journal goes on."""
    with opened(folder) as journal:
        journal.append(LINE)
        journal.append(b"spilled 1\n", is_spill=True)
        journal.append(LINE)
        first = journal.next_spilled()
        journal.append(b"spilled 2\n", is_spill=True)

        assert first is not None
        assert first is journal.next_spilled()
        assert first.path.read_bytes() == b"spilled 1\n"
        journal.release(first, 1)
        second = journal.next_spilled()
        assert second is not None
        assert second.path.read_bytes() == b"spilled 2\n"
        journal.release(second, 1)
        assert journal.next_spilled() is None
        assert contents(folder) == [LINE * 2]


def test_closing_leaves_what_is_not_released(folder: Path) -> None:
    """A closed journal keeps undelivered records for the next opener, and nothing else."""
    journal = Journal(folder)
    journal.release(journal.append(LINE), 1)
    journal.append(b"second\n", is_spill=True)
    journal.close()

    assert left_lines(folder) == [[b"second"]]


def test_closing_an_empty_journal_leaves_no_folder(folder: Path) -> None:
    """Where everything was delivered nothing stays on the disk."""
    journal = Journal(folder)
    journal.release(journal.append(LINE), 1)
    journal.close()

    assert not folder.exists()


def test_bound_is_kept_and_nothing_of_the_refused_line_is_left(folder: Path) -> None:
    """At its bound the journal refuses the line with an error, and takes lines again once space was given back."""
    with opened(folder, max_bytes=2 * len(LINE)) as journal:
        first = journal.append(LINE)
        journal.append(LINE)
        with pytest.raises(OSError, match="at its bound of 42 bytes"):
            journal.append(LINE)
        assert contents(folder) == [LINE * 2]
        journal.release(first, 2)
        journal.tidy()
        journal.append(LINE)

        assert contents(folder) == [LINE]


def test_bound_holds_for_the_folder(folder: Path) -> None:
    """What dead processes left counts too, until somebody has delivered it: a crash loop cannot fill the disk."""
    left = left_open(folder, LINE)
    with opened(folder, max_bytes=2 * len(LINE)) as journal:
        journal.append(LINE)
        with pytest.raises(OSError, match="bound"):
            journal.append(LINE, is_spill=True)
        left.unlink()
        journal.append(LINE, is_spill=True)

        assert contents(folder) == [LINE] * 2


def failing_with(number: int, after: int = 0) -> object:
    """Something for the place of a function of `os`: fails with an error of this number, after so many calls."""
    calls = iter(range(after))

    def fail(*_: object) -> int:
        if next(calls, None) is None:
            raise OSError(number, os.strerror(number))
        return 0

    return fail


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_half_a_line_is_taken_back(folder: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A write that fails part way (a full disk, a quota, a broken device) leaves the lines before it, and only those."""
    whole = os.write
    with opened(folder) as journal:
        journal.append(LINE)
        parts = iter([5])

        def write(descriptor: int, text: bytes) -> int:
            part = next(parts, None)
            if part is None:
                raise OSError(number, os.strerror(number))
            return whole(descriptor, text[:part])

        monkeypatch.setattr(os, "write", write)
        with pytest.raises(OSError, match=os.strerror(number)):
            journal.append(b"lost line\n")
        monkeypatch.setattr(os, "write", whole)
        journal.append(b"second\n")

        assert contents(folder) == [LINE + b"second\n"]


def test_half_a_line_that_stays_spoils_no_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where half a line cannot be taken back either, the next record begins a new segment; none is lost."""
    with monkeypatch.context() as patch, opened(folder) as journal:
        journal.append(b"first\n")
        whole, parts = os.write, iter([3])

        def write(descriptor: int, text: bytes) -> int:
            part = next(parts, None)
            if part is None:
                raise OSError(errno.EIO, "broken")
            return whole(descriptor, text[:part])

        patch.setattr(os, "write", write)
        patch.setattr(os, "ftruncate", failing_with(errno.EIO))
        with pytest.raises(OSError, match="broken"):
            journal.append(b"lost line\n")
        patch.undo()
        journal.append(b"second\n")
    assert sorted(left_lines(folder)) == [[b"first"], [b"second"]]


@contextmanager
def interrupted_at(step: int, *codes: CodeType) -> Iterator[None]:
    """Raise KeyboardInterrupt, as a signal does, before a step of this number in these functions."""
    before, steps = sys.gettrace(), iter(range(step))

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code in codes and event == "line" and next(steps, None) is None:
            sys.settrace(before)
            raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


@pytest.mark.parametrize("is_full", [False, True])
def test_interrupt_spoils_no_other_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_full: bool) -> None:
    """Whichever step of a write an interrupt hits, of what is appended before and after nothing is lost, also where a
    later line has to be taken back.
    """
    codes = (Segment.write.__code__, Segment._take_back.__code__)
    for step in range(100):
        folder = tmp_path / str(step)
        with opened(folder) as journal, monkeypatch.context() as patch:
            journal.append(b"first\n")
            if is_full:
                patch.setattr(os, "write", failing_with(errno.ENOSPC))
            try:
                with interrupted_at(step, *codes), suppress(OSError):
                    journal.append(b"interrupted\n")
                break
            except KeyboardInterrupt:
                patch.undo()
            journal.append(b"second\n")
            patch.setattr(os, "write", failing_with(errno.ENOSPC))
            with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
                journal.append(b"refused\n")
        lines = [line for segment in left_lines(folder) for line in segment]
        assert sorted(set(lines) - {b"interrupted"}) == [b"first", b"second"]
    assert step > 5


def test_file_that_cannot_be_locked_is_not_written_to(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where locks do not work nothing would tell a living process's file from a dead one's: an error, and no files."""
    monkeypatch.setattr(segments_module, "try_lock", lambda _: False)
    with opened(folder) as journal:
        with pytest.raises(OSError, match="no file can be made and locked"):
            journal.append(LINE)

        assert list(folder.iterdir()) == []


def test_file_that_another_took_for_abandoned_is_made_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the moment between a file's making and its lock another process may remove it: the record is in a new one."""
    lock = segments_module.try_lock
    first = iter([True])

    def late_lock(descriptor: int) -> bool:
        if next(first, False):
            shutil.rmtree(folder)
        return lock(descriptor)

    monkeypatch.setattr(segments_module, "try_lock", late_lock)
    with opened(folder) as journal:
        journal.append(LINE)

        assert contents(folder) == [LINE]


# Loss of power


class Syncs:
    """Counts what is synced to the device."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files: list[str] = []
        self.folders: list[str] = []
        monkeypatch.setattr(os, "fdatasync", lambda descriptor: self.files.append(self._name(descriptor)))
        monkeypatch.setattr(os, "fsync", lambda descriptor: self.folders.append(self._name(descriptor)))

    @staticmethod
    def _name(descriptor: int) -> str:
        return Path(f"/proc/self/fd/{descriptor}").readlink().name


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> Syncs:
    """What is synced in this test."""
    return Syncs(monkeypatch)


def test_synced_journal_has_each_append_on_the_device(folder: Path, syncs: Syncs) -> None:
    """With a sync asked for, every append waits for the device; a new file's folder, and the folders made, once."""
    with opened(folder / "deep", is_synced=True) as journal:
        path = journal.append(LINE).path
        journal.append(LINE)
        journal.append(LINE)

    assert syncs.files == [path.name] * 3
    assert syncs.folders == [folder.name, folder.parent.name, "deep"]


def test_journal_waits_for_no_device_unless_asked(folder: Path, syncs: Syncs) -> None:
    """Without, nothing waits for the disk."""
    with opened(folder) as journal:
        journal.append(LINE)

    assert (syncs.files, syncs.folders) == ([], [])


def test_record_that_the_device_refuses_is_taken_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the device cannot take a record, append says so, and nothing of it is left."""
    with opened(folder, is_synced=True) as journal:
        journal.append(LINE)
        monkeypatch.setattr(os, "fdatasync", failing_with(errno.EIO))
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            journal.append(b"second\n")

        assert contents(folder) == [LINE]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_file_system_that_syncs_no_folders_is_no_obstacle(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Where folders cannot be synced (some file systems of networks and of FUSE) records are: they are appended to one
    file, and delivered.
    """
    monkeypatch.setattr(os, "fsync", failing_with(number))
    with opened(folder, is_synced=True) as journal:
        journal.append(LINE)
        journal.append(LINE)
        assert contents(folder) == [LINE * 2]
    left_open(folder, encode(make_call()))

    assert len(stored_ids(tmp_path / "usage.db")) == 1
    assert segments(folder) == []


def test_file_whose_name_the_device_refuses_is_taken_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the device cannot take the name of a new file, append says so each time, and leaves neither file nor
    descriptor.
    """
    folder.mkdir()
    monkeypatch.setattr(os, "fsync", failing_with(errno.EIO))
    with opened(folder, is_synced=True) as journal:
        for _ in range(3):
            with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                journal.append(LINE)

        assert open_files(folder) == []
        assert segments(folder) == []


def test_recovered_journal_goes_when_the_database_is_on_the_device(tmp_path: Path, folder: Path, syncs: Syncs) -> None:
    """What a dead process left is removed only after the database's log was synced, whose records it may be alone with."""
    left_open(folder, encode(make_call()))
    open_store(tmp_path / "usage.db")

    assert syncs.files == ["usage.db-wal"]
    assert segments(folder) == []


# What ended processes left


def test_living_process_keeps_its_segment(folder: Path) -> None:
    """The segment of a journal that is open, here or in another process, is not handed out."""
    with opened(folder) as journal:
        journal.append(LINE)

        assert list(abandoned(folder)) == []


def test_killed_process_leaves_all_its_lines(folder: Path) -> None:
    """After SIGKILL the next opener gets every line that was appended."""
    leave_behind(folder, b"first\n", b"second\n")

    assert left_lines(folder) == [[b"first", b"second"]]


def test_segment_in_use_is_handed_to_one_only(folder: Path) -> None:
    """While one opener delivers a segment, a second one does not get it."""
    left_open(folder, LINE)

    assert [list(abandoned(folder)) for _ in abandoned(folder)] == [[]]


def test_no_folder_is_an_empty_journal(folder: Path) -> None:
    """Looking for abandoned segments makes nothing and finds nothing where there was never a journal."""
    assert list(abandoned(folder)) == []
    assert not folder.exists()


def test_torn_last_line_is_left_out(tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A last line without its line feed was never acknowledged: the others are delivered, and the file goes."""
    calls = [make_call(), make_call()]
    left_open(folder, *map(encode, calls), encode(make_call())[:-40])

    assert stored_ids(tmp_path / "usage.db") == ids(calls)
    assert list(folder.iterdir()) == []
    assert caplog.messages == []


@pytest.mark.parametrize(
    "line",
    [
        b"\x00\xff\xfe rubbish\n",
        bytes(range(11, 256)) * 20 + b"\n",
        encode(make_call())[:200] + encode(make_call())[150:],
        encode(make_call())[200:],
        b"\n",
        b"[]\n",
        b"null\n",
        b'{"call": {}}\n',
        b'{"call": null}\n',
        b'{"call": [1]}\n',
        b'{"cat": {"call_id": "c"}}\n',
        b'{"call": {"call_id": "c", "run_id": "r", "started_at": "noon"}}\n',
        b'{"call": {"call_id": "c", "run_id": "r", "started_at": 5}}\n',
        b'{"call": {"call_id": "c", "run_id": "r", "started_at": "2026-11-20T12:00:00+00:00", "usage": {"x": 1}}}\n',
        b'{"call": {"call_id": "c", "run_id": "r", "started_at": "2026-11-20T12:00:00+00:00", "cost_usd": "x"}}\n',
        b"[" * 100_000 + b"\n",
    ],
)
def test_spoiled_line_is_kept_aside(
    tmp_path: Path, folder: Path, line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A line that cannot be delivered goes to a .bad file with one warning, and holds up no other."""
    calls = [make_call(), make_call()]
    left_open(folder, encode(calls[0]), line, encode(calls[1]))

    with caplog.at_level(logging.WARNING, "langchain_tokens"):
        assert stored_ids(tmp_path / "usage.db") == ids(calls)
    assert [path.read_bytes() for path in folder.glob("*.bad")] == [line]
    assert segments(folder) == []
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "line",
    [
        encode(make_call(tokens=(2**70, 1))),
        b'{"call": {"call_id": "c", "run_id": "r", "started_at": null}}\n',
        b'{"call": {"call_id": ["c"], "run_id": "r", "started_at": "2026-11-20T12:00:00+00:00"}}\n',
        b'{"run": {"run_id": null, "started_at": "2026-11-20T12:00:00+00:00"}}\n',
    ],
    ids=["too large", "no time", "list for text", "no id"],
)
def test_value_that_the_database_refuses_is_kept_aside(
    tmp_path: Path, folder: Path, line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A readable line with a value that no column takes holds up neither its own journal nor the next one."""
    calls = [make_call(), make_call(), make_call()]
    left_open(folder, encode(calls[0]), line, encode(calls[1]))
    left_open(folder, encode(calls[2]))

    assert stored_ids(tmp_path / "usage.db") == ids(calls)
    assert [len(path.read_bytes().splitlines()) for path in folder.glob("*.bad")] == [1]
    assert segments(folder) == []
    assert len([record for record in caplog.records if ".bad" in record.getMessage()]) == 1


@pytest.mark.parametrize("nuls", [1, 4096, 3_000_000], ids=["one", "a page", "three megabytes"])
@pytest.mark.parametrize("place", ["first", "between", "last"])
def test_block_of_nuls_takes_no_other_record(
    tmp_path: Path, folder: Path, place: str, nuls: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A block of NULs, as a loss of power leaves it in the place of records, is counted; those around it are stored."""
    calls = [make_call(), make_call()]
    lines, block = list(map(encode, calls)), b"\0" * nuls
    lines.insert({"first": 0, "between": 1, "last": 2}[place], block)
    left_open(folder, *lines)

    with TokenUsageHandler(tmp_path / "usage.db") as handler:
        handler.record(None)
    assert (handler.stats().recovered, handler.stats().unreadable) == (2, 1)
    assert set(stored_ids(tmp_path / "usage.db")) >= {call.call_id for call in calls}
    assert not folder.exists()
    assert caplog.messages == [f"1 lines of journals cannot be read; kept in {folder / 'refused.bad'}"]


def test_line_longer_than_any_record_is_gone_through_in_pieces(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is no journal, without an end of a line in sight, is kept aside piece by piece."""
    monkeypatch.setattr(recovery_module, "_BATCH", 1)
    monkeypatch.setattr(segments_module, "_LINE_BYTES", 10)
    monkeypatch.setattr(segments_module, "_LONGEST_LINE", 60)
    last = make_call()
    left_open(folder, b"x" * 200, b"\n", encode(last))
    monkeypatch.setattr(segments_module, "_LONGEST_LINE", 10_000)
    left_open(folder, b"y" * 15_000, b"\n", encode(last))

    assert stored_ids(tmp_path / "usage.db") == [last.call_id]
    (bad,) = folder.glob("*.bad")
    assert bad.read_bytes().replace(b"\n", b"") == b"x" * 200 + b"y" * 15_000


def test_what_is_found_is_counted(tmp_path: Path, folder: Path) -> None:
    """`stats()` says how many records of ended processes were delivered, and how many lines were not."""
    left_open(folder, encode(make_call()), b"rubbish\n", encode(make_call(tokens=(2**70, 1))), encode(make_fact()))
    with TokenUsageHandler(tmp_path / "usage.db") as handler:
        handler.record(None)
    stats = handler.stats()

    assert (stats.recovered, stats.unreadable, stats.recorded, stats.stored) == (2, 2, 2, 2)


def test_what_cannot_be_kept_aside_stays_in_the_journal(tmp_path: Path, folder: Path) -> None:
    """Where the .bad file cannot be written a spoiled line stays where it is, for the next opener; the rest is stored."""
    calls = [make_call(), make_call()]
    left_open(folder, encode(calls[0]), b"rubbish\n", encode(calls[1]))
    (folder / "refused.bad").mkdir()
    assert stored_ids(tmp_path / "usage.db") == ids(calls)
    assert len(segments(folder)) == 1
    (folder / "refused.bad").rmdir()

    assert stored_ids(tmp_path / "usage.db") == ids(calls)
    assert (folder / "refused.bad").read_bytes() == b"rubbish\n"
    assert segments(folder) == []


def test_bad_file_is_bounded(tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Beyond 64 MiB nothing more is kept aside, with a warning, and the journals go all the same."""
    left_open(folder, b"rubbish\n", encode(make_call()))
    with (folder / "refused.bad").open("wb") as file:
        file.truncate((64 << 20) + 1)
    assert len(stored_ids(tmp_path / "usage.db")) == 1

    assert segments(folder) == []
    assert (folder / "refused.bad").stat().st_size == (64 << 20) + 1
    assert "is full" in caplog.text


class BreakingStore(UsageStore):
    """A store that takes so many batches, and fails then."""

    left = 2
    sizes: tuple[int, ...] = ()

    def add(self, calls: Sequence[Call], runs: Sequence[RunFact] = ()) -> None:
        """Store, or raise."""
        if self.left == 0:
            raise StoreError("the store is away")
        self.left -= 1
        self.sizes = (*self.sizes, len(calls))
        super().add(calls, runs)


@pytest.fixture
def by_hundreds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Journals are read five hundred lines at a time."""
    monkeypatch.setattr(recovery_module, "_BATCH", 500)
    monkeypatch.setattr(segments_module, "_LINE_BYTES", 10_000)


@pytest.mark.usefixtures("by_hundreds")
def test_recovery_that_breaks_off_goes_on_with_the_next_opener(tmp_path: Path, folder: Path) -> None:
    """A large journal is delivered in batches; when the store goes away between them, the next opener delivers the
    rest, and no call counts twice.
    """
    calls = [make_call() for _ in range(1_300)]
    left_open(folder, *map(encode, calls))
    store = BreakingStore(parse_target(tmp_path / "usage.db"))
    with pytest.raises(StoreError, match="away"):
        recover(folder, store, None, Warnings())
    assert (store.sizes, store.breakdown().total.calls, len(segments(folder))) == ((500, 500), 1_000, 1)

    assert stored_ids(tmp_path / "usage.db") == ids(calls)
    assert open_store(tmp_path / "usage.db").breakdown().total.calls == 1_300
    assert segments(folder) == []


@pytest.mark.usefixtures("by_hundreds")
def test_recovery_that_is_tried_again_counts_once(tmp_path: Path, folder: Path) -> None:
    """A process that tries again after the store went away in the middle of a journal goes on where it was: it counts
    each record once, and keeps a spoiled line aside once.
    """
    calls = [make_call() for _ in range(1_300)]
    left_open(folder, b"rubbish\n", *map(encode, calls))
    store = BreakingStore(parse_target(tmp_path / "usage.db"))
    found: list[Recovered] = []
    pieces: Pieces = {}
    for more in (1, 0, 1, 1):
        store.left = more
        with suppress(StoreError):
            for piece in recovering(folder, store, None, Warnings(), pieces):
                found.append(piece)  # noqa: PERF402  # what came before the error is to be in it, too

    assert (sum(piece.delivered for piece in found), sum(piece.unreadable for piece in found)) == (1_300, 1)
    assert store.sizes == (499, 500, 301)
    assert (folder / "refused.bad").read_bytes() == b"rubbish\n"
    assert (stored_ids(tmp_path / "usage.db"), segments(folder), pieces) == (ids(calls), [], {})


def test_journal_that_stays_is_counted_once(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that cannot be removed, or whose spoiled line cannot be kept aside, is looked at again and again by the
    same process, and counted once.
    """
    left_open(folder, encode(make_call()))
    left_open(folder, b"rubbish\n", encode(make_call()))
    (folder / "refused.bad").mkdir()
    store = UsageStore(parse_target(tmp_path / "usage.db"))
    pieces: Pieces = {}
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", failing_with(errno.EACCES))
        found = [piece for _ in range(3) for piece in recovering(folder, store, None, Warnings(), pieces)]
    (folder / "refused.bad").rmdir()
    found += recovering(folder, store, None, Warnings(), pieces)

    assert (sum(piece.delivered for piece in found), sum(piece.unreadable for piece in found)) == (2, 1)
    assert (folder / "refused.bad").read_bytes() == b"rubbish\n"
    assert (store.breakdown().total.calls, segments(folder), pieces) == (2, [], {})


@pytest.mark.usefixtures("by_hundreds")
def test_recovery_that_is_given_up_frees_the_journal(tmp_path: Path, folder: Path) -> None:
    """A recovery that is not gone on with, as at the end of a handler, leaves its journal to others at once."""
    left_open(folder, *(encode(make_call()) for _ in range(600)))
    store = UsageStore(parse_target(tmp_path / "usage.db"))
    steps = recovering(folder, store, None, Warnings())
    assert next(steps).delivered == 500
    assert left_lines(folder) == []
    steps.close()

    assert len(stored_ids(tmp_path / "usage.db")) == 600


def test_journal_that_cannot_be_removed_holds_up_no_other(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Journals that cannot be removed, as in a folder that is read only, are delivered all, with one warning; each time
    they are delivered again, sums stay the same.
    """
    calls = [make_call() for _ in range(3)]
    for call in calls:
        left_open(folder, encode(call))
    monkeypatch.setattr(Path, "unlink", failing_with(errno.EACCES))

    for _ in range(3):
        caplog.clear()
        store = open_store(tmp_path / "usage.db")
        assert (store.breakdown().total.calls, store.breakdown().total.total_tokens) == (3, 360)
        assert store.check().is_clean
        assert len(caplog.messages) == 1
    assert len(segments(folder)) == 3
    monkeypatch.undo()
    assert stored_ids(tmp_path / "usage.db") == ids(calls)
    assert segments(folder) == []


def test_journal_that_cannot_be_delivered_now_keeps_nobody_from_reading(
    tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """While another process holds SQLite's lock for writing, a store with a journal is opened and read, with a warning;
    once the lock is free, the next opener delivers the journal.
    """
    url = f"sqlite:///{tmp_path}/usage.db?timeout=0.1"
    open_store(url).add([make_call()])
    left = make_call()
    left_open(folder, encode(left))
    with closing(sqlite3.connect(tmp_path / "usage.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert open_store(url).breakdown().total.calls == 1
        assert "could not be delivered yet" in caplog.text

    assert left.call_id in stored_ids(tmp_path / "usage.db")
    assert segments(folder) == []


def test_large_journal_is_not_read_into_memory(tmp_path: Path, folder: Path) -> None:
    """A journal of 24 MB is delivered with a small part of it in memory at any time."""
    large = {"text": "x" * 100_000}
    left_open(folder, *(encode(make_call(raw_usage=large)) for _ in range(240)))
    store = UsageStore(parse_target(tmp_path / "usage.db"))
    store.add([])
    tracemalloc.start()
    try:
        delivered = recover(folder, store, None, Warnings())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert delivered == 240
    assert peak < 12_000_000


def test_delivering_twice_stores_once(tmp_path: Path, folder: Path) -> None:
    """A journal that was delivered but not removed (killed in between) changes nothing when it is delivered again."""
    facts: Sequence[Call | RunFact] = [make_call(), make_call(tokens=None), make_fact()]
    lines = list(map(encode, facts))
    left_open(folder, *lines)
    before = open_store(tmp_path / "usage.db").runs()[0].to_dict()
    left_open(folder, *lines)

    assert open_store(tmp_path / "usage.db").runs()[0].to_dict() == before
    assert segments(folder) == []


def test_recovered_call_is_priced(tmp_path: Path, folder: Path) -> None:
    """A call that a dead process left without its price gets the one that its writer would have given it."""
    left_open(folder, encode(make_call(model="gpt-4o-mini", provider="openai")))

    assert [call.price_status for call in open_store(tmp_path / "usage.db").calls()] == ["priced"]


def test_two_processes_recovering_at_once_deliver_once(tmp_path: Path, folder: Path) -> None:
    """Two processes that open the store together deliver all of 40 journals, each call once."""
    calls = [make_call() for _ in range(200)]
    open_store(tmp_path / "usage.db")
    for start_at in range(0, 200, 5):
        left_open(folder, *map(encode, calls[start_at : start_at + 5]))
    processes = [start(RECOVER, tmp_path / "usage.db") for _ in range(2)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()

    assert [process.returncode for process in processes] == [0, 0]
    assert stored_ids(tmp_path / "usage.db") == ids(calls)
    assert open_store(tmp_path / "usage.db").breakdown().total.calls == 200
    assert segments(folder) == []


@pytest.mark.parametrize(
    "fact",
    [
        make_call(
            cost="0.000012", tags={"team": "a"}, tool_calls=("search", "search"), usage_flags=("total_mismatch",)
        ),
        make_call(tokens=None, status="error", error_type="ValueError", error_message="line one\nline two \x1b[31m"),
        make_call(raw_usage={"deep": {"list": [1, 2.5, None, "é"]}}, unit_prices={"input_mtok": "0.15"}, revision=3),
        make_fact(),
        make_fact(ended_at=None, session="s", mode="rag", user="u", tags={"a": "b"}),
    ],
    ids=["priced", "failed", "nested", "ended run", "running run"],
)
def test_fact_reads_back_equal(fact: Call | RunFact) -> None:
    """A fact is one line, and that line reads back to an equal fact."""
    line = encode(fact)

    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode(line) == fact


@pytest.mark.parametrize("number", [2**63, 2**80, -(2**80)])
def test_number_beyond_64_bits_is_written_whole(number: int) -> None:
    """A number that the fast encoder cannot hold takes the slow way, and is not changed."""
    call = make_call(raw_usage={"huge": number})

    assert decode(encode(call)) == call


def test_text_that_is_no_unicode_loses_its_invalid_characters_only() -> None:
    """A lone surrogate in a name becomes a question mark, and the rest of the record is kept."""
    call = make_call(chain="sql\ud800fix")

    assert decode(encode(call)) == replace(call, chain="sql?fix")
