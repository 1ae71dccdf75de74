"""What do the clients drop of what a provider says beside the tokens? Prices, and other things it counted."""

from __future__ import annotations

from typing import Final

from .losses import Loss

__all__ = ("COST_LOST", "UNITS_LOST")

COST_LOST: Final = (
    Loss(
        clients=frozenset({"ChatOpenAI"}),
        formats=frozenset({"openai-chat-sse", "openai-responses", "openai-responses-sse"}),
        fields=(),
        reason="of a stream, and of the responses interface, ChatOpenAI hands over its own counts alone",
    ),
    Loss(
        clients=frozenset({"ChatPerplexity"}),
        formats=frozenset({"openai-chat", "openai-chat-sse"}),
        fields=(),
        reason="ChatPerplexity keeps the counts alone",
    ),
    Loss(
        clients=frozenset({"ChatXAI"}),
        formats=frozenset({"openai-responses", "openai-responses-sse"}),
        fields=(),
        reason="ChatXAI hands over its own counts alone",
    ),
)
"""A price that the provider says is dropped by the client."""

UNITS_LOST: Final = (
    Loss(
        clients=frozenset({"ChatOpenAI"}),
        formats=frozenset({"openai-chat-sse"}),
        fields=(),
        reason="of a stream ChatOpenAI hands over its own counts alone",
    ),
    Loss(
        clients=frozenset({"ChatOpenRouter"}),
        formats=frozenset({"openai-chat", "openai-chat-sse"}),
        fields=(),
        reason="ChatOpenRouter keeps the counts and the price alone",
    ),
)
"""Searches and calls of tools that the provider counted are dropped by the client."""
