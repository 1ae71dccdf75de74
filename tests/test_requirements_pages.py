"""Is what the pages on requirements name there? Each row has an example and a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROWS = [
    pytest.param([cell.strip() for cell in line.strip("|").split(" | ")], id=line.split("|")[1].strip())
    for page in sorted((ROOT / "docs").glob("requirements-*.md"))
    for line in page.read_text(encoding="utf-8").splitlines()
    if re.match(r"\| [A-E]\d+ ", line)
]


@pytest.mark.parametrize("row", ROWS)
def test_row_names_what_there_is(row: list[str]) -> None:
    """Each example is a file, each test a function in its file, and every row has both."""
    examples, tests = (re.findall(r"`([^`]+)`", cell) for cell in row[-2:])
    assert examples
    assert tests
    assert [name for name in examples if not (ROOT / name).is_file()] == []
    for name in tests:
        file, function = name.split("::")
        assert re.search(rf"^(async )?def {function}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE), name
