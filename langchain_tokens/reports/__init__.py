"""How is it shown, and what does it mean? Reports over a store, a handler or a run; one module for each.

Names are loaded when they are first used, so that a report costs nothing before it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_tokens.reports.glance import Overview, overview
    from langchain_tokens.reports.html import html_report
    from langchain_tokens.reports.profiling import Profile, profile

__all__ = (
    "Overview",
    "Profile",
    "html_report",
    "overview",
    "profile",
)

_HOMES = {
    "Overview": "glance",
    "Profile": "profiling",
    "html_report": "html",
    "overview": "glance",
    "profile": "profiling",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted((*globals(), *__all__))
