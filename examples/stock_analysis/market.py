"""What is being analysed? Daily prices of shares that do not exist: a random walk, the same every time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from statistics import fmean

__all__ = ("SYMBOLS", "Bar", "History", "average", "describe_indicators", "make_history")

SYMBOLS = ("ACME", "GLOBEX", "INITECH", "HOOLI")
LAST_DAY = date(2025, 10, 31)
DAYS = 60
SATURDAY = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What was paid on one day, and how many shares changed hands."""

    day: date
    open: float
    high: float
    low: float
    close: float
    volume: int


History = Sequence[Bar]


def make_history(symbol: str, days: int = DAYS) -> History:
    """Return as many trading days, oldest first, the last one being `LAST_DAY`."""
    dice = random.Random(symbol)  # noqa: S311 - sample prices, the same every time
    price = dice.uniform(40, 160)
    drift = dice.uniform(-0.002, 0.004)
    bars = []
    for day in _trading_days(days):
        opened, closed = price, price * (1 + dice.gauss(drift, 0.018))
        high, low = max(opened, closed) * (1 + dice.random() * 0.01), min(opened, closed) * (1 - dice.random() * 0.01)
        volume = round(1_000_000 * (0.6 + dice.random()) * (1 + 20 * abs(closed / opened - 1)))
        prices = {"open": opened, "high": high, "low": low, "close": closed}
        bars.append(Bar(day=day, volume=volume, **{name: round(value, 2) for name, value in prices.items()}))
        price = closed
    return bars


def average(history: History, days: int) -> float:
    """Return the mean closing price of the last days."""
    return fmean(bar.close for bar in history[-days:])


def describe_indicators(history: History) -> str:
    """Return what the indicators say, a line for each, as a prompt has them."""
    last = history[-1]
    volumes = [bar.volume for bar in history]
    lines = [
        f"close {last.close:.2f} on {last.day}",
        f"SMA 20 {average(history, 20):.2f}",
        f"SMA 50 {average(history, 50):.2f}",
        f"RSI 14 {_strength(history, 14):.1f}",
        f"range of 60 days {min(bar.low for bar in history):.2f} to {max(bar.high for bar in history):.2f}",
        f"volume {last.volume:,}, {last.volume / fmean(volumes):.2f} times the mean",
    ]
    return "\n".join(lines)


def _strength(history: History, days: int) -> float:
    """Return the relative strength index, 0 to 100, by plain means."""
    closes = [bar.close for bar in history[-days - 1 :]]
    moves = [later - earlier for earlier, later in pairwise(closes)]
    gains, losses = sum(move for move in moves if move > 0), -sum(move for move in moves if move < 0)
    return 100.0 if losses == 0 else 100 - 100 / (1 + gains / losses)


def _trading_days(days: int) -> list[date]:
    back = (LAST_DAY - timedelta(days=number) for number in range(days * 2))
    return sorted([day for day in back if day.weekday() < SATURDAY][:days])
