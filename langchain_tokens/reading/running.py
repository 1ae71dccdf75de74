"""Are the usages of a stream's pieces parts, or running totals? Told from the pieces, since LangChain adds them up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ("RunningUsage",)


class RunningUsage:
    """Watches the usage of each piece of one streamed answer. Not thread-safe: one stream, one watcher.

    LangChain adds the usages of pieces up. That is right for clients that give parts: the input first and the output
    last, or what came on top since the piece before, so that the input is said once and is 0 from then on. A server
    that says its total so far in every piece comes out many times too large. It says the same input again and again.
    """

    __slots__ = ("_input", "_is_running", "_is_told_again", "_last", "_output", "_pieces")

    def __init__(self) -> None:
        self._last: Mapping[str, Any] | None = None
        self._input = 0
        self._output = 0
        self._pieces = 0
        self._is_running = True
        self._is_told_again = False

    def note(self, usage_metadata: Mapping[str, Any] | None) -> None:
        """Take note of one piece's usage, in LangChain's form; nothing is done for a piece without one."""
        if not usage_metadata:
            return
        said_input, said_output = usage_metadata.get("input_tokens"), usage_metadata.get("output_tokens")
        if type(said_input) is not int or type(said_output) is not int:
            self._is_running = False
            return
        if not said_input and not said_output:
            return  # as before anything was counted: a part of nothing, and no total of what came before
        self._is_running = (
            self._is_running and said_input > 0 and self._input <= said_input and self._output <= said_output
        )
        self._is_told_again = self._is_told_again or (self._pieces > 0 and said_input == self._input)
        self._pieces += 1
        self._input, self._output, self._last = said_input, said_output, usage_metadata

    def verdict(self) -> Mapping[str, Any] | None:
        """Return the last piece's usage, a copy, where the pieces were running totals; None where they add up."""
        if self._last is None or not (self._is_running and self._is_told_again):
            return None
        return dict(self._last)
