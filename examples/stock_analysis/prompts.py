"""What is the model asked in each step? The system's message of each chain."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ("PROMPTS",)

PROMPTS: Mapping[str, str] = {
    "indicator_summary": "You summarise technical indicators of a share in two sentences. Name trend and momentum.",
    "comprehensive_overview": "You read a chart of candles, volume and a 20-day average. Describe the whole trend.",
    "volume_analysis": "You read a chart of daily volume. Say whether volume confirms the price.",
    "reversal_patterns": "You read a chart of candles. Name reversal patterns, or say that there are none.",
    "continuation_levels": "You read a chart with support in green and resistance in red. Name the levels that matter.",
    "final_decision": (
        "You decide: BUY, HOLD or SELL, with one reason. Findings that are not available do not count for either side."
    ),
}
"""Chain → the system's message."""
