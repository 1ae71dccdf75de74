"""Is the page on commands complete and true? Each command stands there, and its examples print what the page says.

`UPDATE_GOLDEN=1` writes what they print now: for a new command write its section with `$` lines, and renew.
"""

from __future__ import annotations

import re
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer

import langchain_tokens
from langchain_tokens.cli import make_app
from tests.golden import IS_RENEWED, said
from tests.seeded import fill_seeded, set_clocks

PAGE = Path(langchain_tokens.__file__).parents[1] / "docs" / "commands.md"
_BLOCK = re.compile(r"^```console\n\$ (langchain-tokens[^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HAS_PRESENT_HELP = tuple(int(part) for part in version("typer").split(".")[:2]) >= (0, 29)
"""Older versions write the kinds of values in another way."""


def names(command: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """All commands that do something, by their words."""
    below = getattr(command, "commands", None)
    if below is None:
        yield before
        return
    for name, each in below.items():
        yield from names(each, (*before, name))


COMMANDS = sorted(names(typer.main.get_command(make_app())))
TEXT = PAGE.read_text(encoding="utf-8")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the database that the page is about, and an application's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "110")
    for name in ("NO_COLOR", "FORCE_COLOR", "LANGCHAIN_TOKENS_TZ"):
        monkeypatch.delenv(name, raising=False)
    fill_seeded(tmp_path / "langchain_tokens.db")
    set_clocks(monkeypatch)
    with closing(sqlite3.connect("app.db")) as connection:
        connection.execute("CREATE TABLE customer (name TEXT)")
    return tmp_path


def test_examples_print_what_the_page_says(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The commands of the page run one after the other; each prints what stands below it."""

    def renewed(block: re.Match[str]) -> str:
        if block[1].endswith("--help") and not _HAS_PRESENT_HELP:
            return block[0]
        text = said(shlex.split(block[1])[1:], capsys, here)
        assert "exit code" not in text or block[1].startswith("langchain-tokens budget check"), text
        return f"```console\n$ {block[1]}\n{text}```"

    now = _BLOCK.sub(renewed, TEXT)
    if IS_RENEWED:
        PAGE.write_text(now, encoding="utf-8")
    assert now.splitlines() == PAGE.read_text(encoding="utf-8").splitlines(), "UPDATE_GOLDEN=1 renews the page"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_command_has_a_section_with_its_options(words: tuple[str, ...]) -> None:
    """A heading, the text of its help, and, but for what needs a network, a server or a browser, an example."""
    name = " ".join(words)
    section = re.search(rf"^###? {re.escape(name)}\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert section, f"no section on {name}"
    shown = [found[1].removeprefix("langchain-tokens ") for found in _BLOCK.finditer(section[1])]
    assert f"{name} --help" in shown
    examples = [line for line in shown if not line.endswith("--help")]
    assert examples or name in {"prices update", "db partition", "dashboard"}
    assert all(line == name or line.startswith(f"{name} ") for line in shown)


def test_page_tells_all_exit_codes_and_settings() -> None:
    """The general part is there; help names the same exit codes."""
    from langchain_tokens.cli import EXIT_CODES
    from langchain_tokens.cli.settings import ENVIRONMENT

    codes = set(re.findall(r"\b(\d+) ", EXIT_CODES))
    said_codes = TEXT.split("**Exit codes.**")[1].split("**Completion.**")[0]
    assert codes <= set(re.findall(r"\b(\d+) ", said_codes))
    assert all(f"{name} = " in TEXT and variable in TEXT for name, variable in ENVIRONMENT.items() if name != "prices")
