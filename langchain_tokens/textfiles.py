"""How is a call written as text? JSON Lines, one JSON document or CSV, a few calls at a time.

JSON Lines and the document hold runs too; each line or entry says by its `kind` which of the two it is.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC
from typing import IO, Any, Protocol

from langchain_tokens.call import Call, RunFact
from langchain_tokens.columns import COLUMNS, FILE_VERSION, call_record, json_text, run_record, value_of
from langchain_tokens.render import to_spreadsheet

__all__ = ("TEXT_FORMATS", "CallWriter")


class CallWriter(Protocol):
    """What writes calls into a file that is open; `finish` ends what it has begun."""

    holds_runs: bool

    def write(self, calls: Sequence[Call]) -> None:
        """Add calls."""

    def write_runs(self, runs: Sequence[RunFact]) -> None:
        """Add runs, after all calls."""

    def finish(self) -> None:
        """Write what is still to be written."""

    def abandon(self) -> None:
        """Let go of the file as it is."""


class _Text:
    def abandon(self) -> None:
        """Nothing is held."""


class _JsonLines(_Text):
    """A line for each call, then one for each run."""

    holds_runs = True

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, calls: Sequence[Call]) -> None:
        self._file.write("".join(f"{line}\n" for line in _call_entries(calls)).encode())

    def write_runs(self, runs: Sequence[RunFact]) -> None:
        self._file.write("".join(f"{line}\n" for line in _run_entries(runs)).encode())

    def finish(self) -> None:
        pass


class _JsonDocument(_Text):
    """One document with two lists; an entry stands on a line of its own."""

    holds_runs = True

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._before = f'{{"schema_version":{FILE_VERSION},"calls":[\n'
        self._is_in_runs = False

    def write(self, calls: Sequence[Call]) -> None:
        self._add(_call_entries(calls))

    def write_runs(self, runs: Sequence[RunFact]) -> None:
        self._begin_runs()
        self._add(_run_entries(runs))

    def finish(self) -> None:
        self._begin_runs()
        self._file.write(self._opening() + b"]}\n")

    def _add(self, entries: Iterator[str]) -> None:
        text = ",\n".join(entries)
        if text:
            self._file.write(f"{self._before}{text}".encode())
            self._before = ",\n"

    def _begin_runs(self) -> None:
        if not self._is_in_runs:
            self._file.write(self._opening() + b"],")
            self._before, self._is_in_runs = '"runs":[\n', True

    def _opening(self) -> bytes:
        """How the list begins, where it has no entry; the line's end, where it has."""
        return b"\n" if self._before == ",\n" else self._before.encode()


class _Csv(_Text):
    """A heading line, then a line for each call; an empty cell is unknown. Runs have no place in it."""

    holds_runs = False

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._lines = _Lines()
        # The library quotes a carriage return in a cell only where lines end with one.
        self._writer = csv.writer(self._lines, lineterminator="\r\n")
        self._writer.writerow(COLUMNS)

    def write(self, calls: Sequence[Call]) -> None:
        self._writer.writerows(_cells(call) for call in calls)
        self.finish()

    def write_runs(self, runs: Sequence[RunFact]) -> None:
        raise NotImplementedError

    def finish(self) -> None:
        self._file.write("".join(self._lines.held).encode())
        self._lines.held.clear()


class _Lines:
    """What the CSV library writes to; holds lines, each with the usual end."""

    def __init__(self) -> None:
        self.held: list[str] = []

    def write(self, line: str) -> None:
        self.held.append(line.removesuffix("\r\n") + "\n")


def _call_entries(calls: Iterable[Call]) -> Iterator[str]:
    return (json_text(_HEAD | {"kind": "call"} | call_record(call)) for call in calls)


def _run_entries(runs: Iterable[RunFact]) -> Iterator[str]:
    return (json_text(_HEAD | {"kind": "run"} | run_record(run)) for run in runs)


def _cells(call: Call) -> list[Any]:
    return [_cell(value_of(call, name), kind) for name, kind in COLUMNS.items()]


def _cell(value: Any, kind: str) -> Any:
    if value is None:
        return ""
    if kind == "text":
        return to_spreadsheet(value)
    if kind == "json":
        return json_text(value)
    if kind == "moment":
        return value.astimezone(UTC).isoformat()
    if kind == "truth":
        return "true" if value else "false"
    return format(value, "f") if kind == "money" else value


_HEAD = {"schema_version": FILE_VERSION}
TEXT_FORMATS: Mapping[str, Callable[[IO[bytes]], CallWriter]] = {
    "jsonl": _JsonLines,
    "json": _JsonDocument,
    "csv": _Csv,
}
"""Ending of a file's name → what writes such a file."""
