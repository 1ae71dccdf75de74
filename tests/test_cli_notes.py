"""What stands below a report of what it does not cover; the command that it names really knows an answer."""

from __future__ import annotations

import shlex
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from langchain_tokens.cli import sums
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target
from tests.builders import NOON, make_call, make_fact
from tests.test_cli import Run, fill, run

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)
__all__ = ("run",)

GOOD: dict[str, Any] = {"cost": "0.1", "agent": "a"}
FAILED: dict[str, Any] = {"tokens": None, "status": "error"}
CANCELLED: dict[str, Any] = {"tokens": None, "status": "cancelled"}
SILENT: dict[str, Any] = {"tokens": None, "streamed": True}
DOCTOR = "what supplies it: langchain-tokens doctor --db DATABASE --last 1000"
"""DATABASE stands for the one that was asked."""
NOTHING = "failed or cancelled, so that there is nothing to supply"


@pytest.mark.parametrize(
    ("calls", "price", "usage"),
    [
        ([GOOD], None, None),
        ([GOOD, FAILED], f"* 1 of 2 calls without a price: not in the cost; {NOTHING}", f"1 of 2 calls … {NOTHING}"),
        ([FAILED, CANCELLED], f"* 2 of 2 calls … {NOTHING}", f"2 of 2 calls … {NOTHING}"),
        (
            [GOOD, FAILED, CANCELLED, SILENT],
            f"* 3 of 4 calls … 2 of them failed or cancelled; {DOCTOR}",
            f"3 of 4 calls … 2 of them failed or cancelled; {DOCTOR}",
        ),
        ([{"cost": None}], f"* 1 of 1 calls … {DOCTOR}", None),
        ([SILENT], f"* 1 of 1 calls … {DOCTOR}", f"1 of 1 calls … {DOCTOR}"),
        ([{"status": "error"}], f"* 1 of 1 calls … 1 of them failed or cancelled; {DOCTOR}", None),
    ],
)
def test_failed_calls_are_counted_apart(
    run: Run, calls: list[dict[str, Any]], price: str | None, usage: str | None
) -> None:
    """A note names the doctor only where it has something to say; how many failed is exact, in a run's tree, too."""
    database = fill([make_call(chain="c", **call) for call in calls])
    for words in (("report",), ("run", "run-1")):
        said = [line for line in run(*words, "--db", database).out.splitlines() if " calls without " in line]
        assert [bool(line) for line in said] == [True for note in (price, usage) if note is not None]
        for line, note in zip(said, (note for note in (price, usage) if note is not None), strict=True):
            begin, _, end = note.replace("DATABASE", shlex.quote(str(database))).partition(" … ")
            assert (line.startswith(begin), line.endswith(end)) == (True, True)
        diagnosis = run("doctor", "--last", "1000", "--db", database, "--json").document
        assert ("doctor" in " ".join(said)) == any(
            found["kind"] in ("unpriced", "without_usage") for found in diagnosis["findings"]
        )
        assert diagnosis["unanswered_calls"] == sum(call in (FAILED, CANCELLED) for call in calls)


def test_where_it_would_take_long_nothing_is_counted_apart(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of very many calls of a session it would take their rows: the note is the plain one then."""
    database = fill([make_call(session="s", **each) for each in (FAILED, SILENT)])
    words = ("report", "--session", "s", "--db", database)
    assert "1 of them failed or cancelled" in run(*words).out
    monkeypatch.setattr(sums, "_MOST_ROWS", 1)
    assert "of them failed" not in run(*words).out
    assert "1 of them failed or cancelled" in run("report", "--db", database).out


def test_where_rows_are_gone_nothing_is_counted_apart(run: Run, lasting_database: Database) -> None:
    """The kept sums of a session do not say which calls failed; the report is there all the same."""
    store = UsageStore(parse_target(lasting_database.url))
    old = NOON - timedelta(days=100)
    store.add([make_call(session="s", started_at=old, **FAILED)], [make_fact(started_at=old)])
    store.prune("2026-11-01")
    store.close()
    said = run("report", "--by", "session", "--session", "s", "--db", lasting_database.url)
    doctor = DOCTOR.replace("DATABASE", shlex.quote(str(parse_target(lasting_database.url))))
    assert (said.code, f"1 of 1 calls without a price: not in the cost; {doctor}" in said.out) == (0, True)
    assert NOTHING in run("report", "--db", lasting_database.url).out
