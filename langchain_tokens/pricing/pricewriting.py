"""How does an own price get into a file? At its end, checked before and after; what stands there stays as it is."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from langchain_tokens.errors import PriceError, StoreError
from langchain_tokens.pricing.pricefile import read_entry, read_file
from langchain_tokens.wholefile import WholeFile

__all__ = ("add_price", "moment_value")

_MODE = 0o644
_DELETE = "\x7f"
"""The one control character that JSON writes as it is, and TOML refuses."""


def add_price(path: Path, row: Mapping[str, Any]) -> str:
    """Add an entry to a TOML file of prices, or make the file.

    The file is replaced at once, or stays as it was; its comments and all its entries are kept. Of entries that say as
    much about a model, the last one holds, so that what was added wins.

    Args:
        path: the file.
        row: as an entry of a file of prices.

    Returns:
        What was added.

    Raises:
        PriceError: for a wrong entry, or a file that cannot be read, written or added to; then it stays as it was.

    """
    goal = path.expanduser().resolve()  # a link stays a link
    if goal.suffix.lower() == ".json":
        raise PriceError(f"{path} is JSON; expected a TOML file to add to")
    read_entry(row, "the new price")
    before = _text(path, goal)
    entry = "".join(["[[prices]]\n", *(f"{name} = {_value(value)}\n" for name, value in row.items())])
    gap = "" if not before else "\n" if before.endswith("\n") else "\n\n"
    after = before + gap + entry
    _require_only_added(path, before, after, row)
    mode = goal.stat().st_mode & 0o777 if goal.exists() else _MODE
    try:
        with WholeFile(goal, may_replace=True) as whole:
            whole.file.write(after.encode())
            os.fchmod(whole.file.fileno(), mode)
    except StoreError as error:
        raise PriceError(str(error)) from error
    return entry


def _text(path: Path, goal: Path) -> str:
    """What the file says so far; nothing where there is none yet."""
    if not goal.parent.is_dir():
        raise PriceError(f"{path} is in a folder that does not exist")
    if not goal.exists():
        return ""
    text = goal.read_bytes().decode("utf-8", "replace")
    if _rows(text) != []:
        read_file(goal)  # says what is wrong with it
    return goal.read_bytes().decode()  # with its own ends of lines


def _rows(text: str) -> Any:
    """The entries of a file; an empty list where it has nothing at all."""
    try:
        content = tomllib.loads(text)
    except ValueError:
        return None
    return content.get("prices", None if content else [])


def _require_only_added(path: Path, before: str, after: str, row: Mapping[str, Any]) -> None:
    if _rows(after) != [*(_rows(before) or ()), dict(row)]:
        raise PriceError(f"{path} cannot be added to: its prices are no tables [[prices]]; nothing was written")


def _value(value: object) -> str:
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False).replace(_DELETE, "\\u007f")


def moment_value(moment: datetime) -> date | datetime:
    """A moment as a person would write it: the day where it is a day's first."""
    return moment.date() if moment.timetz() == time(tzinfo=moment.tzinfo) else moment
