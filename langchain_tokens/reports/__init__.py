"""How is it shown, and what does it mean? Reports over a store, a handler or a run; one module for each.

Names are loaded when they are first used, so that a report costs nothing before it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_tokens.reports.inputs import InputShare, InputShares, input_shares
    from langchain_tokens.reports.profiling import Profile, profile
    from langchain_tokens.reports.waste import Finding, Findings, Wasted, findings

__all__ = (
    "Finding",
    "Findings",
    "InputShare",
    "InputShares",
    "Profile",
    "Wasted",
    "findings",
    "input_shares",
    "profile",
)

_HOMES = {
    "Finding": "waste",
    "Findings": "waste",
    "InputShare": "inputs",
    "InputShares": "inputs",
    "Profile": "profiling",
    "Wasted": "waste",
    "findings": "waste",
    "input_shares": "inputs",
    "profile": "profiling",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted((*globals(), *__all__))
