"""How does an answer become a table of another library? Arrow's columns with exact types, and what is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from langchain_tokens.errors import MissingExtraError

__all__ = ("arrow_table", "polars_frame")

_MONEY = (38, 12)
"""Digits of an amount and of its fraction, as exports have it."""


def arrow_table(kinds: Mapping[str, str], records: Sequence[Mapping[str, Any]]) -> Any:
    """A `pyarrow.Table` whose columns have the same types whatever is in them, also where all is unknown.

    Args:
        kinds: each column, and whether it is `text`, `whole`, `money` or a `number`.
        records: the rows.

    Raises:
        MissingExtraError: without the extra `export`.

    """
    try:
        pyarrow: Any = import_module("pyarrow")
    except ImportError as error:
        raise MissingExtraError("to_arrow() needs pyarrow: pip install 'langchain_tokens[export]'") from error
    types = {
        "text": pyarrow.string(),
        "whole": pyarrow.int64(),
        "money": pyarrow.decimal128(*_MONEY),
        "number": pyarrow.float64(),
    }
    schema = pyarrow.schema([(name, types[kind]) for name, kind in kinds.items()])
    return pyarrow.Table.from_pylist(list(records), schema=schema)


def polars_frame(kinds: Mapping[str, str], records: Sequence[Mapping[str, Any]]) -> Any:
    """The same as a `polars.DataFrame`.

    Raises:
        MissingExtraError: without polars, or the extra `export`.

    """
    try:
        polars: Any = import_module("polars")
    except ImportError as error:
        raise MissingExtraError("to_polars() needs polars: pip install polars 'langchain_tokens[export]'") from error
    return polars.from_arrow(arrow_table(kinds, records))
