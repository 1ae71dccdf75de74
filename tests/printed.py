"""What did an example print? Its output caught, its tables read back, and what differs from run to run taken out.

`UPDATE_GOLDEN=1 pytest tests/test_example_*.py` writes into the READMEs what the examples print now.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from typing import Any

from langchain_tokens import Breakdown
from tests.golden import IS_RENEWED

ROOT = Path(__file__).resolve().parent.parent
Row = tuple[int, ...]
"""Calls, failed calls, input, output and total tokens; an unknown number is 0."""
_BLOCK = re.compile(r"^```\w*\n(.*?)\n```$", re.MULTILINE | re.DOTALL)
_CHANGING = (
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "ID"),
    (re.compile(r"\d+\.\d\d s\b"), "SECONDS"),
    (re.compile(r"\d+\.\d{6}\b"), "USD"),
    (re.compile(r"[ ]+"), " "),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """What a program printed, and how it ended."""

    code: int
    out: str
    err: str


def printed(program: Callable[..., int], *arguments: Any, **more: Any) -> Printed:
    """Run a program in this process and catch what it prints."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = program(*arguments, **more)
    return Printed(code=code, out=out.getvalue(), err=err.getvalue())


def expect_shown(page: Path, after: str, said: str, settle: Callable[[str], object] | None = None) -> None:
    """Hold the first block that a page shows below some words against what a program said, or renew it.

    Args:
        page: a page of Markdown.
        after: words that stand in it once, above the block.
        said: what the program printed.
        settle: takes out what may differ, of either text; what `settled` does by default.

    """
    text, take = page.read_text(encoding="utf-8"), settle or settled
    assert text.count(after) == 1, f"{page}: {after!r} does not stand there once"
    block = _BLOCK.search(text, text.index(after) + len(after))
    assert block is not None, f"{page}: no block is below {after!r}"
    if IS_RENEWED:
        page.write_text(text[: block.start(1)] + said.strip() + text[block.end(1) :], encoding="utf-8")
        return
    shown, found = str(take(block[1])).splitlines(), str(take(said.strip())).splitlines()
    differences = "\n".join(unified_diff(shown, found, "shown", "printed", lineterm=""))
    assert not differences, f"{page} below {after!r}: UPDATE_GOLDEN=1 renews it\n{differences}"


def table_below(title: str, text: str) -> dict[str, Row]:
    """Read the table that stands below a title: the names of each row to its numbers; the last row is the total."""
    lines = text.split(f"{title}\n", 1)[1].split("\n\n", maxsplit=1)[0].splitlines()
    names = lines[0].split("calls")[0].split()
    rows = {}
    for line in lines[1:]:
        cells = line.replace(",", "").replace("\u2013", "0").split()
        depth = 1 if cells[0] == "total" else len(names)
        if len(cells) > depth and all(cell.isdigit() for cell in cells[depth : depth + 5]):
            rows[" ".join(cells[:depth])] = tuple(int(cell) for cell in cells[depth : depth + 5])
    return rows


def rows_of(breakdown: Breakdown) -> dict[str, Row]:
    """A breakdown in the same form."""
    named = {" ".join(str(part) for part in row.key.values()): row for row in breakdown}
    return {
        name: (row.calls, row.failed_calls, row.input_tokens or 0, row.output_tokens or 0, row.total_tokens or 0)
        for name, row in {**named, "total": breakdown.total}.items()
    }


def settled(text: str) -> str:
    """A text without ids, durations, money, and the width of columns."""
    for pattern, name in _CHANGING:
        text = pattern.sub(name, text)
    return text
