"""What may an error quote? What its call or run was given, sent and answered, at hand while it is open."""

from __future__ import annotations

from typing import Any

from langchain_tokens.closing import ended_alone
from langchain_tokens.masking import MASK
from langchain_tokens.opencall import OpenCall
from langchain_tokens.registry import REGISTRY
from langchain_tokens.roots import run_status

__all__ = ("failure_text", "note_said", "said_by")


def failure_text(error: BaseException, said: tuple[Any, ...] | None, more: Any) -> str | None:
    """The text of an error that is a failure, without what it quotes.

    Args:
        error: what ended a call or run.
        said: what was said there; where that was let go (None), nothing of the text is kept.
        more: what LangChain says of it at the end: an answer in part, or what a stream was given.

    """
    if run_status(error) != "error":
        return None
    return MASK if said is None else REGISTRY.failures.text(error, (*said, more))


def said_by(opened: OpenCall) -> tuple[Any, ...] | None:
    """What a call has sent and was answered; None once that was let go."""
    if opened.asked_content is None:
        return None if opened.provisional else ()
    return opened.asked_content[0], None if opened.pieces is None else opened.pieces.arrived()


def note_said(opened: OpenCall, response: Any) -> None:
    """Hold on to what a call sent and was answered as long as the run around it goes on, which may fail of it."""
    held = opened.root.said
    if held is None or opened.asked_content is None or ended_alone(opened):
        return
    arrived = response if response is not None or opened.pieces is None else opened.pieces.arrived()
    held.append((opened.asked_content[0], arrived))
