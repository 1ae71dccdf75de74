"""What a terminal sees of the database: checked, copied, taken back, and our tables added to an application's own."""

from __future__ import annotations

import io
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from langchain_tokens import UsageStore, open_store
from langchain_tokens.store.downgrade import known_revisions
from langchain_tokens.store.engine import make_engine, writing
from langchain_tokens.store.looking import changing
from langchain_tokens.store.schema import HEAD, upgrade
from langchain_tokens.store.target import parse_target
from langchain_tokens.store.upgrade import found_revision
from tests.builders import make_call, make_fact
from tests.terminals import Terminal
from tests.test_cli import Run, Said, run

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)
pytestmark = pytest.mark.usefixtures("migrations")

__all__ = ("run",)  # a fixture

BEFORE = known_revisions()[-2]


@pytest.fixture
def path() -> Path:
    """A database with one call, in the working directory."""
    store = UsageStore(parse_target("usage.db"))
    store.add([make_call(chain="c")], [make_fact()])
    store.close()
    return Path("usage.db").absolute()


@pytest.fixture
def application() -> Path:
    """A file of an application, without our tables."""
    file = Path("app.db").absolute()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT)")
        connection.execute("INSERT INTO customers VALUES (1, 'Asha')")
        connection.commit()
    return file


def copies() -> list[Path]:
    """The copies that were made."""
    return sorted(Path().absolute().glob("*.backup-*"))


# db check


def test_right_schema(run: Run, path: Path) -> None:
    """What is right is said in a line, with exit code 0 and the command that checks the numbers."""
    assert run("db", "check", "--db", path) == Said(
        code=0,
        out=f"sqlite:///{path}: schema {HEAD}, as it should be; the file is whole\n",
        err="what the numbers say: langchain-tokens check\n",
    )
    assert run("db", "check", "--db", path, "--json").document == {
        "database": f"sqlite:///{path}",
        "schema": HEAD,
        "needed_schema": HEAD,
        "is_right": True,
        "differences": [],
        "additions": [],
        "damage": [],
    }


def test_wrong_schema(run: Run, path: Path) -> None:
    """Each difference is a line, an addition that does no harm a hint; exit code 1."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP INDEX ix_llm_call_run_id")
        connection.execute("CREATE INDEX ix_mine ON llm_run (mode)")
    said = run("db", "check", "--db", path)
    assert (said.code, said.out.splitlines()) == (
        1,
        [f"sqlite:///{path}:", "  the index ix_llm_call_run_id of llm_call is missing"],
    )
    assert "no harm: the index ix_mine of llm_run is not of this package" in said.err
    assert "langchain-tokens db backup" in said.err
    document = run("db", "check", "--db", path, "-j")
    assert (document.code, document.document["is_right"]) == (1, False)


@pytest.mark.parametrize(("version", "step"), [("0001", "langchain-tokens db upgrade"), ("9999", "update the package")])
def test_other_schema(run: Run, path: Path, version: str, step: str) -> None:
    """An older schema is answered with the command for it, a newer one with an update of the package."""
    with changing(parse_target(path)) as connection:
        connection.execute(text(f"UPDATE langchain_tokens_version SET version_num = '{version}'"))
    said = run("db", "check", "--db", path)
    assert (said.code, f"its schema is {version}, and {HEAD} is needed" in said.out) == (1, True)
    assert step in said.err


def test_no_schema(run: Run, application: Path) -> None:
    """A database without our tables is answered with the command that adds them; a missing one is an error."""
    said = run("db", "check", "--db", application)
    assert (said.code, "its schema is none" in said.out, "langchain-tokens db adopt" in said.err) == (1, True, True)
    missing = run("db", "check", "--db", "none.db")
    assert (missing.code, missing.out, missing.err.count("\n")) == (1, "", 1)
    assert "there is no database at" in missing.err
    assert not Path("none.db").exists()


# db backup


def test_backup(run: Run, path: Path) -> None:
    """The copy's path is all of the data; what is in it is a hint."""
    said = run("db", "backup", "--db", path)
    (copy,) = copies()
    assert (said.code, said.out) == (0, f"{copy}\n")
    assert f"schema {HEAD}" in said.err
    document = run("db", "backup", "mine.db", "--db", path, "--json").document
    assert (document["backup"], document["schema"]) == (str(Path("mine.db").absolute()), HEAD)
    assert document["rows"]["llm_call"] == 1
    refused = run("db", "backup", "mine.db", "--db", path)
    assert (refused.code, "is there already, and was left as it is; name another file" in refused.err) == (1, True)


