"""What does a row of our own export say? The call or the run that it was, field by field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, get_args

from langchain_tokens.call import Call, CallStatus, PriceStatus, RetryKind, RunFact, RunStatus, UsageSource
from langchain_tokens.columns import COLUMNS, FILE_VERSION, RUN_COLUMNS, USAGE_COLUMNS
from langchain_tokens.importing.values import (
    MOST_USD,
    as_count,
    as_json,
    as_moment,
    as_money,
    as_number,
    as_truth,
    shown,
)
from langchain_tokens.names import checked_text
from langchain_tokens.render import from_spreadsheet
from langchain_tokens.usage import COUNTS, TokenUsage

__all__ = ("own_call", "own_run")

_LARGEST: Final = 2**63 - 1
_SMALL: Final = 2**31 - 1
_SMALL_COUNTS: Final = frozenset({"step", "attempt", "revision"})
"""What the columns hold."""
_ALLOWED: Final[Mapping[str, tuple[str, ...]]] = {
    "status": get_args(CallStatus),
    "retry_kind": get_args(RetryKind),
    "usage_source": get_args(UsageSource),
    "price_status": get_args(PriceStatus),
}
_NEEDED: Final = ("call_id", "run_id", "started_at", "status", "usage_source", "price_status", "attempt", "revision")
_TUPLES: Final = ("tool_calls", "usage_flags", "price_flags")
_NAMES: Final = frozenset({"session", "user", "mode", "agent", "chain", "path", "provider", "model", "requested_model"})
"""Texts of which an empty one is none, as sums count it."""
_LEFT_OUT: Final = frozenset({"tokens_per_second"})
"""What follows from the others."""


def own_call(values: Mapping[str, Any], *, is_csv: bool) -> Call:
    """The call in a row.

    Raises:
        ValueError, TokensError: for a value that cannot be.

    """
    _check_version(values)
    said = {name: _value(values.get(name), name, kind, is_csv=is_csv) for name, kind in COLUMNS.items()}
    for name in _NEEDED:
        if said[name] is None:
            raise ValueError(f"{name} is missing")
    for name, allowed in _ALLOWED.items():
        if said[name] is not None and said[name] not in allowed:
            raise ValueError(f"{name} is {shown(said[name])}; expected one of {', '.join(allowed)}")
    for name in _TUPLES:
        said[name] = tuple(_checked(said[name] or (), name, list, tuple))
    said["tags"] = _checked(said["tags"] or {}, "tags", dict)
    for name in ("raw_usage", "estimate_basis", "unit_prices", "price_context", "other_units"):
        said[name] = None if said[name] is None else _checked(said[name], name, dict)
    counts = {name: said.pop(name) for name in USAGE_COLUMNS}
    said["usage"] = None if all(value is None for value in counts.values()) else TokenUsage(**counts)
    said["saved_usage"] = None if said["saved_usage"] is None else _usage(said["saved_usage"])
    said["superseded"] = bool(said["superseded"])
    return Call(**{name: value for name, value in said.items() if name not in _LEFT_OUT})


def own_run(values: Mapping[str, Any]) -> RunFact:
    """The run in a row; otherwise as `own_call`."""
    _check_version(values)
    said = {name: _value(values.get(name), name, kind, is_csv=False) for name, kind in RUN_COLUMNS.items()}
    for name in ("run_id", "started_at", "status"):
        if said[name] is None:
            raise ValueError(f"{name} is missing")
    if said["status"] not in get_args(RunStatus):
        raise ValueError(f"status is {shown(said['status'])}; expected one of {', '.join(get_args(RunStatus))}")
    return RunFact(**{**said, "tags": _checked(said["tags"] or {}, "tags", dict)})


def _check_version(values: Mapping[str, Any]) -> None:
    version = values.get("schema_version", FILE_VERSION)
    if version != FILE_VERSION:
        raise ValueError(f"schema_version is {shown(version)}; this version of langchain_tokens reads {FILE_VERSION}")


def _value(value: Any, name: str, kind: str, *, is_csv: bool) -> Any:
    if kind == "text":
        text = _text(value, name, is_csv=is_csv)
        return text or None if name in _NAMES else text
    if kind == "count":
        return as_count(value, name, _SMALL if name in _SMALL_COUNTS else _LARGEST)
    return _READERS[kind](value, name)


def _text(value: Any, name: str, *, is_csv: bool) -> str | None:
    """A text as it was: an empty one is one, except for an empty cell of CSV."""
    if value is None or (is_csv and value == ""):
        return None
    return checked_text(name, from_spreadsheet(value) if is_csv else value)


def _usage(said: Any) -> TokenUsage:
    counts = _checked(said, "saved_usage", dict)
    unknown = sorted(set(counts) - USAGE_COLUMNS)
    if unknown:
        raise ValueError(f"saved_usage has the key {shown(unknown[0])}")
    read: dict[str, Any] = {
        name: as_count(value, f"saved_usage.{name}", _LARGEST) if name in COUNTS else value
        for name, value in counts.items()
    }
    return TokenUsage(**read)


def _checked(value: Any, name: str, *kinds: type) -> Any:
    if not isinstance(value, kinds):
        raise ValueError(f"{name} is {shown(value)}; expected a JSON {'object' if dict in kinds else 'list'}")  # noqa: TRY004  # data, not a programmer's mistake
    return value


_READERS: Final[Mapping[str, Callable[[Any, str], Any]]] = {
    "moment": as_moment,
    "number": lambda value, name: as_number(value, name, float(_LARGEST)),
    "money": lambda value, name: as_money(value, name, -MOST_USD),
    "truth": as_truth,
    "json": as_json,
}
