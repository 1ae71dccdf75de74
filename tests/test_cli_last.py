"""What do `report --last N` and `calls --last N` say? Of the newest calls the same as all else says of all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.builders import NOON, make_call
from tests.seeded import fill_seeded
from tests.test_cli import Run, fill, run

__all__ = ("run",)


@pytest.fixture
def seeded_file() -> Path:
    """A database of 151 calls."""
    return fill_seeded(Path("seeded.db").absolute())


def document(run: Run, *words: object) -> dict[str, Any]:
    found = run(*words, "--json").document
    found.pop("last", None)
    return found


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--by", "agent,model", "--sort", "cost"),
        ("--by", "user", "-n", "1"),
        ("--timeline", "day", "--tz", "Asia/Kolkata", "--by", "model"),
        ("--timeline", "hour"),
        ("--session", "s-3", "--by", "tag:variant"),
        ("--since", "2026-10-25", "--status", "error", "--sort", "calls"),
    ],
    ids=" ".join,
)
def test_a_report_on_more_calls_than_there_are_is_that_on_all(
    run: Run, seeded_file: Path, words: tuple[str, ...]
) -> None:
    """Whatever is grouped, ordered and cut off, calls that are read one by one add up to what the sums say."""
    everything, newest = (document(run, "report", *words, *more, "--db", seeded_file) for more in ((), ("--last", 999)))
    assert newest["total"] == pytest.approx(everything["total"])
    assert [row | {"share": None} for row in newest["rows"]] == [
        pytest.approx(row | {"share": None}) for row in everything["rows"]
    ]
    assert newest["has_more"] == everything["has_more"]


def test_only_the_newest_count(run: Run) -> None:
    """Calls of the same moment are told apart: exactly as many count as were asked for, those that `calls` lists."""
    database = fill([make_call(chain=f"c{number}", cost="0.1", started_at=NOON) for number in range(9)])
    found = document(run, "report", "--last", 4, "--db", database)
    listed = document(run, "calls", "--last", 4, "--db", database)["calls"]
    assert found["total"]["calls"] == len(listed) == 4
    assert {row["chain"] for row in found["rows"]} == {call["chain"] for call in listed}
    said = run("report", "--last", 4, "--db", database)
    assert said.out.startswith("Usage by chain · the newest 4 calls · all time · UTC\n")
    assert run("report", "--last", 40, "--db", database).out.startswith("Usage by chain · the newest 9 calls · ")
    assert run("report", "--last", 4, "--db", database, "--json").document["last"] == 4


@pytest.mark.parametrize("sort", ["time", "tokens", "cost", "duration"])
def test_the_largest_of_the_newest(run: Run, seeded_file: Path, sort: str) -> None:
    """`--sort` orders the newest as it orders all, unknown last; `-n` cuts off afterwards."""
    words = ("calls", "--sort", sort, "--db", seeded_file)
    assert document(run, *words, "--last", 999, "-n", 0)["calls"] == document(run, *words, "-n", 0)["calls"]
    newest = document(run, "calls", "-n", 20, "--db", seeded_file)["calls"]
    found = document(run, *words, "--last", 20, "-n", 3)["calls"]
    assert len(found) == 3
    assert all(call in newest for call in found)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("report", "--last", "0"), 2, "--last"),
        (("report", "--last", "100001"), 2, "--last"),
        (("report", "--last", "5", "--html", "x.html"), 2, "--html takes no --last"),
        (("calls", "--last", "-1"), 2, "--last"),
        (("report", "--last", "5", "--agent", "nobody"), 0, "no call matches"),
        (("report", "--last", "5", "--agent", "nobody", "--fail-empty"), 3, "no call matches"),
    ],
    ids=str,
)
def test_what_cannot_be_asked_is_told(run: Run, words: tuple[str, ...], code: int, said: str) -> None:
    """A number that is none is wrong usage; nothing to count is said as without it."""
    found = run(*words, "--db", fill([make_call(agent="a")]))
    assert (found.code, found.out, said in found.err) == (code, "", True)
    assert not Path("x.html").exists()
