"""Which budgets are written in a file? TOML, a table `[[budget]]` for each, with the arguments of `Budget`."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from string import Template
from typing import Any, TypeVar

from langchain_tokens.budgets import Budget
from langchain_tokens.errors import BudgetError
from langchain_tokens.webhook import Webhook

__all__ = ("VARIABLE", "load", "read_budgets")

VARIABLE = "LANGCHAIN_TOKENS_BUDGETS"
_OPTIONS = tuple(item.name for item in fields(Budget) if item.init and item.name != "alert")
_WEBHOOK = ("url", "timeout", "retries", "headers")
Kind = TypeVar("Kind", bound=Budget)


def load(kind: type[Kind], path: str | Path | None) -> tuple[Kind, ...]:
    """Read a file, or the one that the environment names; no budgets where it names none.

    Raises:
        BudgetError: when it cannot be read, or a budget in it is wrong.

    """
    named = path if path is not None else os.environ.get(VARIABLE)
    if not named:
        return ()
    place = Path(named).expanduser()
    try:
        content = tomllib.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = (error.strerror or error) if isinstance(error, OSError) else f"it is no TOML: {error}"
        raise BudgetError(f"the budgets in {place} cannot be read: {why}") from error
    unknown = [key for key in content if key != "budget"]
    tables = content.get("budget", [])
    if unknown or not isinstance(tables, list) or not tables:
        raise BudgetError(f"{place} has {', '.join(map(repr, content)) or 'nothing'}; expected tables [[budget]] only")
    return read_budgets(kind, tables, str(place))


def read_budgets(kind: type[Kind], tables: list[Any], place: str) -> tuple[Kind, ...]:
    """Make budgets of tables of a file.

    Raises:
        BudgetError: for the first wrong one.

    """
    return tuple(_budget(kind, table, f"{place}, budget {number}") for number, table in enumerate(tables, 1))


def _budget(kind: type[Kind], table: object, place: str) -> Kind:
    if not isinstance(table, Mapping):
        raise BudgetError(f"{place}: found {table!r}; expected a table")
    said = dict(table)
    webhook = said.pop("webhook", None)
    unknown = [key for key in said if key not in _OPTIONS]
    if unknown:
        raise BudgetError(f"{place}: found {unknown[0]!r}; allowed: {', '.join((*_OPTIONS, 'webhook'))}")
    for name in ("per", "warn_at"):
        if isinstance(said.get(name), list):
            said[name] = tuple(said[name])
    try:
        hooks = () if webhook is None else (_webhook(webhook),)
        return kind(**said, alert=hooks)
    except BudgetError as error:
        raise BudgetError(f"{place}: {error}") from error


def _webhook(said: object) -> Webhook:
    """A webhook: its URL, or a table. `${NAME}` in its texts is the environment's, so that no secret is in the file."""
    table = {"url": said} if isinstance(said, str) else said
    if not isinstance(table, Mapping) or not set(table) <= set(_WEBHOOK):
        raise BudgetError(f"webhook: expected a URL, or a table with {', '.join(_WEBHOOK)}")  # may hold a secret
    return Webhook(**{name: _filled(value) for name, value in table.items()})


def _filled(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _filled(item) for name, item in value.items()}
    if not isinstance(value, str):
        return value
    try:
        return Template(value).substitute(os.environ)
    except KeyError as error:
        raise BudgetError(f"webhook: the environment has no variable {error.args[0]!r}") from None
    except ValueError:
        raise BudgetError("webhook: a $ stands alone; expected ${NAME}, or $$ for a $") from None
