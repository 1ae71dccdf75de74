"""What of an answer do only the calls beside it tell? Whether it was paid, and whether another says its usage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from langchain_tokens.answers import Answer
from langchain_tokens.batches import Batches
from langchain_tokens.hits import Hits
from langchain_tokens.opencall import OpenCall

__all__ = ("Neighbours",)


class Neighbours:
    """What is remembered of the calls of one handler. Thread-safe."""

    def __init__(self) -> None:
        self._hits = Hits()
        self._batches = Batches()

    def forget_after_fork(self) -> None:
        """In a forked child: begin with free locks."""
        self._hits.forget_after_fork()
        self._batches.forget_after_fork()

    def note_start(self, opened: OpenCall, asked: Any, parameters: Any) -> None:
        """Note a call that starts: with which others it is one request."""
        is_text = isinstance(asked, (list, tuple)) and bool(asked) and isinstance(asked[0], str)
        if is_text and opened.batch_size > 1 and opened.text_batch is None:
            opened.text_batch = self._batches.join(opened.run_id, parameters)

    def corrected(self, opened: OpenCall, answer: Answer, response: Any, has_twin: Callable[[], bool]) -> Answer:
        """The answer of a call that ended, with what only the others tell.

        Args:
            opened: the call.
            answer: what its result says by itself.
            response: the result.
            has_twin: tells whether another call of the same batch asks the same and has not ended.

        """
        is_marked, batch = answer.is_from_cache, opened.text_batch
        is_hit = self._hits.is_hit(opened, answer.message_id, response, is_marked=is_marked, has_twin=has_twin)
        says = answer.reading.usage is not None
        is_elsewhere = batch is not None and batch.is_said_by_first(opened.run_id, says_usage=says)
        is_elsewhere = is_elsewhere and answer.is_counted_elsewhere
        if (is_hit, is_elsewhere) == (is_marked, answer.is_counted_elsewhere):
            return answer
        return replace(answer, is_from_cache=is_hit, is_counted_elsewhere=is_elsewhere)
