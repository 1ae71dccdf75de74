"""What can go wrong? One tree of errors, each with a sentence on when it happens.

TokensError
├── QueryError            a question that cannot be answered as asked
├── StoreError            a store that cannot be opened, read or written
│   └── SchemaError       a database whose schema is not the one this version needs
├── UsageShapeError       a response or usage object of no known shape
├── UnknownRunError       a run that neither the memory nor the store knows
├── SettingsError         a setting in pyproject.toml that cannot be one
├── PriceError            a price, or a list of prices, that cannot be used
├── DashboardError        a dashboard that cannot be served as asked
├── FormatError           a file that holds nothing that is known, or is broken
├── BudgetError           a budget, or a file of budgets, that cannot be used
├── BudgetExceeded        a call that a budget stopped before it was made
└── MissingExtraError     a part of the package whose extra is not installed
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

__all__ = (
    "BudgetError",
    "BudgetExceeded",
    "DashboardError",
    "FormatError",
    "MissingExtraError",
    "PriceError",
    "QueryError",
    "SchemaError",
    "SettingsError",
    "StoreError",
    "TokensError",
    "UnknownRunError",
    "UsageShapeError",
)


class TokensError(Exception):
    """Root of all errors that are raised on purpose; the text says what was found and what was expected."""


class QueryError(TokensError, ValueError):
    """Raised when a dimension, a filter or a time range is not one that can be asked for."""


class StoreError(TokensError):
    """Raised when a store's URL is wrong, its file is not a database, or it cannot be reached."""


class SchemaError(StoreError):
    """Raised when a database's schema is older or newer than this version needs, or its tables are not ours."""


class UsageShapeError(TokensError, ValueError):
    """Raised when a response or usage object has none of the known shapes."""


class UnknownRunError(TokensError, LookupError):
    """Raised when a run is asked for that neither this handler nor its store has seen."""


class SettingsError(TokensError, ValueError):
    """Raised when `[tool.langchain_tokens]` in pyproject.toml has a setting that there is not, or of a wrong type."""


class PriceError(TokensError, ValueError):
    """Raised when a file of prices cannot be read, a price is not one, or newer prices cannot be fetched."""


class DashboardError(TokensError, ValueError):
    """Raised when a dashboard cannot be served as asked: a token that can be guessed, a port that is in use."""


class FormatError(TokensError, ValueError):
    """Raised when a file that is to be imported holds nothing of a known form, or cannot be read to its end."""


class BudgetError(TokensError, ValueError):
    """Raised when a budget says what cannot be, or a file of budgets cannot be read."""


class BudgetExceeded(TokensError, RuntimeError):  # noqa: N818  # a name of the contract
    """Raised when a budget stops a call: before it is made, so that it costs nothing.

    A `RuntimeError`, which LangGraph's default retry policy does not try again. Amounts are US dollars (Decimal),
    tokens or calls (int), as `unit` says; `asked` is None where the call has no price.
    """

    budget: str = ""
    """The budget's name."""
    unit: str = "usd"
    """What the amounts are: `usd`, `tokens` or `calls`."""
    reason: str = "limit"
    """`limit`; `unpriced`, where the budget blocks calls without a price; `unreachable`, where the database did not
    answer and the budget stops then."""
    limit: Decimal | int = 0
    spent: Decimal | int = 0
    reserved: Decimal | int = 0
    """What calls that go on now may still need, at most."""
    asked: Decimal | int | None = None
    """What this call might have needed, at most."""
    scope: Mapping[str, str | None] = {}  # a default that nobody changes
    """For whom it is counted, such as `{"session": "s1"}`; empty for all calls."""
    call_id: str | None = None
    run_id: str | None = None
    session: str | None = None
    chain: str | None = None
    agent: str | None = None
    path: str | None = None

    def __init__(self, message: str = "", facts: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.__dict__.update(facts or {})


class MissingExtraError(TokensError, ImportError):
    """Raised when a part of the package is used whose extra is not installed; names the extra."""
