"""Reading in a terminal: what is asked for, in which zone, how it is shown, and what happens when there is nothing."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from langchain_tokens import TokenUsageHandler, UsageStore
from langchain_tokens.call import bounded_call
from langchain_tokens.cli.figures import Cost, bar, costs, duration, sparkline
from langchain_tokens.cli.sheets import Column, sheet
from langchain_tokens.cli.terminal import Terminal, look
from langchain_tokens.render import UNKNOWN
from langchain_tokens.store.naming import names_like
from langchain_tokens.store.target import parse_target
from langchain_tokens.zones import labels_between, parse_zone
from tests.builders import NOON, make_call, make_fact, make_usage
from tests.test_cli import HEAVY, Run, Said, fill, run
from tests.test_reconciling import openai_usage, report

if TYPE_CHECKING:
    from tests.databases import Database

__all__ = ("run",)

pytest_plugins = ("tests.databases",)

ROOT = Path(__file__).parents[1]
READING = (("report",), ("top",), ("top", "--what", "runs"), ("runs",), ("sessions",), ("calls",), ("tail",))
_ALL = ("--since", "2000-01-01")
REPORTS = (
    ("compare", "m", "n", "--unit", "call"),
    ("unusual", *_ALL),
    ("profile",),
    ("inputs", *_ALL),
    ("findings", *_ALL),
)
"""Reports on what is stored, on any day."""
BUDGETS = (("budget", "list", "--file", "budgets.toml"), ("budget", "check", "--file", "budgets.toml"))
OTHERS = (("forecast",), ("export",), ("reconcile", "usage.json"), ("budget", "release"), *BUDGETS)
COLOUR = re.compile(r"\x1b\[[\d;]*m")
FAR = parse_zone("Asia/Kolkata")


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of which nothing is said."""
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "TERM", "LANGCHAIN_TOKENS_TZ"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def mixed() -> Path:
    """Four calls of two sessions, two of them on the next day in Kolkata."""
    late = NOON + timedelta(hours=7)
    return fill(
        [
            make_call(
                call_id="a", session="s1", chain="plan", agent="x", model="m", mode="batch", tokens=(10, 1), cost="3"
            ),
            make_call(call_id="b", session="s1", chain="fix", agent="y", model="m", tokens=(30, 3), cost="1", user="u"),
            make_call(call_id="c", session="s2", chain="fix", tokens=(20, 2), started_at=late, tags={"v": "a=b"}),
            make_call(call_id="d", session="s2", chain="plan", tokens=None, status="error", started_at=late),
        ]
    )


def budgets_and_report() -> list[Path]:
    """A file of budgets, and a provider's report."""
    files = [Path("budgets.toml"), Path("usage.json")]
    files[0].write_text('[[budget]]\nlimit_tokens = 5000000\nper = "session"\n', encoding="utf-8")
    report("usage.json", [openai_usage("m", 300, 50, 3)])
    return files


# What is asked for


