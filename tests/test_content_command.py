"""What does a terminal see of what was said? `content` shows it safely, and `db prune --only-content` takes it away."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from langchain_tokens.cli import main
from langchain_tokens.said import ContentFact
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target
from tests.builders import NOON, make_call
from tests.test_cli import Run, Said

WILD = "red \x1b[31m\x07 title \x1b]0;owned\x07\r\nsecond\tline\u202e"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with two calls, in one of which wild things were said."""
    store = UsageStore(parse_target(tmp_path / "usage.db"))
    calls = [make_call(call_id="call-1", started_at=NOON - timedelta(days=9)), make_call(call_id="call-2")]
    first = [{"role": "human", "text": WILD, "name": "ada"}, {"role": "ai", "text": "", "tool_calls": [_CALL]}]
    answer = {"text": "yes", "reasoning": "hm", "alternatives": [{"text": "no"}]}
    contents = [
        ContentFact(call_id="call-1", messages=json.dumps(first), answer=json.dumps(answer)),
        ContentFact(call_id="call-2", messages='[{"role":"human","text":"two"}]'),
    ]
    store.add(calls, (), contents)
    store.close()
    return tmp_path / "usage.db"


_CALL = {"id": "1", "name": "find", "arguments": {"who": "\x1b[2J"}}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], path: Path) -> Run:
    """Runs the command in this process, on that database."""

    def run(*arguments: str) -> Said:
        with pytest.raises(SystemExit) as exit_:
            main([*arguments, "--db", str(path)])
        out, err = capsys.readouterr()
        return Said(code=int(exit_.value.code or 0), out=out, err=err)

    return run


def test_the_newest_is_shown(run: Run) -> None:
    """Without an id; one without an answer says so."""
    said = run("content")
    assert (said.code, said.out.split("\n")[0]) == (0, "call call-2 · 2026-11-20 12:00:00 UTC")
    assert said.out.endswith("\nhuman\n  two\n\nno answer\n")


def test_nothing_that_was_said_commands_the_terminal(run: Run) -> None:
    """Control and direction-changing characters are visible escapes; line feeds and tabs are what they are."""
    said = run("content", "call-1")
    assert said.out.split("\n")[2:] == [
        "human ada",
        r"  red \x1b[31m\x07 title \x1b]0;owned\x07",
        r"  second  line\u202e",
        "",
        "ai",
        r'  find({"who": "\u001b[2J"})',
        "",
        "answer",
        "  hm",
        "  yes",
        "",
        "another answer",
        "  no",
        "",
    ]


def test_as_json(run: Run) -> None:
    """All of it, as it is stored."""
    document = json.loads(run("content", "call-1", "--json").out)
    assert document["call_id"] == "call-1"
    assert document["messages"][0]["text"] == WILD
    assert (document["answer"]["text"], document["messages_cut"]) == ("yes", False)


@pytest.mark.parametrize(
    ("said", "code", "message"),
    [
        ("call-", 2, "several calls' ids begin with 'call-': call-2, call-1"),
        ("other", 1, "whose id begins with 'other'; TokenUsageHandler(capture_content=True) keeps it"),
    ],
)
def test_none_or_several(run: Run, said: str, code: int, message: str) -> None:
    """An id that means none or several is an error that says what to do."""
    found = run("content", said)
    assert (found.code, found.out) == (code, "")
    assert message in found.err


def test_content_alone_is_pruned(run: Run, path: Path) -> None:
    """Said before, done when agreed to, and of it nothing is left in the file."""
    prune = ("db", "prune", "--older-than", "2026-11-15", "--only-content")
    assert b"owned" in path.read_bytes()
    dry = run(*prune, "--dry-run")
    assert dry.out == ("would go: what was said in 1 call from before 2026-11-15 (midnight UTC); calls and sums stay\n")
    unasked = run(*prune)
    assert (unasked.code, "nobody to ask" in unasked.err) == (2, True)
    done = run(*prune, "--yes", "--vacuum")
    assert done.out.startswith("deleted: what was said in 1 call from before 2026-11-15")
    assert b"owned" not in path.read_bytes()
    assert run(*prune, "--yes").out == "nothing was kept of what was said before 2026-11-15 (midnight UTC)\n"
    document = json.loads(run(*prune, "--json").out)
    assert (document["contents"], document["before"]) == (0, "2026-11-15T00:00:00+00:00")
    assert run("content").out.count("two") == 1
    assert len(UsageStore(parse_target(path)).calls()) == 2


@pytest.mark.parametrize("option", [("--export", "a.parquet"), ("--no-keep-rollups",)])
def test_content_alone_is_no_other_prune(run: Run, option: tuple[str, ...]) -> None:
    """It leaves calls and sums as they are, so that what is about those contradicts it."""
    said = run("db", "prune", "--older-than", "7d", "--only-content", *option)
    assert (said.code, "--only-content leaves calls and sums" in said.err) == (2, True)
