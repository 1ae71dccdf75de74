"""What is a count? `TokenUsage`: the tokens of one call, or of several added together; what was not said is None."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, cast

from langchain_tokens.errors import UsageShapeError

__all__ = ("TokenUsage", "contradicts")

# How many keys of an unreadable payload an error names: enough to recognise it, short enough for a log line.
_KEYS_IN_ERROR = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUsage:
    """Token counts of one call to a model, or the sum of several.

    Counts are inclusive: `input_tokens` contains cache reads, cache writes and audio, `output_tokens` contains
    reasoning and audio; the details stand beside them and are never to be added to them. None means "nobody said";
    0 means that it was said to be 0. Add two of them with `+`, many with `sum()`: as in SQL, None adds nothing and
    only None plus None is None.
    """

    input_tokens: int | None = None
    """Tokens of the prompt, with cache reads, cache writes and audio."""

    output_tokens: int | None = None
    """Generated tokens, with reasoning and audio."""

    total_tokens: int | None = None
    """The total as said; input plus output where both are known and no total was said."""

    cache_read_tokens: int | None = None
    """The part of the input that was read from the provider's cache."""

    cache_write_tokens: int | None = None
    """The part of the input that was written to the provider's cache: 5 minutes, 1 hour and writes of no said time."""

    cache_write_5m_tokens: int | None = None
    """The part of the cache writes that is kept for 5 minutes."""

    cache_write_1h_tokens: int | None = None
    """The part of the cache writes that is kept for 1 hour."""

    reasoning_tokens: int | None = None
    """The part of the output that the model used to reason."""

    audio_input_tokens: int | None = None
    """The part of the input that is audio."""

    audio_output_tokens: int | None = None
    """The part of the output that is audio."""

    other_units: Mapping[str, int | float] | None = field(default=None, hash=False)
    """What else was counted, by the provider's name for it, such as `{"web_search_requests": 4}`."""

    service_tier: str | None = None
    """The tier that served the call, in the provider's words, such as `"flex"`."""

    @classmethod
    def from_response(cls, response: object) -> TokenUsage:
        """Read the usage out of a provider's raw response, or out of the usage object or dict in it.

        Args:
            response: A dict, an SDK object or a LangChain message; a whole response body or only its usage. For a
                stream a list or tuple of all its events or chunks, in their order: each token is counted once,
                whether the provider sends parts or running totals.

        Returns:
            The counts, with the provider's convention turned into the inclusive one.

        Raises:
            UsageShapeError: Nothing in `response` has a known shape; the text names what was found and what is known.

        """
        # The contract puts this name here, but how each provider says it is known one layer up: hence the late import.
        from langchain_tokens import shapes

        if isinstance(response, cls):
            return response
        usage = shapes.read(response).usage
        if usage is None:
            raise UsageShapeError(
                f"no token usage found in {_describe(response)}; known shapes: {', '.join(shapes.KNOWN)}"
            )
        return usage

    def __add__(self, other: object) -> TokenUsage:
        """Add count by count; other units by name; the service tier stays only where both name the same one."""
        if not isinstance(other, TokenUsage):
            return NotImplemented
        summed: dict[str, Any] = {name: _plus(getattr(self, name), getattr(other, name)) for name in COUNTS}
        summed["other_units"] = _plus_units(self.other_units, other.other_units)
        summed["service_tier"] = self.service_tier if self.service_tier == other.service_tier else None
        return TokenUsage(**summed)

    def __radd__(self, other: object) -> TokenUsage:
        """Let `sum()` start from its 0."""
        if isinstance(other, int) and other == 0:
            return self
        return NotImplemented


COUNTS = tuple(entry.name for entry in fields(TokenUsage) if entry.name.endswith("_tokens"))
"""The names of the fields that are token counts, in their order."""


def contradicts(flags: Iterable[str]) -> bool:
    """Tell whether a usage with these flags contradicts itself, or leaves out what was said."""
    return any(flag.startswith(_CONTRADICTIONS) for flag in flags)


_CONTRADICTIONS = ("rounds_above_usage", "cache_outside_input", "total_mismatch", "detail_above_total", "nonsense")


def _plus(left: int | None, right: int | None) -> int | None:
    if left is None:
        return right
    return left if right is None else left + right


def _plus_units(
    left: Mapping[str, int | float] | None, right: Mapping[str, int | float] | None
) -> Mapping[str, int | float] | None:
    if left is None or right is None:
        units = left if right is None else right
        return None if units is None else dict(units)
    return {name: left.get(name, 0) + right.get(name, 0) for name in {**left, **right}}


def _describe(response: object) -> str:
    """Type and first keys of something unreadable, without its values: they may be content."""
    held = response if isinstance(response, Mapping) else getattr(response, "__dict__", None)
    keys = [str(key) for key in cast("Mapping[object, object]", held)] if isinstance(held, Mapping) else []
    shown = ", ".join(keys[:_KEYS_IN_ERROR]) + (", …" if len(keys) > _KEYS_IN_ERROR else "")
    return f"{type(response).__qualname__} with keys: {shown}" if keys else f"{type(response).__qualname__}"
