"""What came of an import? How many rows became calls, were there already, or were refused, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from langchain_tokens.render import clean, counted

__all__ = ("Imported", "Refused", "Tally")

_KEPT: Final = 1_000
"""Refusals that are kept with their reasons; more are counted only."""
_SHOWN: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A row that was refused."""

    row: int
    """Its line in a text, its place in other files; from 1 on."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What came of an import; prints as text."""

    source: str
    """The file, or `results`."""
    format: str
    rows: int
    """How many rows were read."""
    stored: int
    """Calls that were stored, or would be."""
    corrected: int
    """Calls that were stored in an earlier state, and are corrected."""
    there: int
    """Calls that were there already, under their id or with the same answer of the provider."""
    runs: int
    """Runs of an export that were stored, beside the calls."""
    skipped: int
    """Rows that are no calls."""
    undated: int
    """Calls that name no time; they got the file's."""
    refused_rows: int
    refused: Sequence[Refused]
    """The first 1,000 refused rows."""
    is_dry_run: bool

    def __str__(self) -> str:
        verb = "would be stored" if self.is_dry_run else "stored"
        counts = (
            (self.corrected, "corrected"),
            (self.there, "there already"),
            (self.skipped, "no calls"),
            (self.refused_rows, "refused"),
        )
        runs = f" with {counted(self.runs, 'run')}" if self.runs else ""
        calls = f"{counted(self.stored, 'call')}{runs} {verb}"
        said = ", ".join([counted(self.rows, "row"), calls, *(f"{count:,} {what}" for count, what in counts if count)])
        lines = [f"{clean(self.source)} ({self.format}): {said}"]
        lines += [f"  row {refused.row:,}: {clean(refused.reason)}" for refused in self.refused[:_SHOWN]]
        if self.refused_rows > _SHOWN:
            lines.append(f"  and {self.refused_rows - _SHOWN:,} more refused rows")
        if self.undated:
            lines.append(f"  {counted(self.undated, 'call')} without a time got that of the file")
        return "\n".join(lines)


@dataclass(slots=True, kw_only=True)
class Tally:
    """The same while the import goes on."""

    rows: int = 0
    stored: int = 0
    corrected: int = 0
    there: int = 0
    runs: int = 0
    skipped: int = 0
    undated: int = 0
    refused_rows: int = 0
    refused: list[Refused] = field(default_factory=list)

    def refuse(self, row: int, reason: str) -> None:
        """Note a refused row."""
        self.refused_rows += 1
        if len(self.refused) < _KEPT:
            self.refused.append(Refused(row=row, reason=" ".join(reason.split())))

    def ended(self, source: str, form: str, *, is_dry_run: bool) -> Imported:
        """What came of it."""
        counts = {name: getattr(self, name) for name in self.__slots__ if name != "refused"}
        return Imported(source=source, format=form, refused=tuple(self.refused), is_dry_run=is_dry_run, **counts)
