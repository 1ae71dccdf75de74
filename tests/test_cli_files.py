"""What a terminal sees of export, import and reconcile: data, hints, exit codes, and nothing else on standard output."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from langchain_tokens import UsageStore, open_store
from langchain_tokens.cli import main
from langchain_tokens.cli.progress import shown_progress
from langchain_tokens.render import UNKNOWN
from langchain_tokens.store.target import parse_target
from tests.builders import NOON, make_call, make_fact
from tests.test_cli import Run, Said, run
from tests.test_reconciling import openai_usage, report

pytest_plugins = ("tests.databases",)

__all__ = ("run",)  # a fixture


@pytest.fixture
def database() -> Path:
    """A database with two calls of a run."""
    store = UsageStore(parse_target("usage.db"))
    calls = [
        make_call(call_id=name, chain=name, tags={"team": name}, model="gpt-4o", provider="openai") for name in "ab"
    ]
    store.add(calls, [make_fact(name="nl2sql")])
    store.close()
    return Path("usage.db").absolute()


def test_export_to_a_file(run: Run, database: Path) -> None:
    """The file has the calls; what was written is said on stderr; a file that is there needs --force."""
    said = run("export", "-o", "out.csv", "--db", database)
    size = Path("out.csv").stat().st_size
    assert (said.code, said.out) == (0, "")
    assert said.err == f"wrote 2 calls to out.csv ({size / 1_000:,.1f} kB)\n"
    again = run("export", "-o", "out.csv", "--db", database)
    assert (again.code, "is there already, and was left as it is" in again.err) == (1, True)
    assert run("export", "-o", "out.csv", "--db", database, "--force", "--tag", "team=b").err.startswith(
        "wrote 1 call to"
    )
    assert [line.split(",")[0] for line in Path("out.csv").read_text().splitlines()] == ["call_id", "b"]


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
def test_export_to_standard_output(database: Path, capsysbinary: pytest.CaptureFixture[bytes], kind: str) -> None:
    """Only data is on stdout, as the library writes it into a file."""
    with pytest.raises(SystemExit) as ended:
        main(["export", "--db", str(database), "--format", kind])
    out, err = capsysbinary.readouterr()
    with closing(open_store(database)) as store:
        store.export(f"out.{kind}")
    assert (ended.value.code, err, out) == (0, b"wrote 2 calls\n", Path(f"out.{kind}").read_bytes())


def test_a_reader_that_has_enough(database: Path) -> None:
    """A pipe that is closed ends the export quietly."""
    command = f"'{sys.executable}' -m langchain_tokens.cli export --db '{database}' --format csv | head -c 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, check=False, timeout=60)
    assert (done.stdout, done.stderr.decode() in ("", "wrote 2 calls\n")) == (b"c", True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--format", "xls"], 2, "--format 'xls'; expected one of parquet, jsonl, json, csv"),
        (["-o", "out.xls"], 2, "the ending of 'out.xls' is no kind of file"),
        (["--tag", "team"], 2, "--tag 'team' is no KEY=VALUE, such as variant=b"),
        (["--since", "never"], 2, "since='never' is not a moment"),
        (["--db", "none.db"], 1, "there is no database"),
        (["-o", "nowhere/out.csv"], 1, "a folder that does not exist"),
    ],
)
def test_wrong_exports(run: Run, database: Path, arguments: list[str], code: int, said: str) -> None:
    """What cannot be is one line on stderr, and writes nothing."""
    found = run("export", "--db", database, *arguments)
    assert (found.code, found.out, found.err.count("\n")) == (code, "", 1)
    assert said in found.err
    assert sorted(path.name for path in Path().iterdir()) == ["usage.db"]


def test_an_export_of_nothing_says_why(run: Run, database: Path) -> None:
    """No call that matches is a file without calls, and the reason."""
    said = run("export", "-o", "out.csv", "--db", database, "--chain", "c")
    assert (said.code, "no call matches; the newest in" in said.err) == (0, True)


def test_import(run: Run, database: Path) -> None:
    """Files are stored into a database that is made for them, a second time nothing is; as JSON every number is there."""
    run("export", "-o", "out.jsonl", "--db", database)
    assert run("import", "out.jsonl", "--db", "new.db", "--dry-run") == Said(
        code=0, out="out.jsonl (calls): 3 rows, 2 calls with 1 run would be stored\n", err=""
    )
    assert not Path("new.db").exists()
    assert run("import", "out.jsonl", "--db", "new.db") == Said(
        code=0, out="out.jsonl (calls): 3 rows, 2 calls with 1 run stored\n", err=""
    )
    (imported,) = run("import", "out.jsonl", "--db", "new.db", "--json").document["files"]
    assert (imported["stored"], imported["there"], imported["refused"]) == (0, 2, [])
    store = open_store("new.db")
    assert {call.chain for call in store.calls()} == {"a", "b"}
    store.close()


def test_refused_rows_are_listed(run: Run) -> None:
    """Each refused row is a line with its reason, control characters escaped; exit code 1; the rest is stored."""
    rows = [
        {"input_tokens": 1, "timestamp": NOON.isoformat()},
        {"input_tokens": "\x1b[31mred"},
        *[{"input_tokens": -1}] * 12,
    ]
    Path("r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = run("import", "r.jsonl", "--db", "new.db", "--session", "s", "--tag", "team=a")
    assert said.code == 1
    assert said.out.splitlines()[:2] == [
        "r.jsonl (results): 14 rows, 1 call stored, 13 refused",
        r"  row 2: input_tokens is '\x1b[31mred'; expected a number",
    ]
    assert said.out.splitlines()[-1] == "  and 3 more refused rows"
    store = open_store("new.db")
    (call,) = store.calls()
    assert (call.session, call.tags) == ("s", {"team": "a"})
    store.close()


@pytest.mark.parametrize("command", ["import", "reconcile"])
def test_a_wrong_file_is_one_line(run: Run, database: Path, command: str) -> None:
    """A file of no use is one line on stderr and exit code 1."""
    Path("picture").write_bytes(b"\x89PNG\r\n\x1a\n")
    said = run(command, "picture", "--db", database)
    assert said == Said(code=1, out="", err="langchain-tokens: picture is a picture\n")


def test_reconcile(run: Run, database: Path) -> None:
    """The comparison is a table, or a document with every number."""
    path = report("u.json", [openai_usage("gpt-4o", 300, 50, 3)])
    said = run("reconcile", path, "--db", database)
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[2].split() == [
        "2026-11-20",
        "gpt-4o",
        "350",
        "240",
        "110",
        "31.4%",
        "0.001250",
        UNKNOWN,
        "0.001250",
        "100.0%",
    ]
    document = run("reconcile", path, "--db", database, "--json").document
    assert (document["total"]["missing_tokens"], document["rows"][0]["reported_cost_usd"]) == (110, "0.001250000000")


def test_a_bar_is_shown_only_on_a_terminal_and_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where stderr is a terminal there is a bar, but not for what is done at once; elsewhere there is none."""
    with shown_progress("exporting") as tell:
        assert tell is None
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    moments = iter([0.0, 0.4, 0.6])
    monkeypatch.setattr("langchain_tokens.cli.progress.monotonic", lambda: next(moments))
    with shown_progress("exporting", 10) as tell:
        assert tell is not None
        tell(1)
        assert terminal.getvalue() == ""
        tell(2)
        tell(3)
    assert "exporting" in terminal.getvalue()
    assert "3/10" in terminal.getvalue()


class Terminal(io.StringIO):
    """Text that says that it is a terminal."""

    def isatty(self) -> bool:
        return True
