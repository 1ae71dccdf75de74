"""The journal: what was appended survives, is given back once it is stored, and is delivered once."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from langchain_tokens import open_store
from langchain_tokens.call import Call, RunFact
from langchain_tokens.codec import decode, encode
from langchain_tokens.journal import Journal, abandoned
from tests.builders import make_call, make_fact

ROOT = Path(__file__).resolve().parent.parent
LINE = b'{"call": "one line"}\n'
BIG = b"x" * 70_000 + b"\n"
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


def stored_ids(database: Path) -> list[str]:
    """The ids of the calls that are in a database, after delivery of what waits."""
    return sorted(call.call_id for call in open_store(database).calls(limit=10_000))


@contextmanager
def opened(folder: Path, **options: int) -> Iterator[Journal]:
    """A journal that is closed at the end."""
    with closing(Journal(folder, **options)) as journal:
        yield journal


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


def test_rotation_keeps_the_old_segment_until_it_is_released(folder: Path) -> None:
    """After a rotation new lines go to a new file, and the old one is removed with its last record."""
    with opened(folder) as journal:
        old = journal.append(LINE)
        journal.rotate(even_small=True)
        journal.append(b"second\n")
        assert sorted(contents(folder)) == sorted([LINE, b"second\n"])
        journal.release(old, 1)

        assert contents(folder) == [b"second\n"]


def test_small_segment_is_not_rotated(folder: Path) -> None:
    """Without need the journal stays in one file."""
    with opened(folder) as journal:
        journal.append(LINE)
        journal.rotate()
        journal.append(LINE)

        assert contents(folder) == [LINE * 2]


def test_closing_leaves_what_is_not_released(folder: Path) -> None:
    """A closed journal keeps undelivered records for the next opener, and nothing else."""
    journal = Journal(folder)
    journal.release(journal.append(LINE), 1)
    journal.rotate(even_small=True)
    journal.append(b"second\n")
    journal.close()

    assert [list(segment.lines()) for segment in abandoned(folder)] == [[b"second"]]


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


def test_bound_counts_rotated_segments(folder: Path) -> None:
    """The bound holds for all files of the process together."""
    with opened(folder, max_bytes=2 * len(LINE)) as journal:
        journal.append(LINE)
        journal.rotate(even_small=True)
        journal.append(LINE)

        with pytest.raises(OSError, match="bound"):
            journal.append(LINE)


def test_living_process_keeps_its_segment(folder: Path) -> None:
    """The segment of a journal that is open, here or in another process, is not handed out."""
    with opened(folder) as journal:
        journal.append(LINE)

        assert list(abandoned(folder)) == []


def test_killed_process_leaves_all_its_lines(folder: Path) -> None:
    """After SIGKILL the next opener gets every line that was appended."""
    leave_behind(folder, b"first\n", b"second\n")

    assert [list(segment.lines()) for segment in abandoned(folder)] == [[b"first", b"second"]]


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

    assert stored_ids(tmp_path / "usage.db") == [call.call_id for call in calls]
    assert list(folder.iterdir()) == []
    assert caplog.messages == []


@pytest.mark.parametrize(
    "line",
    [
        b"\x00\xff\xfe rubbish\n",
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
        assert stored_ids(tmp_path / "usage.db") == [call.call_id for call in calls]
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

    assert stored_ids(tmp_path / "usage.db") == [call.call_id for call in calls]
    assert [len(path.read_bytes().splitlines()) for path in folder.glob("*.bad")] == [1]
    assert segments(folder) == []
    assert len([record for record in caplog.records if ".bad" in record.getMessage()]) == 1


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
    assert stored_ids(tmp_path / "usage.db") == sorted(call.call_id for call in calls)
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
