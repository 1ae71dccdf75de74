"""How are golden outputs compared and renewed? `UPDATE_GOLDEN=1 pytest tests/test_golden.py tests/test_commands_page.py`
writes what the commands say now; `git diff` then shows what changed, for a person to read.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from langchain_tokens.cli import main

__all__ = ("FOLDER", "IS_RENEWED", "expect", "said")

FOLDER = Path(__file__).parent / "golden"
IS_RENEWED = bool(os.environ.get("UPDATE_GOLDEN"))
_HERE = "/home/you/project"
_VARYING = (
    (re.compile(r"backup-(\d{4})-\d{8}T\d{6}Z"), r"backup-\1-TIME"),
    (re.compile(r"(genai-prices|langchain_tokens) \d[\w.+-]*"), r"\1 VERSION"),
)
_LONG = re.compile(r"(?<=: )-?\d+\.\d{7,}(?=,?$)", re.MULTILINE)
"""A number of a JSON document with more digits than two machines agree on; money is text."""


def said(arguments: list[str], capsys: pytest.CaptureFixture[str], here: Path) -> str:
    """What a command says: its data, then its hints, then its exit code where that is not 0.

    What differs from one machine or day to the next has a word in its place.
    """
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capsys.readouterr()
    code = ended.value.code or 0
    text = out + err + (f"exit code {code}\n" if code else "")
    text = text.replace(str(here), _HERE)
    for pattern, word in _VARYING:
        text = pattern.sub(word, text)
    return _LONG.sub(lambda number: f"{float(number[0]):.7g}", text)


def expect(name: str, text: str) -> None:
    """Compare a text with the golden file of a name, or renew that."""
    file = FOLDER / name
    if IS_RENEWED:
        FOLDER.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert file.exists(), f"{file} is missing; UPDATE_GOLDEN=1 writes it"
    assert text == file.read_text(encoding="utf-8"), f"{name} changed; UPDATE_GOLDEN=1 renews it"