def test_report_is_what_happens_by_itself(run: Run, mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a command, or with options alone, it is the report."""
    monkeypatch.setenv("LANGCHAIN_TOKENS_URL", str(mixed))
    named = run("report")
    assert named.out.startswith("Usage by chain")
    assert run() == named
    assert run("--since", "2026-11-20", "--json") == run("report", "--since", "2026-11-20", "--json")
    assert run("-j").document["total"]["calls"] == 4


@pytest.mark.parametrize(
    ("arguments", "calls"),
    [
        (("--session", "s1"), 2),
        (("--session", "s1", "--session", "s2"), 4),
        (("--mode", "batch"), 1),
        (("--agent", "x", "--agent", "y"), 2),
        (("--agent", "(none)"), 2),
        (("--chain", "fix", "--agent", "y"), 1),
        (("--model", "m"), 2),
        (("--provider", "(none)"), 4),
        (("--user", "u"), 1),
        (("--status", "error"), 1),
        (("--run", "run-1"), 4),
        (("--tag", "v=a=b"), 1),
        (("--tag", "v=a=b", "--tag", "v=x"), 1),
        (("--tag", "v=a=b", "--tag", "w=x"), 0),
        (("--since", "2026-11-20T12:00:01"), 2),
        (("--until", "2026-11-20T12:00:01"), 2),
        (("--since", "2026-11-20", "--chain", "fix", "--chain", "plan", "--mode", "batch"), 1),
        (("--since", "2026-11-21", "--tz", "Asia/Kolkata"), 2),
        (("--since", "2026-11-21"), 0),
    ],
)
def test_filters(run: Run, mixed: Path, arguments: tuple[str, ...], calls: int) -> None:
    """Each filter narrows all reading commands in the same way; said again, it allows another value."""
    asked = ("--db", mixed, *arguments, "--json")
    assert run("report", *asked).document["total"]["calls"] == calls
    assert len(run("calls", *asked).document["calls"]) == calls
    assert len(run("top", *asked).document["rows"]) == calls
    assert len(run("tail", *asked).out.splitlines()) == calls
    assert sum(each["total"]["calls"] for each in run("sessions", *asked).document["sessions"]) == calls
    assert run("profile", *asked).document["root"]["subtree"]["calls"] == calls
    ranged = asked if {"--since", "--until"} & set(arguments) else (*asked, *_ALL)
    assert run("inputs", *ranged).document["total"]["calls"] == calls
    assert run("findings", *ranged).document["calls"] == calls
    compared = run("compare", "agent=(none)", "agent=x", "agent=y", "--unit", "call", *asked).document["variants"]
    assert "--agent" in arguments or sum(each["calls"] for each in compared) == calls
    exported = run("export", *[each for each in asked if each != "--json"]).out.splitlines()
    assert sum(json.loads(line)["kind"] == "call" for line in exported) == calls


def test_json_is_what_python_answers(run: Run, mixed: Path) -> None:
    """Rows and total are those of the store, money as text."""
    store = UsageStore(parse_target(mixed))
    expected = json.loads(store.breakdown("agent", "chain").to_json())
    found = run("report", "--db", mixed, "--by", "agent,chain", "-j").document
    assert {name: found[name] for name in ("by", "rows", "total")} == expected
    timeline = json.loads(store.timeline("day", by="chain", tz="Asia/Kolkata").to_json())
    found = run("report", "--db", mixed, "--timeline", "day", "--by", "chain", "-z", "Asia/Kolkata", "-j").document
    assert found["rows"] == timeline["rows"]
    runs = run("runs", "--db", mixed, "-j").document["runs"]
    total = json.loads(store.breakdown().to_json())["total"]
    assert [(each["run_id"], each["total"]) for each in runs] == [("run-1", total)]
    said = run("run", "--db", mixed, "-j").document
    assert said["tree"]["subtree"] == total
    assert [call["call_id"] for call in said["calls"]] == ["a", "b", "c", "d"]
    store.close()


@pytest.mark.parametrize(("sort", "first"), [("tokens", "fix"), ("cost", "plan"), ("calls", "fix")])
def test_sorting(run: Run, mixed: Path, sort: str, first: str) -> None:
    """What is largest comes first, and the rest is one row, so that rows add up to the total."""
    said = run("report", "--db", mixed, "--sort", sort, "-n", "1")
    lines = [line.split() for line in said.out.splitlines()]
    assert [line[0] for line in lines[1:5]] == ["chain", first, "(others)", "total"]
    assert int(lines[2][1]) + int(lines[3][1]) == int(lines[4][1]) == 4
    assert run("report", "--db", mixed, "-n", "1", "-j").document["has_more"] is True
    assert run("report", "--db", mixed, "-n", "0", "-j").document["has_more"] is False


@pytest.mark.parametrize(
    ("options", "setting", "named"),
    [
        (("--db", "o'ne.db"), "", """--db 'o'"'"'ne.db' """),
        (("--db", "o'ne.db"), "o'ne.db", ""),
        ((), "o'ne.db", ""),
    ],
    ids=["named", "named as set", "set"],
)
def test_advice_is_about_the_same_database(
    run: Run, monkeypatch: pytest.MonkeyPatch, options: Sequence[str], setting: str, named: str
) -> None:
    """The command that says what is missing names the database, unless it would ask that anyway."""
    fill([make_call(cost=None)], "o'ne.db")
    monkeypatch.setenv("LANGCHAIN_TOKENS_URL", setting)
    for command in ("report", "run"):
        said = run(command, *options).out
        assert f"what supplies it: langchain-tokens doctor {named}--last 1000" in said


def test_only_a_run_that_runs_goes_on(run: Run) -> None:
    """A run without an end goes on while it runs; a call that was recorded outside any run is over."""
    store = UsageStore(parse_target("usage.db"))
    store.add([make_call(run_id=name) for name in "ab"], [make_fact("a", ended_at=None), make_fact("b")])
    store.close()
    with TokenUsageHandler("usage.db") as handler:
        given = handler.record({"prompt_tokens": 1, "completion_tokens": 1}, model="gpt-4o", provider="openai")
    ends = [run("run", name, "--db", "usage.db").out.splitlines()[1] for name in ("a", "b", given.run_id)]
    assert [end.partition(" UTC")[2] for end in ends] == [" · goes on", " · took 2.0 s", ""]


def test_what_nobody_knows_of_the_rest_is_no_zero(run: Run) -> None:
    """The rows left out have no time and no cached input, where none of their calls says any."""
    database = fill(
        [
            make_call(chain="known", duration_ms=2_000.0, usage=make_usage(100, 20, cache_read_tokens=50)),
            *[make_call(chain=f"silent_{place}", duration_ms=None) for place in range(2)],
        ]
    )
    said = run("top", "--what", "chains", "--by", "duration", "--db", database, "-n", "1", "--wide")
    known, rest, total = (re.split(r"\s{2,}", line) for line in said.out.splitlines()[2:5])
    assert (known[0], rest[0], total[0]) == ("known", "(others)", "total")
    assert [(line[4], line[7]) for line in (known, rest, total)] == [
        ("50%", "2.0 s"),
        (UNKNOWN, UNKNOWN),
        ("17%", "2.0 s"),
    ]


def test_runs_by_beginning(run: Run) -> None:
    """One run is shown; none, or several, is an error that says which there are."""
    calls = [make_call(run_id=name, path="graph/step") for name in ("abc-1", "abc-2")]
    store = UsageStore(parse_target("usage.db"))
    store.add(calls, [make_fact("abc-1", name="graph"), make_fact("abc-2", name="graph")])
    store.close()
    assert run("run", "abc-1", "--db", "usage.db").out.startswith("graph · ok · abc-1\n")
    assert run("run", "abc-2…", "--db", "usage.db", "-j").document["run_id"] == "abc-2"
    several = run("run", "abc", "--db", "usage.db")
    assert (several.code, several.out) == (2, "")
    assert "several runs' ids begin with 'abc': abc-1, abc-2" in several.err
    none = run("run", "x", "--db", "usage.db")
    assert (none.code, "no run's id begins with 'x'" in none.err) == (1, True)
    assert "has no calls yet" in run("run", "--db", fill(name="empty.db")).err


# Nothing to show


@pytest.mark.parametrize("words", [*READING, *REPORTS, ("forecast",), ("export",)], ids=" ".join)
def test_nothing_is_explained(run: Run, mixed: Path, words: tuple[str, ...]) -> None:
    """It is said why there is nothing; that is an error only where somebody asks for one."""
    said = run(*words, "--db", mixed, "--agent", "nobody")
    assert (said.code, said.out) == (0, "")
    assert "no call matches; the newest in" in said.err
    assert run(*words, "--db", mixed, "--agent", "nobody", "--fail-empty").code == 3
    assert words == ("forecast",) or run(*words, "--db", mixed, "--fail-empty").code == 0
    empty = run(*words, "--db", fill(name="empty.db"), "--fail-empty")
    assert (empty.code, "has no calls yet" in empty.err) == (3, True)


@pytest.mark.parametrize("words", [*READING, ("run",), ("tail", "-f"), *REPORTS, *OTHERS], ids=" ".join)
def test_no_database_is_made(run: Run, words: tuple[str, ...]) -> None:
    """A command that reads leaves the folder as it is."""
    files = budgets_and_report() if words in OTHERS else []
    said = run(*words)
    assert (said.code, said.out, said.err.count("\n")) == (1, "", 1)
    assert "there is no database of langchain_tokens at" in said.err
    assert sorted(Path().iterdir()) == files
    secret = run(*words, "--db", "postgresql://app:topsecret@127.0.0.1:9/usage")
    assert (secret.code, "topsecret" in secret.err) == (1, False)


@pytest.mark.parametrize("words", [*READING, ("run",), *REPORTS, *OTHERS], ids=" ".join)
def test_database_that_cannot_be_read_is_one_line(run: Run, mixed: Path, words: tuple[str, ...]) -> None:
    """One of a newer version, and a file that is no database."""
    budgets_and_report()
    with closing(sqlite3.connect(mixed)) as connection, connection:
        connection.execute("UPDATE langchain_tokens_version SET version_num = '9999'")
    newer = run(*words, "--db", mixed)
    assert (newer.code, newer.out, newer.err.count("\n")) == (1, "", 1)
    assert "update the package" in newer.err
    other = run(*words, "--db", "usage.json")
    assert (other.code, other.out, other.err.count("\n")) == (1, "", 1)
    assert "is not an SQLite database" in other.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("compare m", 2, "at least two sides; found 'm' alone"),
        ("compare m bogus=1", 2, "'bogus=1' is no side: 'bogus' is none of session, run"),
        ("compare m 2026-13-01..", 2, "since='2026-13-01' is not a moment"),
        ("forecast --until never", 2, "until='never' is not a moment"),
        ("unusual --by nope", 2, "unknown by='nope'"),
        ("unusual --tz Nowhere", 2, "tz='Nowhere' is no time zone"),
        ("profile --tag x", 2, "--tag 'x' is no KEY=VALUE"),
        ("profile -o usage.db", 1, "is there already, and was left as it is"),
        ("inputs --by agent,model", 2, "unknown dimension 'agent,model'"),
        ("findings --since 2026-11-02 --until 2026-11-01", 2, "an empty range"),
        ("findings --prices nope.toml", 1, "there is no file of prices at nope.toml"),
        ("export --format xls", 2, "--format 'xls'; expected one of"),
        ("import nope.jsonl --db new.db", 1, "nope.jsonl could not be read: No such file or directory"),
        ("import usage.json --db new.db --tag a=1 --tag a=2", 2, "--tag says a twice: 1, 2"),
        ("reconcile budgets.toml", 1, "budgets.toml: line 1"),
        ("budget list", 1, "there are no budgets to look at"),
        ("budget list --file nope.toml", 1, "the budgets in nope.toml cannot be read: No such file or directory"),
        ("budget list --file usage.json", 1, "the budgets in usage.json cannot be read: it is no TOML"),
        ("budget check --file budgets.toml --tz Nowhere", 2, "tz='Nowhere' is no time zone"),
    ],
)
def test_what_is_wrong_is_one_line(
    run: Run, mixed: Path, monkeypatch: pytest.MonkeyPatch, *, words: str, code: int, said: str
) -> None:
    """Wrong words, files and moments are told at once, and no database is made for them."""
    monkeypatch.setenv("LANGCHAIN_TOKENS_URL", str(mixed))
    budgets_and_report()
    found = run(*words.split())
    assert (found.code, found.out, found.err.count("\n")) == (code, "", 1)
    assert said in found.err
    assert not Path("new.db").exists()


@pytest.mark.parametrize("words", ["profile", "export", "budget list --file budgets.toml", "report"])
def test_reader_that_has_enough(mixed: Path, words: str) -> None:
    """A pipe that is closed ends a command quietly."""
    budgets_and_report()
    program = [sys.executable, "-m", "langchain_tokens.cli", *words.split(), "--db", str(mixed)]
    pipe, environment = subprocess.PIPE, {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(program, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.wait(timeout=60) == 0
        assert "Traceback" not in process.stderr.read()


# Settings


def test_where_a_setting_comes_from(run: Run, mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An option wins over the environment, that over the file, that over the default."""

    def found(*more: str) -> tuple[str, str]:
        document = run("report", "-j", *more).document
        return Path(document["database"]).name, document["tz"]

    fill([make_call()], "langchain_tokens.db")
    assert found() == ("langchain_tokens.db", "UTC")
    Path("pyproject.toml").write_text(
        '[tool.langchain_tokens]\ndb = "usage.db"\ntz = "Asia/Kolkata"\n', encoding="utf-8"
    )
    assert found() == ("usage.db", "Asia/Kolkata")
    monkeypatch.setenv("LANGCHAIN_TOKENS_TZ", "Europe/Berlin")
    monkeypatch.setenv("LANGCHAIN_TOKENS_URL", "langchain_tokens.db")
    assert found() == ("langchain_tokens.db", "Europe/Berlin")
    assert found("--db", str(mixed), "-z", "Asia/Tokyo") == ("usage.db", "Asia/Tokyo")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[tool.langchain_tokens]\ndatabase = "x"\n', "has 'database'; allowed: db, tz, prices, budgets"),
        ("[tool.langchain_tokens]\ndb = 5\n", "db of [tool.langchain_tokens] in pyproject.toml is 5; expected a text"),
        ('[tool.langchain_tokens]\ntz = ""\n', "tz of [tool.langchain_tokens] in pyproject.toml is ''"),
        ("[tool]\nlangchain_tokens = 1\n", "is 1; expected a table"),
        ("[tool.langchain_tokens\n", "pyproject.toml cannot be read"),
        ('[tool.langchain_tokens]\ntz = "Nowhere"\n', "tz='Nowhere' is no time zone"),
    ],
)
def test_wrong_settings_are_wrong_usage(run: Run, mixed: Path, text: str, said: str) -> None:
    """A file that says something wrong is one line."""
    Path("pyproject.toml").write_text(text, encoding="utf-8")
    found = run("report")
    assert (found.code, found.out, found.err.count("\n")) == (2, "", 1)
    assert said in found.err


