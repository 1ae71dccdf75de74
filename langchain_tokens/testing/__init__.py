"""What do tests of a chain or graph need? A model that follows a script, calls made by hand, and limits to hold.

    from langchain_tokens.testing import ScriptedChatModel, assert_usage

For pytest there is a plugin with the same limits as a fixture and a marker, see `docs/testing.md`.
"""

from __future__ import annotations

from langchain_tokens.testing.limits import Limits, assert_usage, make_limits
from langchain_tokens.testing.observing import ObservedRun, observe
from langchain_tokens.testing.records import make_call, make_usage
from langchain_tokens.testing.scripted import ScriptedChatModel, ScriptEndedError, calling

__all__ = (
    "Limits",
    "ObservedRun",
    "ScriptEndedError",
    "ScriptedChatModel",
    "assert_usage",
    "calling",
    "make_call",
    "make_limits",
    "make_usage",
    "observe",
)
