"""Which prices and names does the user bring along? Arguments and files, checked, and what the package ships itself."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from langchain_tokens.errors import PriceError
from langchain_tokens.pricing.pricefile import read_entries, read_file
from langchain_tokens.pricing.pricelist import Entry
from langchain_tokens.trouble import LOGGER

__all__ = ("VARIABLE", "name_set", "own_entries", "shipped_entries", "text_table")

VARIABLE: Final = "LANGCHAIN_TOKENS_PRICES"


def name_set(argument: str, names: object) -> frozenset[str]:
    """Names given as an argument.

    Raises:
        PriceError: when they are not a collection of text.

    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise PriceError(f"found {argument}={names!r}, expected a set or list of names")
    held = list(names)
    if not all(isinstance(name, str) for name in held):
        raise PriceError(f"found {argument}={held!r}, expected names as text")
    return frozenset(held)


def text_table(argument: str, texts: object) -> Mapping[str, str]:
    """A mapping of text to text given as an argument, or an empty one for None.

    Raises:
        PriceError: when it is something else.

    """
    if texts is None:
        return {}
    if not isinstance(texts, Mapping) or not all(isinstance(item, str) for pair in texts.items() for item in pair):
        raise PriceError(f"found {argument}={texts!r}, expected a mapping of text to text")
    return texts


def own_entries(prices: Path | str | Iterable[Mapping[str, Any]] | None) -> tuple[Entry, ...]:
    """The user's entries; a wrong one is left out with a warning.

    Args:
        prices: a file, or mappings; None reads the file that the environment variable names.

    Raises:
        PriceError: when the file given here cannot be read, or `prices` is something else.

    """
    named = os.environ.get(VARIABLE) if prices is None else None
    if isinstance(prices, (Path, str)):
        found = read_file(Path(prices).expanduser())
    elif named:
        try:
            found = read_file(Path(named).expanduser())
        except PriceError as error:
            LOGGER.warning("%s (from %s): no own prices are used", error, VARIABLE)
            return ()
    elif prices is None:
        return ()
    elif isinstance(prices, Mapping) or not isinstance(prices, Iterable):
        raise PriceError(f"found {type(prices).__name__} for prices, expected a file's path or a list of entries")
    else:
        found = read_entries(prices, "prices")
    for item in found:
        if isinstance(item, PriceError):
            LOGGER.warning("a price is skipped: %s", item)
    return tuple(item for item in found if isinstance(item, Entry))


@functools.cache
def shipped_entries() -> tuple[Entry, ...]:
    """The corrections that the package brings along; read once, since every handler and `track()` asks for them."""
    from importlib.resources import files

    path = files("langchain_tokens") / "data" / "corrections.toml"
    return tuple(entry for entry in read_file(Path(str(path))) if isinstance(entry, Entry))
