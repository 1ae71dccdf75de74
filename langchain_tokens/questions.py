"""Is this the same question? A number for what a call asks, from which nothing of it can be read."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

__all__ = ("question_mark",)

_MOST_TEXTS = 256
_MOST_DEPTH = 4
_WHOLE = 4_096
_END = 256


def question_mark(asked: Any) -> int | None:
    """A mark of a call's question, equal for equal questions: a retry asks what failed once more, word for word."""
    if not isinstance(asked, (list, tuple)) or not asked:
        return None
    last = asked[-1]
    content = last if isinstance(last, str) else getattr(last, "content", None)
    if isinstance(content, str):
        return hash((len(asked), content))
    return hash((len(asked), *islice(_texts(content, _MOST_DEPTH), _MOST_TEXTS)))


def _texts(content: Any, depth: int) -> Iterator[str | tuple[int, str, str]]:
    """The texts in blocks of content, with addresses; of a picture itself, its length and both of its ends."""
    if isinstance(content, str):
        is_short = len(content) <= _WHOLE
        yield content if is_short else (len(content), content[:_END], content[-_END:])
    elif isinstance(content, (list, tuple, dict)) and depth:
        for item in content.values() if isinstance(content, dict) else content:
            yield from _texts(item, depth - 1)
