"""What can go wrong? One tree of errors, each with a sentence on when it happens.

TokensError
├── QueryError            a question that cannot be answered as asked
├── StoreError            a store that cannot be opened, read or written
│   └── SchemaError       a database whose schema is not the one this version needs
├── UsageShapeError       a response or usage object of no known shape
├── UnknownRunError       a run that neither the memory nor the store knows
├── SettingsError         a setting in pyproject.toml that cannot be one
├── PriceError            a price, or a list of prices, that cannot be used
├── FormatError           a file that holds nothing that is known, or is broken
└── MissingExtraError     a part of the package whose extra is not installed
"""

from __future__ import annotations

__all__ = (
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


class FormatError(TokensError, ValueError):
    """Raised when a file that is to be imported holds nothing of a known form, or cannot be read to its end."""


class MissingExtraError(TokensError, ImportError):
    """Raised when a part of the package is used whose extra is not installed; names the extra."""
