"""Which one is meant by the beginning of an id? The only one that begins so."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_tokens.errors import QueryError

__all__ = ("ENOUGH", "beginning", "require_one")

_SHOWN = 5
ENOUGH = _SHOWN + 1
"""Ids that begin so, of which has to be known for `require_one`."""
_GOES_ON = "…"


def beginning(said: str) -> str:
    """What an id begins with, as it was typed, or copied from a narrow table."""
    return said.strip().removesuffix(_GOES_ON)


def require_one(kind: str, start: str | None, ids: Sequence[str]) -> None:
    """Refuse several ids that begin so; `kind` is whose they are, such as `run`.

    Raises:
        QueryError: for several, the first of which it names.

    """
    if len(ids) > 1:
        named = ", ".join(ids[:_SHOWN]) + (" …" if len(ids) > _SHOWN else "")
        raise QueryError(f"several {kind}s' ids begin with {start!r}: {named}")