def test_backup_names_what_waits(run: Run, path: Path) -> None:
    """Records that no program has brought into the database yet are not in the copy, which is said."""
    assert "not in it" not in run("db", "backup", "--db", path).err
    folder = Path(f"{path}.pending")
    folder.mkdir(exist_ok=True)
    (folder / "1-a.jsonl").write_text("{}\n")
    assert f"not in it: records that wait in {folder}" in run("db", "backup", "--db", path, "--json").err


def test_backup_of_a_server(run: Run, postgresql_database: Database) -> None:
    """One line names the command that copies our tables, and nothing else is done."""
    said = run("db", "backup", "usage.dump", "--db", postgresql_database.url)
    assert (said.code, said.out, said.err.count("\n")) == (1, "", 1)
    assert (
        "pg_dump --format=custom --file=usage.dump --table=usage_settled --table=usage_waste --table=usage_local"
        in said.err
    )


# db downgrade


def test_downgrade(run: Run, path: Path) -> None:
    """One step back keeps the calls, names the copy, and the upgrade brings all of it back."""
    said = run("db", "downgrade", "--db", path, "--yes")
    (copy,) = copies()
    assert said.code == 0
    assert said.out.startswith(f"schema {HEAD} → {BEFORE}; kept: ")
    assert "llm_call (1 rows)" in said.out
    assert said.err == f"the file as it was: {copy}\n"
    assert run("db", "upgrade", "--db", path, "--no-backup").out == f"schema {BEFORE} → {HEAD}; 1 calls kept\n"
    store = open_store(path)
    assert store.breakdown("chain")["c"].total_tokens == 120
    store.close()


def test_downgrade_as_json(run: Run, path: Path) -> None:
    """The document has what went and what stayed."""
    document = run("db", "downgrade", "0001", "--db", path, "--yes", "--json", "--no-backup").document
    assert (document["before"], document["after"], document["backup"]) == (HEAD, "0001", None)
    assert document["rows"] == {"llm_call": 1, "llm_run": 1}
    assert document["lost_rows"]["cost_revision"] == 0
    assert "llm_call.superseded" in document["lost_columns"]


def test_downgrade_to_base(run: Run, path: Path) -> None:
    """`base` takes all of our tables away; the copy has them still."""
    said = run("db", "downgrade", "base", "--db", path, "-y")
    assert (said.code, said.out) == (0, f"schema {HEAD} → base; none of our tables is left\n")
    assert found_revision(parse_target(path)) is None
    assert found_revision(parse_target(copies()[0])) == HEAD
    again = run("db", "downgrade", "--db", path, "-y")
    assert (again.code, "no schema of ours" in again.err) == (1, True)


def test_downgrade_to_the_same(run: Run, path: Path) -> None:
    """Where the schema is there already nothing is asked and nothing is done."""
    assert run("db", "downgrade", HEAD, "--db", path) == Said(
        code=0, out=f"schema {HEAD} already: nothing to do\n", err=""
    )


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
def test_downgrade_asks(run: Run, path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, code: int) -> None:
    """A terminal is told what goes, and asked; only a yes goes on."""
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    said = run("db", "downgrade", "0001", "--db", path)
    assert (said.code, said.out.partition(";")[0]) == (code, "" if code else f"schema {HEAD} → 0001")
    assert f"schema {HEAD} → 0001 takes away:" in said.err
    assert "  cost_revision: 0 rows" in said.err
    assert "  llm_call.superseded" in said.err
    assert found_revision(parse_target(path)) == ("0001" if code == 0 else HEAD)
    assert len(copies()) == (1 if code == 0 else 0)


