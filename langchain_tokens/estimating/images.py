"""How many tokens is a picture? Its size from the first bytes of the file, and the providers' published rules.

The rules are those of the providers' own guides. Where recorded answers contradict them, the measured figure stands
with a comment. No picture is decoded.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable
from math import ceil, sqrt
from typing import Final

__all__ = ("ASSUMED_SIZE", "ASSUMED_TOKENS", "ImageRule", "area", "flat", "openai_rule", "size_of", "squares")

ImageRule = Callable[[int, int, bool], int]
"""Width and height in pixels, and whether low detail was asked for → tokens."""

ASSUMED_SIZE: Final = (1024, 1024)
"""Pixels of a picture whose size cannot be known, such as one behind a URL."""
ASSUMED_TOKENS: Final = 1_000
"""Tokens of a picture for a model whose provider states no rule."""

_HEAD: Final = 400_000  # characters of base64 that are looked at; a JPEG's size may stand behind a preview


def tiles(base: int, each: int) -> ImageRule:
    """Count by tiles of 512 pixels, as OpenAI's GPT-4o and its successors do; low detail costs the base alone."""

    def count(width: int, height: int, low: bool) -> int:
        if low:
            return base
        scale = min(1.0, 2048 / max(width, height))
        scale = min(scale, 768 / min(width, height))
        return base + each * ceil(width * scale / 512) * ceil(height * scale / 512)

    return count


def patches(multiplier: float) -> ImageRule:
    """Count by patches of 32 pixels, at most 1,536 of them, as OpenAI's smaller models do."""

    def count(width: int, height: int, low: bool) -> int:  # noqa: ARG001
        number = ceil(width / 32) * ceil(height / 32)
        return ceil(min(number, 1_536) * multiplier)

    return count


def area(longest: int, most: int) -> ImageRule:
    """Count width by height over 750, as Anthropic does, after scaling to a longest side in pixels and most tokens."""

    def count(width: int, height: int, low: bool) -> int:  # noqa: ARG001
        scale = min(1.0, longest / max(width, height), sqrt(most * 750 / (width * height)))
        return ceil(width * scale * height * scale / 750)

    return count


def squares(each: int) -> ImageRule:
    """Count by squares of 768 pixels, as Gemini does; a picture within 384 pixels is one."""

    def count(width: int, height: int, low: bool) -> int:  # noqa: ARG001
        return each if max(width, height) <= 384 else each * ceil(width / 768) * ceil(height / 768)  # noqa: PLR2004

    return count


def flat(tokens: int) -> ImageRule:
    """Count every picture alike."""
    return lambda _width, _height, _low: tokens


# OpenAI's guide "Images and vision". gpt-5-mini and -nano are stated as 1.62 and 2.46; 1.2 and 1.5 were measured.
_OPENAI: Final[tuple[tuple[re.Pattern[str], ImageRule], ...]] = (
    (re.compile(r"gpt-4o-mini"), tiles(2_833, 5_667)),
    (re.compile(r"gpt-4\.1-mini"), patches(1.62)),
    (re.compile(r"gpt-4\.1-nano"), patches(2.46)),
    (re.compile(r"gpt-5.*-mini"), patches(1.2)),
    (re.compile(r"gpt-5.*-nano"), patches(1.5)),
    (re.compile(r"^o4-mini"), patches(1.72)),
    (re.compile(r"^o\d"), tiles(75, 150)),
    (re.compile(r"computer-use"), tiles(65, 129)),
    (re.compile(r"gpt-([5-9]|\d\d)"), tiles(70, 140)),
    (re.compile(r""), tiles(85, 170)),
)


def openai_rule(model: str) -> ImageRule:
    """Find the rule of one of OpenAI's models."""
    return next(rule for models, rule in _OPENAI if models.search(model))


def size_of(data: str | bytes) -> tuple[int, int] | None:
    """Read the size of a picture from its header.

    Args:
        data: The file, or its base64 text with or without `data:...;base64,` before it.

    Returns:
        Width and height in pixels; None if it is no PNG, JPEG, GIF or WebP, or says no size.

    """
    head = data[:_HEAD] if isinstance(data, bytes) else _decoded(data)
    for magic, read in _FORMATS:
        if head.startswith(magic):
            size = read(head)
            return size if size is not None and min(size) > 0 else None
    return None


def _decoded(text: str) -> bytes:
    start = text.find("base64,") + 7 if text.startswith("data:") else 0
    part = text[start : start + _HEAD].translate(str.maketrans("-_", "+/", "\r\n "))
    try:
        return b64decode(part[: len(part) // 4 * 4])
    except ValueError:
        return b""


def _number(head: bytes, start: int, width: int, order: str = "big") -> int:
    return int.from_bytes(head[start : start + width], "big" if order == "big" else "little")


def _png(head: bytes) -> tuple[int, int] | None:
    return _number(head, 16, 4), _number(head, 20, 4)


def _gif(head: bytes) -> tuple[int, int] | None:
    return _number(head, 6, 2, "little"), _number(head, 8, 2, "little")


def _webp(head: bytes) -> tuple[int, int] | None:
    kind = head[12:16]
    if kind == b"VP8X":
        return _number(head, 24, 3, "little") + 1, _number(head, 27, 3, "little") + 1
    if kind == b"VP8L":
        packed = _number(head, 21, 4, "little")
        return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        return _number(head, 26, 2, "little") & 0x3FFF, _number(head, 28, 2, "little") & 0x3FFF
    return None


def _jpeg(head: bytes) -> tuple[int, int] | None:
    """Go from segment to segment until one that starts a frame: it says height and width."""
    position = 2
    while position + 9 <= len(head) and head[position] == 0xFF:  # noqa: PLR2004  # each marker begins with it
        marker = head[position + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # noqa: PLR2004  # the frames' markers
            return _number(head, position + 7, 2), _number(head, position + 5, 2)
        position += 1 if marker == 0xFF else 2 + _number(head, position + 2, 2)  # noqa: PLR2004  # a filling byte
    return None


_FORMATS: Final[tuple[tuple[bytes, Callable[[bytes], tuple[int, int] | None]], ...]] = (
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"\xff\xd8", _jpeg),
    (b"GIF8", _gif),
    (b"RIFF", _webp),
)
