"""Is each requirement shown by what its row names? The tests, the examples and their files are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "docs").glob("requirements*.md"))
_ROW = re.compile(r"^\| (?P<id>[A-E]\d+) \|.*\| (?P<example>[^|]+) \| (?P<tests>[^|]+) \|$", re.MULTILINE)
_TEST = re.compile(r"`(?:tests/)?([\w/]+\.py)::(\w+)`")
_EXAMPLE = re.compile(r"(\w+) \(([^)]*)\)")
ROWS = [found for page in PAGES for found in _ROW.finditer(page.read_text(encoding="utf-8"))]


def test_there_are_rows() -> None:
    """Every requirement of the two applications has a row."""
    named = {row["id"] for row in ROWS}
    assert named >= {f"A{number}" for number in range(1, 9)} | {f"C{number}" for number in range(1, 7)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_row_names_what_is_there(row: re.Match[str]) -> None:
    """A row names at least one test, and each test, example and file that it names exists."""
    tests = _TEST.findall(row["tests"])
    assert tests
    for file, name in tests:
        text = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert re.search(rf"^(?:async )?def {name}\(", text, re.MULTILINE), f"{file}::{name}"
    for example, files in _EXAMPLE.findall(row["example"]):
        for file in re.findall(r"[\w.]+\.(?:py|md)", files):
            assert (ROOT / "examples" / example / file).exists(), f"{example}/{file}"