@pytest.mark.parametrize("text", ["[tool.other]\nx = 1\n", "no [ toml", '[project]\nname = "x"\n'])
def test_files_of_others_are_left_alone(run: Run, text: str) -> None:
    """A file that does not name us is not even read as TOML."""
    fill([make_call()], "langchain_tokens.db")
    Path("pyproject.toml").write_text(text, encoding="utf-8")
    assert run("report").code == 0


# How it is shown


@pytest.mark.parametrize(
    ("environment", "arguments", "has_colour"),
    [
        ({}, (), False),
        ({"FORCE_COLOR": "1"}, (), True),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, (), True),
        ({"FORCE_COLOR": "0"}, (), False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, (), False),
        ({"FORCE_COLOR": "1"}, ("--no-color",), False),
    ],
)
def test_colours(
    run: Run,
    mixed: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    environment: dict[str, str],
    arguments: tuple[str, ...],
    has_colour: bool,
) -> None:
    """Colours come where they are wanted, and say nothing that is not there without them."""
    for words in (*READING, ("run",), *REPORTS):
        plain = run(*words, "--db", mixed).out
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            said = run(*words, "--db", mixed, *arguments).out
        assert bool(COLOUR.search(said)) is has_colour
        assert [line.rstrip() for line in COLOUR.sub("", said).splitlines()] == plain.splitlines()


