"""Who answers when there is no key and no network? A script that reads the real prompts, and fails as providers do."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage

from examples.scripted import Ledger, LedgerModel
from examples.stock_analysis.prompts import PROMPTS

__all__ = ("FAILS", "SAYS_NO_USAGE", "STANDS_IN_FOR", "ProviderError", "ScriptedAnalyst")

STANDS_IN_FOR = "gpt-4o"
FAILS = ("GLOBEX", "reversal_patterns")
"""The share and the chain whose call the provider refuses."""
SAYS_NO_USAGE = ("INITECH", "volume_analysis")
"""The share and the chain whose answer comes without token counts."""
_STEPS = {prompt: name for name, prompt in PROMPTS.items()}
_PNG = b"\x89PNG\r\n\x1a\n"


class ProviderError(RuntimeError):
    """Raised as a provider's client raises: the server could not answer."""


class ScriptedAnalyst(LedgerModel):
    """Answers in place of a model that reads texts and charts.

    Arguments:
        ledger: What it used, by its own count.

    """

    def __init__(self, ledger: Ledger | None = None) -> None:
        super().__init__(_answer, ledger=ledger, step_of=_step, model=STANDS_IN_FOR, latency_seconds=0.02)

    def _answer(self, messages: Sequence[BaseMessage], more: Mapping[str, Any]) -> AIMessage:
        said = super()._answer(messages, more)
        is_silent = (_symbol(messages), _step(messages)) == SAYS_NO_USAGE
        return said.model_copy(update={"usage_metadata": None}) if is_silent else said


def _step(messages: Sequence[BaseMessage]) -> str:
    return _STEPS[str(messages[0].text)]


def _symbol(messages: Sequence[BaseMessage]) -> str:
    return _found(r"Share: (\w+)", str(messages[1].text))


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise ProviderError(f"400 Bad Request: the prompt does not say {pattern}")
    return match[1]


def _answer(messages: Sequence[BaseMessage]) -> str | BaseException:
    symbol, step, text = _symbol(messages), _step(messages), str(messages[1].text)
    if (symbol, step) == FAILS:
        return ProviderError("503 Service Unavailable: the model is overloaded")
    if step == "indicator_summary":
        return _summary(symbol, text)
    if step == "final_decision":
        return _decision(symbol, text)
    return f"{_chart_side(messages)} by {_chart_side(messages)} pixels, read for {symbol}: {_READINGS[step]}"


def _summary(symbol: str, text: str) -> str:
    close, mean = (float(_found(rf"{name} ([\d.]+)", text)) for name in ("close", "SMA 50"))
    strength = float(_found(r"RSI 14 ([\d.]+)", text))
    side = "above" if close > mean else "below"
    return (
        f"{symbol} closes {side} its 50-day average of {mean:.2f}, so the trend is {'up' if close > mean else 'down'}. "
        f"Momentum is {'strong' if strength > 60 else 'weak' if strength < 40 else 'even'} at {strength:.1f}."  # noqa: PLR2004
    )


def _decision(symbol: str, text: str) -> str:
    word = "BUY" if "trend is up" in text else "HOLD"
    missing = re.findall(r"^(\w+): not available", text, re.MULTILINE)
    without = f" Not counted: {', '.join(missing)}." if missing else ""
    return f"{word} {symbol}: that is where the trend points, and volume agrees.{without}"


def _chart_side(messages: Sequence[BaseMessage]) -> int:
    """Return the width of the picture that was really sent, from its own header."""
    (block,) = [part for part in messages[1].content if isinstance(part, dict) and part["type"] == "image"]
    picture = base64.b64decode(block["base64"])
    if not picture.startswith(_PNG):
        raise ProviderError("400 Bad Request: the picture is no PNG")
    return int.from_bytes(picture[16:20], "big")


_READINGS = {
    "comprehensive_overview": "the candles keep to one side of the average for most of the range, with two pauses.",
    "volume_analysis": "volume rises on days of large moves in the trend's direction, so it confirms the price.",
    "reversal_patterns": "no double top and no head and shoulders; one hammer that the next day did not confirm.",
    "continuation_levels": "support at the low of twenty days holds three tests; resistance is the high of that range.",
}
