"""What are columns called elsewhere? Our names for those of a file, and values for all of its rows."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langchain_tokens.errors import FormatError

__all__ = ("Renaming", "read_mapping")

_TABLES = ("columns", "constants")


@dataclass(frozen=True, slots=True, kw_only=True)
class Renaming:
    """How a row is read."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Our name → the file's."""
    constants: Mapping[str, Any] = field(default_factory=dict)
    """Our name → a value, for rows that have none."""

    def apply(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """A row with our names."""
        if not self.columns and not self.constants:
            return values
        theirs = set(self.columns.values())
        kept = {name: value for name, value in values.items() if name not in theirs}
        renamed = {ours: values[name] for ours, name in self.columns.items() if name in values}
        return {
            **self.constants,
            **{name: value for name, value in {**kept, **renamed}.items() if value not in (None, "")},
        }


def read_mapping(mapping: str | Path | Mapping[str, Any] | None) -> Renaming:
    """Check a mapping, or read one from a TOML file.

    Raises:
        FormatError: when the file cannot be read, or the mapping says something else than `columns` and `constants`.

    """
    if mapping is None:
        return Renaming()
    where = "the mapping" if isinstance(mapping, Mapping) else str(mapping)
    said = mapping if isinstance(mapping, Mapping) else _read(Path(mapping))
    unknown = sorted(set(said) - set(_TABLES))
    if unknown or not said:
        found = f"has {unknown[0]!r}" if unknown else "is empty"
        raise FormatError(f'{where} {found}; expected [columns] (ours = "theirs") and [constants] (ours = value)')
    for table in said:
        if not isinstance(said[table], Mapping):
            raise FormatError(f"{where}: {table} is a {type(said[table]).__name__}; expected a table")
    for ours, theirs in said.get("columns", {}).items():
        if not isinstance(theirs, str):
            raise FormatError(f"{where}: columns.{ours} is {theirs!r}; expected the name of a column")
    return Renaming(columns=dict(said.get("columns", {})), constants=dict(said.get("constants", {})))


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise FormatError(f"{path} could not be read: {error.strerror or error}") from error
    except ValueError as error:  # no UTF-8, no TOML, or a path with a NUL
        raise FormatError(f"{path} is no TOML: {error}") from error
