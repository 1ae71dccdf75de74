"""What a terminal sees of retention: `db prune` asks, deletes, exports and gives space back; `db rebuild-rollups`."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from langchain_tokens.cli import main
from langchain_tokens.errors import StoreError
from langchain_tokens.exporting import Parts
from langchain_tokens.store.engine import writing
from langchain_tokens.store.rolluptables import CUBES
from langchain_tokens.store.space import vacuum
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target
from tests.builders import NOON, make_call, make_fact
from tests.terminals import Terminal
from tests.test_exporting import read_back

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)

OLD = NOON - timedelta(days=100)
PRUNE = ("db", "prune", "--older-than", "2026-11-01")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a command said."""

    code: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in this process."""

    def run(*arguments: object) -> Said:
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Said(code=int(exit_.value.code or 0), out=out, err=err)

    return run


@pytest.fixture
def seeded(lasting_database: Database) -> Database:
    """A database with forty old calls of one run, and one new one."""
    with opened(lasting_database) as store:
        old = [
            make_call(run_id="old", started_at=OLD + timedelta(hours=hours), tags={"x": "y" * 4_000})
            for hours in range(40)
        ]
        store.add([*old, make_call(run_id="new")], [make_fact("old", started_at=OLD), make_fact("new")])
    return lasting_database


@contextlib.contextmanager
def opened(database: Database) -> Iterator[UsageStore]:
    store = UsageStore(parse_target(database.url))
    try:
        yield store
    finally:
        store._opener._engine.dispose()


def count(database: Database) -> tuple[int, int]:
    """How many calls have a row, and how many are counted."""
    with opened(database) as store:
        return len(store.calls()), store.breakdown().total.calls


def test_a_dry_run_says_what_would_go(run: Run, seeded: Database) -> None:
    """The calls, the runs and their time are said, and nothing is deleted."""
    said = run(*PRUNE, "--dry-run", "--db", seeded.url)
    summary = "40 calls and 1 run from before 2026-11-01 (midnight UTC), the first of 2026-08-12; their sums are kept"
    assert (said.code, said.out, said.err) == (0, f"would go: {summary}\n", "")
    assert count(seeded) == (41, 41)


def test_without_yes_nobody_is_asked_in_a_pipe(run: Run, seeded: Database) -> None:
    """Where there is no terminal, it is wrong usage: one error names --yes, and nothing is deleted."""
    said = run(*PRUNE, "--db", seeded.url)
    assert (said.code, said.out) == (2, "")
    assert "would go: 40 calls" in said.err
    assert said.err.endswith("nothing was deleted: there is nobody to ask, and no --yes\n")
    assert count(seeded) == (41, 41)


@pytest.mark.parametrize(("answer", "left"), [("y\n", (1, 41)), ("n\n", (41, 41)), ("", (41, 41))])
def test_at_a_terminal_it_asks(
    run: Run, seeded: Database, monkeypatch: pytest.MonkeyPatch, answer: str, left: tuple[int, int]
) -> None:
    """At a terminal it says what goes and asks; only a yes deletes."""
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    said = run(*PRUNE, "--db", seeded.url)
    assert (said.code, "would go: 40 calls" in said.err, "go on? [y/N]" in said.err) == (
        int(answer != "y\n"),
        True,
        True,
    )
    assert count(seeded) == left


def test_prune_exports_and_says_how_to_get_space_back(run: Run, seeded: Database, tmp_path: Path) -> None:
    """What went, where the calls are, and what makes room on the disk."""
    goal = tmp_path / "old.parquet"
    said = run(*PRUNE, "--yes", "--export", goal, "--db", seeded.url)
    assert said.code == 0
    assert said.out.startswith("deleted: 40 calls and 1 run from before 2026-11-01")
    assert f"the calls are in {goal}" in said.err
    assert ("MB of the file are free" if seeded.kind == "sqlite-file" else "VACUUM (ANALYZE) llm_call") in said.err
    assert (goal.exists(), count(seeded)) == (True, (1, 41))
    assert run(*PRUNE, "--yes", "--db", seeded.url).out == "nothing is older than 2026-11-01 (midnight UTC)\n"


def test_an_interrupted_prune_is_finished_by_the_same_command(
    run: Run, seeded: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the file is made: where the calls are is said, and the same command makes the file of them."""
    goal = tmp_path / "old.parquet"

    def interrupted(_: Parts) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Parts, "join", interrupted)
        said = run(*PRUNE, "--yes", "--export", goal, "--db", seeded.url)
    assert (said.code, said.out, goal.exists()) == (130, "", False)
    assert f"interrupted: 40 calls are deleted, and whole in {goal}.parts; the same again goes on" in said.err
    said = run(*PRUNE, "--export", goal, "--db", seeded.url)  # nothing goes, so that nobody is asked
    assert said.code == 0
    assert f"the calls are in {goal}" in said.err
    assert len(read_back(goal)) == 40
    assert list(tmp_path.glob("old*")) == [goal]