def test_downgrade_without_an_answer(run: Run, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody can be asked, `--yes` is needed, and nothing is changed without it."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    said = run("db", "downgrade", "--db", path)
    assert (said.code, said.out) == (2, "")
    assert "nothing was changed: there is nobody to ask, and no --yes" in said.err
    assert found_revision(parse_target(path)) == HEAD


def test_downgrade_of_a_server_is_not_copied(
    run: Run, lasting_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a server's tables go it is said that there is no copy, and how to make one."""
    target = parse_target(lasting_database.url)
    engine = make_engine(target)
    with writing(engine, target) as connection:
        upgrade(connection)
    engine.dispose()
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    said = run("db", "downgrade", "--db", lasting_database.url)
    assert said.code == 0
    assert ("PostgreSQL is not copied first" in said.err) is (lasting_database.kind == "postgresql")
    assert ("the file as it was" in said.err) is (lasting_database.kind != "postgresql")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("9999",), f"there is no schema '9999'; known: base, {', '.join(known_revisions())}"),
        (("--db", "none.db"), "there is no database at"),
    ],
)
def test_downgrade_that_cannot_be(run: Run, path: Path, arguments: tuple[str, ...], message: str) -> None:
    """A schema that is not known, or no database, is one line."""
    chosen = arguments if "--db" in arguments else (*arguments, "--db", str(path))
    said = run("db", "downgrade", *chosen, "--yes")
    assert (said.code, said.out, said.err.count("\n")) == (1, "", 1)
    assert message in said.err


# db adopt


def test_adopt(run: Run, application: Path) -> None:
    """What was added is the data; what was verified, the way back and the copy are hints."""
    said = run("db", "adopt", "--db", application)
    (copy,) = copies()
    assert said.code == 0
    assert said.out.startswith(f"added to sqlite:///{application}: budget_reservation, budget_told, cost_revision, ")
    assert said.err.splitlines() == [
        "verified: its 1 table of other makers is as before",
        "to take exactly these away: langchain-tokens db downgrade base, with the same --db",
        f"the file as it was: {copy}",
    ]
    again = run("db", "adopt", "--db", application)
    assert again == Said(code=0, out="our tables are there already: nothing to do\n", err="")
    assert run("db", "check", "--db", application).code == 0
    assert run("db", "downgrade", "base", "--db", application, "-y", "--no-backup").code == 0
    document = run("db", "adopt", "--db", application, "--json", "--no-backup").document
    assert (document["other_tables"], document["backup"]) == (1, None)
    assert "llm_call" in document["added"]


def test_adopt_dry_run(run: Run, application: Path) -> None:
    """The SQL is the data; the file keeps each byte."""
    before = application.read_bytes()
    said = run("db", "adopt", "--db", application, "--dry-run")
    assert (said.code, said.err) == (0, "nothing was changed\n")
    assert said.out.startswith("BEGIN;\n")
    assert said.out.endswith("COMMIT;\n")
    assert run("db", "adopt", "--db", application, "--dry-run", "-j").document["sql"] == said.out
    assert (application.read_bytes(), copies()) == (before, [])
    with closing(sqlite3.connect(application)) as connection:
        connection.executescript(said.out)
    assert run("db", "check", "--db", application).code == 0
    assert run("db", "adopt", "--db", application, "--dry-run").out == ""


def test_adopt_of_foreign_tables(run: Run, application: Path) -> None:
    """A table of our name is one line that says which, and what to do."""
    with closing(sqlite3.connect(application)) as connection:
        connection.execute("CREATE TABLE llm_call (id INTEGER)")
    for options in ((), ("--dry-run",)):
        said = run("db", "adopt", "--db", application, *options)
        assert (said.code, said.out, said.err.count("\n")) == (1, "", 1)
        assert "has llm_call already, not ours" in said.err
        assert "rename it there, or use another database" in said.err
    assert copies() == []


@pytest.mark.parametrize("command", ["upgrade", "downgrade", "check", "backup", "adopt", "current"])
def test_help_has_examples(run: Run, command: str) -> None:
    """Each command's help shows how it is called."""
    said = run("db", command, "--help")
    assert (said.code, f"langchain-tokens db {command}" in said.out) == (0, True)
