"""What is said where a command's options say nothing? The environment, then pyproject.toml here, then the default.

[tool.langchain_tokens]
db = "usage.db"            # --db, $LANGCHAIN_TOKENS_URL
tz = "Europe/Berlin"       # --tz, $LANGCHAIN_TOKENS_TZ
prices = "our-prices.toml" # --prices, $LANGCHAIN_TOKENS_PRICES
budgets = "budgets.toml"   # budget --file, $LANGCHAIN_TOKENS_BUDGETS
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from langchain_tokens.errors import SettingsError

__all__ = ("ENVIRONMENT", "setting")

ENVIRONMENT = {
    "db": "LANGCHAIN_TOKENS_URL",
    "tz": "LANGCHAIN_TOKENS_TZ",
    "prices": "LANGCHAIN_TOKENS_PRICES",
    "budgets": "LANGCHAIN_TOKENS_BUDGETS",
}
"""Each setting, and the variable of the environment that wins over the file."""
_FILE = "pyproject.toml"
_TABLE = "[tool.langchain_tokens]"
_MARK = b"langchain_tokens"


def setting(name: str) -> str | None:
    """What the environment says, else the file; None where neither says anything.

    Args:
        name: one of `ENVIRONMENT`.

    Raises:
        SettingsError: for a file whose table has an unknown setting, or one that is no text; or that is no TOML.

    """
    said = os.environ.get(ENVIRONMENT[name], "").strip()
    return said or _settings(Path(_FILE)).get(name)


def _settings(file: Path) -> dict[str, str]:
    """The settings of a file; of one that does not mention us nothing is read."""
    try:
        content = file.read_bytes()
    except OSError:
        return {}
    if _MARK not in content:
        return {}
    table = _table(file, content)
    for name, value in table.items():
        if name not in ENVIRONMENT:
            raise SettingsError(f"{_TABLE} in {file} has {name!r}; allowed: {', '.join(ENVIRONMENT)}")
        if not isinstance(value, str) or not value.strip():
            raise SettingsError(f"{name} of {_TABLE} in {file} is {value!r}; expected a text that says something")
    return table


def _table(file: Path, content: bytes) -> dict[str, Any]:
    import tomllib

    try:
        tools = tomllib.loads(content.decode("utf-8")).get("tool")
    except ValueError as error:  # no TOML, or no UTF-8
        raise SettingsError(f"{file} cannot be read: {error}") from error
    table = tools.get("langchain_tokens", {}) if isinstance(tools, dict) else {}
    if not isinstance(table, dict):
        raise SettingsError(f"{_TABLE} in {file} is {table!r}; expected a table")
    return table
