"""What is one row of a file? Values by columns, or what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ("Row",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row, or what is wrong with it."""

    number: int
    """Its line in a text, its place in other files; from 1 on."""
    values: Mapping[str, Any] | None = None
    problem: str | None = None