def test_prune_as_json(run: Run, seeded: Database) -> None:
    """The same as one document; without sums, nothing of that time is counted any more."""
    document = json.loads(run(*PRUNE, "--yes", "--no-keep-rollups", "--json", "--db", seeded.url).out)
    assert document.pop("free_bytes", None) is None or seeded.kind == "sqlite-file"
    assert document == {
        "schema_version": 1,
        "database": str(parse_target(seeded.url)),
        "before": "2026-11-01T00:00:00+00:00",
        "first": OLD.isoformat(),
        "calls": 40,
        "runs": 1,
        "keeps_sums": False,
        "export": None,
        "is_done": True,
        "given_back_bytes": None,
    }
    assert count(seeded) == (1, 1)


def test_a_wrong_range_is_one_error(run: Run, seeded: Database) -> None:
    """A cut that is no moment, or yet to come, is wrong usage."""
    for older_than in ("soon", "2999-01-01"):
        said = run("db", "prune", "--older-than", older_than, "--yes", "--db", seeded.url)
        assert (said.code, said.err.count("\n")) == (2, 1)


def test_vacuum_makes_a_file_smaller(run: Run, seeded: Database) -> None:
    """With --vacuum an SQLite file gives its room back; PostgreSQL says what it does by itself, and nothing is done."""
    said = run(*PRUNE, "--yes", "--vacuum", "--db", seeded.url)
    if seeded.kind == "postgresql":
        assert (said.code, count(seeded)) == (1, (41, 41))
        assert "autovacuum" in said.err
        return
    assert "MB smaller" in said.err
    path = parse_target(seeded.url).path
    assert path is not None
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA freelist_count").fetchone() == (0,)
    assert count(seeded) == (1, 41)


class Usage(NamedTuple):
    """What a disk says of itself."""

    total: int
    used: int
    free: int


@pytest.mark.parametrize("trouble", ["locked", "full"])
def test_a_vacuum_that_cannot_be_leaves_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str) -> None:
    """While somebody else writes, or without room for a copy, there is one clear error and the file is as it was."""
    store = UsageStore(parse_target(tmp_path / "usage.db"))
    store.add([make_call()])
    target = parse_target(f"sqlite:///{tmp_path / 'usage.db'}?timeout=0.01")
    if trouble == "full":
        monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(0, 0, 10))
        with pytest.raises(StoreError, match=r"needs [0-9,]+ bytes in .*, where 10 are free"):
            vacuum(target)
    else:
        with writing(store._engine(), store.target), pytest.raises(StoreError, match="somebody else uses it"):
            vacuum(target)
    assert len(store.calls()) == 1
    store.close()


def test_rebuilding_says_what_was_wrong(run: Run, seeded: Database) -> None:
    """Sums are derived again, and the number of those that were wrong is said."""
    with opened(seeded) as store, writing(store._engine(), store.target) as connection:
        table = CUBES["month"].table
        connection.execute(table.update().where(table.c.month == "2026-11").values(calls=7))
    command: tuple[Any, ...] = ("db", "rebuild-rollups", "--db", seeded.url)
    assert run(*command) == Said(code=0, out="derived again; 1 number was wrong, and none is now\n", err="")
    assert run(*command) == Said(code=0, out="derived again; no number was wrong\n", err="")
    assert json.loads(run(*command, "--json").out) == {"schema_version": 1, "mended_numbers": 0}


@pytest.mark.parametrize(
    ("since", "until", "is_said"),
    [
        ("2026-08-12T12:30", None, True),
        ("2026-08-12T12:00", "2026-08-12T13:30", True),
        ("2026-08-12T12:00", "2026-08-12T14:00", False),
        ("2026-11-01T00:30", None, False),
        (None, "2026-11-20T12:30", False),
    ],
)
def test_report_says_that_pruned_hours_are_whole(
    seeded: Database, run: Run, since: str | None, until: str | None, is_said: bool
) -> None:
    """A range with an end within an hour of which only sums are left is counted with all of it, and the report says it."""
    ends = [word for name, end in (("--since", since), ("--until", until)) if end for word in (name, end)]
    note = "before 2026-11-01 00:00 UTC only sums of whole hours are kept"
    assert note not in run("report", *ends, "--db", seeded.url).out
    run(*PRUNE, "--yes", "--db", seeded.url)
    assert (note in " ".join(run("report", *ends, "--db", seeded.url).out.split())) == is_said
