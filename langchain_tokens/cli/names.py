"""Which model was meant? For a name that has no price, those that are near it."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from langchain_tokens.pricing.resolve import canonical

if TYPE_CHECKING:
    from langchain_tokens.prices import PriceBook

__all__ = ("near_models",)

_MOST = 3


def near_models(book: PriceBook, model: str, provider: str | None) -> str:
    """One sentence: no price is known, and what to ask for instead."""
    catalogue = book._loaded()
    owner = canonical(provider)
    said = f"no price is known for the model {model!r}" + ("" if provider is None else f" of {provider!r}")
    if owner is not None and owner not in catalogue.providers:
        near = get_close_matches(owner, catalogue.providers, _MOST)
        return f"{said}: nobody of that name is in the catalogue{_list('; near it: ', near)}; {_OWN}"
    if owner is not None and (elsewhere := book.rates(model)) is not None:
        return f"{said}; there is one of {elsewhere.provider!r}"
    owners = catalogue.providers if owner is None else (owner,)
    names = {name for each in owners for name in catalogue.models(each)}
    return f"{said}{_list('; near it: ', get_close_matches(model.lower(), names, _MOST))}; {_OWN}"


_OWN = "an own price helps: --prices FILE"


def _list(before: str, names: list[str]) -> str:
    return before + ", ".join(names) if names else ""
