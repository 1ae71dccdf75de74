"""What was said in a call? Its messages and its answer, as they are recorded and as they are read again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from langchain_tokens.masking import NOT_STORED

__all__ = ("CallContent", "ContentFact", "mended_content")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallContent:
    """What was said in one call, kept with `capture_content` only."""

    call_id: str
    started_at: datetime
    """When the call started: content is pruned by it."""
    messages: Sequence[Mapping[str, Any]]
    """What was sent: each with `role` (`system`, `human`, `ai`, `tool`, …; `prompt` for a text model) and `text`, and
    where there are any `name`, `reasoning`, `tool_calls` (`id`, `name`, `arguments`), `tool_results`, `tool_call_id`.
    """
    answer: Mapping[str, Any] | None
    """What came back, whole or in part: `text`, and `reasoning` and `tool_calls` where there are any; where several
    answers were asked for, the others are its `alternatives`. None where nothing came.
    """
    messages_cut: bool = False
    """Whether the messages were longer than what is kept; what was cut is marked in them."""
    answer_cut: bool = False
    """Likewise the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentFact:
    """The same on its way to the store: what is said is JSON text already."""

    call_id: str
    messages: str | None = None
    """None where an earlier fact of the same call has them."""
    answer: str | None = None
    messages_cut: bool = False
    answer_cut: bool = False
    revision: int = 0
    """As the call's: a late end brings the whole answer."""


def mended_content(fact: ContentFact) -> ContentFact:
    """The fact, as it was read back from a journal.

    Raises:
        TypeError: where its texts are none.
        ValueError: where they hold what no database takes.

    """
    texts = (fact.call_id, fact.messages or "", fact.answer or "")
    if any(NOT_STORED.search(text) for text in texts):
        raise ValueError("what was said in a call holds characters that no database takes")
    return fact
