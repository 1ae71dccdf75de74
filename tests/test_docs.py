"""Does what the README shows work? Its programs are run, and no public name is missing from it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import langchain_tokens
from langchain_tokens.registry import REGISTRY
from tests.builders import scripted_graph

README = Path(langchain_tokens.__file__).parents[1] / "README.md"
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[int, str]]:
    """Each Python program of the README with the line it begins at."""
    text = README.read_text(encoding="utf-8")
    return [(text[: found.start(1)].count("\n") + 1, found[1]) for found in _BLOCK.finditer(text)]


@pytest.fixture
def _drained() -> Iterator[None]:
    """Stop the writers that the README's programs started."""
    yield
    REGISTRY.drain()


def test_there_is_a_readme() -> None:
    """The README exists and shows Python."""
    assert README.exists()
    assert len(blocks()) >= 1


@pytest.mark.usefixtures("_drained")
def test_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's programs run one after the other in one session, as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LANGCHAIN_TOKENS_URL", raising=False)
    namespace: dict[str, Any] = {"__name__": "readme", "graph": scripted_graph()}
    for line, program in blocks():
        padded = "\n" * (line - 1) + program  # so that an error names the README's own line
        exec(compile(padded, str(README), "exec"), namespace)  # noqa: S102  # that is what it is about
    assert list(tmp_path.glob("*.db")), "the README's programs store something"


@pytest.mark.parametrize("name", langchain_tokens.__all__)
def test_readme_mentions_every_public_name(name: str) -> None:
    """Each public name stands in the README as code."""
    text = README.read_text(encoding="utf-8")
    assert re.search(rf"(?<![A-Za-z_]){re.escape(name)}(?![A-Za-z_])", text)


def test_readme_has_no_paths_of_this_machine() -> None:
    """The README speaks of the project alone."""
    assert str(README.parent) not in README.read_text(encoding="utf-8")
