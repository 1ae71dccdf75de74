"""How is it shown, and what does it mean? Reports over a store, a handler or a run; one module for each.

Names are loaded when they are first used, so that a report costs nothing before it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_tokens.reports.anomalies import Unusual, UnusualReport, unusual
    from langchain_tokens.reports.comparison import Comparison, compare
    from langchain_tokens.reports.forecasting import Forecast, forecast
    from langchain_tokens.reports.habits import Patterns, patterns
    from langchain_tokens.reports.inputs import InputShare, InputShares, input_shares
    from langchain_tokens.reports.profiling import Profile, profile
    from langchain_tokens.reports.trends import Trend, trend
    from langchain_tokens.reports.waste import Finding, Findings, Wasted, findings

__all__ = (
    "Comparison",
    "Finding",
    "Findings",
    "Forecast",
    "InputShare",
    "InputShares",
    "Patterns",
    "Profile",
    "Trend",
    "Unusual",
    "UnusualReport",
    "Wasted",
    "compare",
    "findings",
    "forecast",
    "input_shares",
    "patterns",
    "profile",
    "trend",
    "unusual",
)

_HOMES = {
    "Comparison": "comparison",
    "Finding": "waste",
    "Findings": "waste",
    "Forecast": "forecasting",
    "InputShare": "inputs",
    "InputShares": "inputs",
    "Patterns": "habits",
    "Profile": "profiling",
    "Trend": "trends",
    "Unusual": "anomalies",
    "UnusualReport": "anomalies",
    "Wasted": "waste",
    "compare": "comparison",
    "findings": "waste",
    "forecast": "forecasting",
    "input_shares": "inputs",
    "patterns": "habits",
    "profile": "profiling",
    "trend": "trends",
    "unusual": "anomalies",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted((*globals(), *__all__))