@pytest.mark.parametrize(("term", "has_color"), [("xterm", True), ("dumb", False)])
def test_colours_of_a_terminal(monkeypatch: pytest.MonkeyPatch, term: str, has_color: bool) -> None:
    """A terminal has colours unless it is a dumb one, and its own width unless `COLUMNS` says another."""
    master, terminal = os.openpty()
    monkeypatch.setenv("TERM", term)
    with os.fdopen(terminal, "w", encoding="utf-8") as stream:
        os.set_blocking(master, False)
        monkeypatch.setattr(sys, "stdout", stream)
        __import__("fcntl").ioctl(terminal, __import__("termios").TIOCSWINSZ, b"\x18\x00\x35\x00\x00\x00\x00\x00")
        assert look() == Terminal(width=53, has_color=has_color)
        assert look(wide=True, no_color=True) == Terminal(width=None, has_color=False)
        monkeypatch.setenv("COLUMNS", "77")
        assert look().width == 77
    os.close(master)


def test_terminal_of_few_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where bars cannot be encoded they are drawn with plain signs."""
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert look().can_draw is False
    assert bar(0.5, 8, can_draw=False) == "####"


@pytest.mark.parametrize(
    "name", ["\x1b[2Jgone", "a\nb", "\u202eevil", "x" * 300, "\u732b" * 40, "<b>", "=1+1", "\U0001f600"]
)
def test_hostile_names(run: Run, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A name cannot move the cursor, add a line, turn the text round or push a number out of sight."""
    budgets_and_report()
    call = bounded_call(
        make_call(chain=name, agent=name, model=name, session=name, run_id=name, path=name, tokens=(1_234_567, 1))
    )
    store = UsageStore(parse_target("usage.db"))
    store.add([call], [make_fact(name, name=name, session=name)])
    store.close()
    monkeypatch.setenv("COLUMNS", "60")
    for words in (*READING, ("run",)):
        shown = run(*words, "--db", "usage.db").out.splitlines()
        assert all(line.isprintable() for line in shown), words
        assert sum("1,234,568" in line for line in shown) in (1, 2), words  # its own line, and the total
    for words in (
        *REPORTS[1:],
        ("compare", f"model={name}", f"agent={name}"),
        ("budget", "list", "--file", "budgets.toml"),
    ):
        shown = run(*words, "--db", "usage.db").out.splitlines()
        assert shown, words
        assert all(line.isprintable() for line in shown), words


