"""Is kept what was said? With `capture_content`, from a call's start to its record; otherwise nothing is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from langchain_tokens.content import Pieces
from langchain_tokens.masking import masked
from langchain_tokens.opencall import OpenCall
from langchain_tokens.said import ContentFact
from langchain_tokens.transcript import Written, written_answer, written_messages, written_pieces
from langchain_tokens.trouble import Warnings

__all__ = ("Transcripts",)

_KEPT_TEXTS = 1_024
_LONGEST_KEPT = 8_192
"""Characters: an agent sends its messages again and again, and they are masked once."""


class Transcripts:
    """What one handler keeps of what is said. Thread-safe.

    Args:
        is_on: whether anything is kept.
        warnings: logs trouble; never with a text of a message.

    """

    def __init__(self, is_on: bool, warnings: Warnings) -> None:
        self._is_on = is_on
        self._warnings = warnings
        self._masked = lru_cache(_KEPT_TEXTS)(masked)

    def begin(self, opened: OpenCall, asked: Any) -> None:
        """Keep what a call sends, once, however often its start is reported."""
        if not self._is_on or opened.said is not None or not isinstance(asked, list | tuple):
            return
        try:
            opened.said = self._noted(written_messages(tuple(asked), self._mask))
        except Exception as error:  # noqa: BLE001  # the call is recorded all the same
            self._warn(error)

    def end(self, opened: OpenCall, response: Any = None, *, is_seen: bool) -> ContentFact | None:
        """What was said in a call, whole or in part; None where nothing is kept. `is_seen`: its end is, and it is not
        just taken for one that will never end.
        """
        if not self._is_on:
            return None
        said, opened.said = opened.said, None
        answer = self._answer(response, opened.pieces)
        if said is None and answer is None:
            return None
        return ContentFact(
            call_id=opened.call_id,
            messages=None if said is None else said.text,
            answer=None if answer is None else answer.text,
            messages_cut=said is not None and said.is_cut,
            answer_cut=answer is not None and answer.is_cut,
            revision=1 if opened.provisional and is_seen else 0,
        )

    def _answer(self, response: Any, pieces: Pieces | None) -> Written | None:
        try:
            generations = _generations(response)
            if generations:
                return self._noted(written_answer(generations, self._mask))
            if pieces is None:
                return None
            arrived = pieces.arrived()
            return written_pieces(arrived.text, arrived.reasoning, arrived.tool_calls, self._mask)
        except Exception as error:  # noqa: BLE001  # as above
            self._warn(error)
            return None

    def _mask(self, text: str) -> str:
        return self._masked(text) if len(text) <= _LONGEST_KEPT else masked(text)

    def _noted(self, written: Written) -> Written:
        if written.unread:
            message = f"{written.unread:,} messages of a call could not be read; each is named where it stood"
            self._warnings.once("unread message", message)
        return written

    def _warn(self, error: Exception) -> None:
        """Without the error's own text, which may quote a message."""
        message = f"what was said in a call could not be kept ({type(error).__name__}); the call itself is"
        self._warnings.once("content", message)


def _generations(response: Any) -> Sequence[Any]:
    return [item for group in getattr(response, "generations", None) or () for item in group or ()]
