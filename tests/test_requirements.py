"""Is each requirement shown by what its row names? The functions, examples and tests of `docs/requirements.md` are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
_CELLS = re.compile(r"(?<!\\)\|")
_QUOTED = re.compile(r"`([^`]+)`")
WANTED = {"A": 8, "B": 12, "C": 6, "D": 6, "E": 5}
"""How many requirements each application has."""
ROWS = [
    pytest.param(*[cell.strip() for cell in _CELLS.split(line)[1:-1]], id=_CELLS.split(line)[1].strip())
    for line in (ROOT / "docs" / "requirements.md").read_text(encoding="utf-8").splitlines()
    if re.match(r"\| [A-Z]\d+ ", line)
]


def test_every_requirement_has_a_row() -> None:
    """None is left out, and none is made up."""
    ids = {row.values[0] for row in ROWS}
    assert ids == {f"{letter}{number}" for letter, count in WANTED.items() for number in range(1, count + 1)}


@pytest.mark.parametrize(("number", "what", "function", "example", "test"), ROWS)
def test_row_names_what_there_is(number: str, what: str, function: str, example: str, test: str) -> None:
    """Each row says what is asked for and by what it is done; its examples are files, its tests functions in their files."""
    assert what
    assert _QUOTED.findall(function), number
    files = [name for name in _QUOTED.findall(example) if "/" in name]
    assert files, f"{number} has no example"
    folders = {name: ROOT if name.startswith("benchmarks/") else ROOT / "examples" for name in files}
    assert [name for name, folder in folders.items() if not (folder / name).is_file()] == []
    tests = [name for name in _QUOTED.findall(test) if "::" in name]
    assert tests, f"{number} has no test"
    for name in tests:
        file, found = name.split("::")
        text = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {found}\(", text, re.MULTILINE), name