@pytest.mark.parametrize("columns", ["1", "9", "10", "11", "30"])
def test_report_in_hardly_any_room(run: Run, mixed: Path, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    """Where there is no room to draw the course of time, there is none; the report is made all the same."""
    monkeypatch.setenv("COLUMNS", columns)
    said = run("report", "--db", str(mixed))
    assert said.code == 0
    assert ("per hour" in said.out) == (int(columns) > len("per hour  "))


def text_of(lines: Sequence[Any]) -> list[str]:
    """Lines without their styles."""
    return ["".join(text for text, _ in line) for line in lines]


def test_numbers_are_never_cut() -> None:
    """Texts shrink to ten characters, columns go from the last one on, and what is left may be wider than all there is."""
    columns = [
        Column(heading="name", cells=["a long name of a chain"], is_text=True),
        Column(heading="first", cells=["1,000,000"], goes=1),
        Column(heading="second", cells=["2,000"], goes=2),
    ]
    laid = {width: text_of(sheet(columns, Terminal(width=width))) for width in (60, 33, 29, 25, 21, 12, 3)}
    assert {width: lines[1] for width, lines in laid.items()} == {
        60: "a long name of a chain  1,000,000   2,000",
        33: "a long name o…  1,000,000   2,000",
        29: "a long na…  1,000,000   2,000",
        25: "a long name o…  1,000,000",
        21: "a long na…  1,000,000",
        12: "a long name…",
        3: "a l…",
    }
    assert laid[21][2:] == ["Hidden at this width:", "second. --wide or", "--json shows them."]


@pytest.mark.parametrize(
    ("amounts", "shown"),
    [
        (["1.5", "20"], ["1.50", "20.00"]),
        (["0.000057", "1"], ["0.0000570", "1.0000000"]),
        (["0.000000000001"], ["0.00000000"]),
        ([None, "3"], ["–", "3.00"]),  # noqa: RUF001  # the sign for unknown
        (["0"], ["0.00"]),
    ],
)
def test_amounts_of_a_column_have_the_same_places(amounts: list[str | None], shown: list[str]) -> None:
    """As many as the smallest needs."""
    from decimal import Decimal

    assert costs([Cost(None if each is None else Decimal(each), 1, 0) for each in amounts]) == shown


def test_small_figures() -> None:
    """Times have the unit that fits, lines a sign for each value, and every hour of a night is there."""
    times = (None, 0.4, 999, 1_000, 119_000, 7_100_000, 8_000_000, 200_000_000)
    assert [duration(each) for each in times] == ["–", "0 ms", "999 ms", "1.0 s", "119.0 s", "118 min", "2 h", "2 d"]  # noqa: RUF001
    assert sparkline([0, 1, 4, 8]) == " ▂▅█"
    assert sparkline([]) == ""
    night = labels_between("2026-10-25T01:00+02:00", "2026-10-25T03:00+01:00", "hour", parse_zone("Europe/Berlin"))
    assert len(night) == 4
    zone, night = parse_zone("Australia/Lord_Howe"), ["2026-04-05T01:00+10:30", "2026-04-05T02:00+10:30"]
    assert labels_between(*night, "hour", zone) == night
    assert labels_between("2026-12-31", "2027-01-02", "day", FAR) == ["2026-12-31", "2027-01-01", "2027-01-02"]
    assert labels_between("2026-W52", "2027-W01", "week") == ["2026-W52", "2026-W53", "2027-W01"]
    assert labels_between("2026-01", "2026-04", "month") == ["2026-01", "2026-02", "2026-03", "2026-04"]


# Completion


Complete = Callable[[str], list[str]]


@pytest.fixture
def completed(run: Run, monkeypatch: pytest.MonkeyPatch) -> Complete:
    """What a shell offers after some words."""

    def completed(words: str) -> list[str]:
        with monkeypatch.context() as patch:
            patch.setenv("_LANGCHAIN_TOKENS_COMPLETE", "complete_bash")
            patch.setenv("COMP_WORDS", f"langchain-tokens {words}")
            patch.setenv("COMP_CWORD", str(len(words.split(" "))))
            said = run()
        assert (said.code, said.err) == (0, "")
        return said.out.split()

    return completed


def test_completion_offers_names(completed: Complete, mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands, and names of the database that begin so, those with the most tokens first."""
    assert completed("r") == ["report", "runs", "run", "reconcile", "reprice"]
    assert completed(f"report --db {mixed} --agent ") == ["y", "x"]
    before = {path: path.stat().st_size for path in Path().iterdir()}
    assert completed("report --db nothing.db --agent ") == []
    assert {path: path.stat().st_size for path in Path().iterdir()} == before
    monkeypatch.setenv("LANGCHAIN_TOKENS_URL", str(mixed))
    assert completed("calls --chain f") == ["fix"]


def test_completion_loads_nothing_heavy(mixed: Path) -> None:
    """Whoever types does not wait for a database library."""
    program = (
        "import os, sys\nfrom langchain_tokens.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    asked = {"_LANGCHAIN_TOKENS_COMPLETE": "complete_bash", "COMP_CWORD": "3", "PYTHONPATH": str(ROOT)}
    asked |= {"COMP_WORDS": "langchain-tokens report --agent ", "LANGCHAIN_TOKENS_URL": str(mixed)}
    words, environment = [sys.executable, "-c", program], {**os.environ, **asked}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout.split(), done.stderr.splitlines()[-1]) == (["y", "x"], "[]")


def test_names_are_looked_up_and_nothing_else(
    lasting_database: Database, make_store: Callable[..., UsageStore]
) -> None:
    """Names with signs of SQL or patterns are names; without tables, or without a database, there are none."""
    target = parse_target(lasting_database.url)
    assert names_like(target, "agent", "") == []
    store = make_store(lasting_database)
    store.add([make_call(agent=name) for name in ("a%", "ab", "A_", "o'brien", "")])
    assert sorted(names_like(target, "agent", "a")) == ["a%", "ab"]
    assert names_like(target, "agent", "a%") == ["a%"]
    assert names_like(target, "agent", "o'") == ["o'brien"]
    assert names_like(target, "chain", "") == []
    assert names_like(parse_target("sqlite://"), "agent", "") == []


def test_file_that_is_broken_offers_nothing(completed: Complete) -> None:
    """Whoever types is not disturbed."""
    Path("bad.db").write_bytes(b"SQLite format 3\x00" + b"\xff" * 4_000)
    assert names_like(parse_target("bad.db"), "agent", "") == []
    assert completed("report --db bad.db --agent ") == []
    assert completed("report --db mysql://x --agent ") == []


# Following


@contextmanager
def tailing(url: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process that follows, from when it waits on."""
    program = [sys.executable, "-m", "langchain_tokens.cli", "tail", "-f", "--db", url, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # else it hears no Ctrl-C in the background
    with subprocess.Popen(program, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        signal.signal(signal.SIGINT, before)
        try:
            assert process.stderr is not None
            assert "waiting for calls in" in process.stderr.readline()
            yield process
        finally:
            process.kill()


def test_tail_follows_until_ctrl_c(lasting_database: Database, make_store: Callable[..., UsageStore]) -> None:
    """Each new call is a line of JSON at once; Ctrl-C ends with a summary on stderr and 130."""
    store = make_store(lasting_database)
    store.add([make_call(call_id="old", chain="a")])
    with tailing(lasting_database.url, "-n", "1", "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        seen = [json.loads(process.stdout.readline())["call_id"]]
        for number in range(2):
            store.add([make_call(call_id=f"new-{number}", started_at=NOON - timedelta(days=number), cost="0.5")])
            seen.append(json.loads(process.stdout.readline())["call_id"])
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert seen == ["old", "new-0", "new-1"]
    assert (process.returncode, out) == (130, "")
    assert err.startswith("2 calls, 240 tokens, 1.000000 USD in ")


def test_tail_sums_up_what_is_known(lasting_database: Database, make_store: Callable[..., UsageStore]) -> None:
    """What no call knows is no zero at the end, and what the sums do not cover stands beside them."""
    store = make_store(lasting_database)
    store.add([make_call()])
    with tailing(lasting_database.url, "-n", "0", "--json") as process:
        assert process.stdout is not None
        store.add([make_call(tokens=None, status="error")])
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert err.startswith(f"1 calls, {UNKNOWN} tokens, {UNKNOWN} USD in ")
    assert err.rstrip().endswith("; 1 without usage; 1 without a price")


def test_tail_ends_when_nobody_reads() -> None:
    """A closed pipe ends it quietly, without waiting for the next call."""
    database = fill([make_call()])
    with tailing(str(database)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.wait(timeout=30) == 0
        assert process.stderr.read() == ""


def test_lines_that_come_one_by_one_stand_below_each_other(run: Run) -> None:
    """Columns have the same width whatever a line holds."""
    short, long = (
        make_call(chain="a", tokens=(1, 1), cost="1"),
        make_call(chain="chain_of_16_ch", tokens=(99_999, 9_999)),
    )
    ends = set()
    for number, call in enumerate((short, long)):
        said: Said = run("tail", "--db", fill([call], f"{number}.db"))
        ends |= {len(line) for line in said.out.splitlines()}
    assert len(ends) == 1
