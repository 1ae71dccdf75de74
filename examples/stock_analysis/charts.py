"""What does a model see? Charts of 1024 by 1024 pixels, drawn here and written as PNG with nothing but zlib."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Callable, Mapping

from examples.stock_analysis.market import History, average

__all__ = ("CHARTS", "SIZE", "draw_chart", "image_block")

SIZE = 1024
"""Pixels of each side: what GPT-4o bills as four tiles of 512."""
MARGIN = 32
WHITE, GREY, GREEN, RED, BLUE = range(5)
PALETTE = bytes([255, 255, 255, 190, 190, 190, 30, 150, 70, 200, 50, 40, 40, 80, 200])


class Canvas:
    """A picture with a palette, on which prices of one history are drawn from left to right.

    Arguments:
        history: The prices; the lowest and the highest of them fit.
        bottom: The lowest row that prices take.

    """

    def __init__(self, history: History, bottom: int = SIZE - MARGIN) -> None:
        self.pixels = bytearray(SIZE * SIZE)
        self.history = history
        self.low, self.high = min(bar.low for bar in history), max(bar.high for bar in history)
        self.bottom = bottom
        self.step = (SIZE - 2 * MARGIN) // len(history)

    def box(self, left: int, top: int, right: int, bottom: int, colour: int) -> None:
        """Fill a box, its right and bottom edge left out; at least a pixel of it."""
        width = max(1, right - left)
        for row in range(top, max(top + 1, bottom)):
            start = row * SIZE + left
            self.pixels[start : start + width] = bytes([colour]) * width

    def row_of(self, price: float) -> int:
        """Return where a price is drawn."""
        return self.bottom - round((price - self.low) / (self.high - self.low) * (self.bottom - MARGIN))

    def candles(self) -> None:
        """Draw each day's range and body."""
        for number, bar in enumerate(self.history):
            left, colour = MARGIN + number * self.step, GREEN if bar.close >= bar.open else RED
            middle = left + self.step // 2
            self.box(middle, self.row_of(bar.high), middle + 2, self.row_of(bar.low), colour)
            top, bottom = sorted((self.row_of(bar.open), self.row_of(bar.close)))
            self.box(left + 2, top, left + self.step - 2, bottom, colour)

    def volumes(self, top: int) -> None:
        """Draw bars of volume from the bottom up to a row."""
        most = max(bar.volume for bar in self.history)
        for number, bar in enumerate(self.history):
            left = MARGIN + number * self.step
            height = round(bar.volume / most * (SIZE - MARGIN - top))
            self.box(left + 2, SIZE - MARGIN - height, left + self.step - 2, SIZE - MARGIN, GREY)

    def average_line(self, days: int) -> None:
        """Draw a moving average."""
        for number in range(days, len(self.history)):
            row = self.row_of(average(self.history[: number + 1], days))
            self.box(MARGIN + number * self.step, row, MARGIN + (number + 1) * self.step, row + 3, BLUE)

    def level(self, price: float, colour: int) -> None:
        """Draw a line across at a price."""
        row = self.row_of(price)
        self.box(MARGIN, row, SIZE - MARGIN, row + 2, colour)

    def to_png(self) -> bytes:
        """Return the picture as a PNG file."""
        rows = b"".join(b"\0" + self.pixels[start : start + SIZE] for start in range(0, SIZE * SIZE, SIZE))
        header = struct.pack(">IIBBBBB", SIZE, SIZE, 8, 3, 0, 0, 0)
        parts = ((b"IHDR", header), (b"PLTE", PALETTE), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _overview(history: History) -> Canvas:
    canvas = Canvas(history, bottom=SIZE * 3 // 4)
    canvas.volumes(top=SIZE * 4 // 5)
    canvas.candles()
    canvas.average_line(20)
    return canvas


def _volume(history: History) -> Canvas:
    canvas = Canvas(history, bottom=SIZE // 2)
    canvas.volumes(top=SIZE * 5 // 9)
    canvas.average_line(1)
    return canvas


def _reversal(history: History) -> Canvas:
    canvas = Canvas(history)
    canvas.candles()
    return canvas


def _continuation(history: History) -> Canvas:
    canvas = Canvas(history)
    canvas.level(min(bar.low for bar in history[-20:]), GREEN)
    canvas.level(max(bar.high for bar in history[-20:]), RED)
    canvas.candles()
    return canvas


CHARTS: Mapping[str, Callable[[History], Canvas]] = {
    "comprehensive_overview": _overview,
    "volume_analysis": _volume,
    "reversal_patterns": _reversal,
    "continuation_levels": _continuation,
}
"""Chain → what draws its chart."""


def draw_chart(history: History, chain: str) -> bytes:
    """Return the chart that a chain looks at, as a PNG file."""
    return CHARTS[chain](history).to_png()


def image_block(picture: bytes) -> dict[str, str]:
    """Return a PNG as a content block of a message, in LangChain's form for all providers."""
    return {"type": "image", "base64": base64.b64encode(picture).decode(), "mime_type": "image/png"}


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
