"""Who answers when there is no key and no network? A chat model that follows a script, and keeps its own books.

Its token counts are those of the messages it was really sent and of what it answered, by tiktoken as OpenAI bills them;
definitions of tools and their calls count as their JSON.
What it says it used goes into a ledger as well, so that a test can hold the package's numbers against numbers that the
package had no part in. Where tiktoken's table is not on the machine, four characters are a token; nothing is fetched.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from pydantic import PrivateAttr

from langchain_tokens.testing import ScriptedChatModel

__all__ = ("Entry", "Ledger", "LedgerModel", "count_messages", "count_text", "how_counted", "is_exact")

_TABLE = "https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken"
_PER_MESSAGE, _PER_NAME, _PER_ANSWER = 4, 1, 3
"""Around each message, with its role, which is one token; before a message's name; once before the answer (OpenAI's
cookbook, "How to count tokens with tiktoken")."""
_PER_PICTURE = 765
"""Tokens of a picture of 1024 by 1024 in high detail, for GPT-4o: 85 and four tiles of 170."""

Script = Callable[[Sequence[BaseMessage]], AIMessage | str | BaseException]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One request to a model, as the model saw it."""

    step: str
    model: str
    input_tokens: int
    output_tokens: int
    is_failed: bool = False


@dataclass(slots=True)
class Ledger:
    """What models say they used, whoever asked them. Thread-safe."""

    _entries: list[Entry] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, entry: Entry) -> None:
        """Keep one request."""
        with self._lock:
            self._entries.append(entry)

    @property
    def entries(self) -> Sequence[Entry]:
        """Every request so far, in the order of their ends."""
        with self._lock:
            return tuple(self._entries)

    def totals(self, name: str = "step") -> Mapping[str, tuple[int, int, int, int]]:
        """Requests, failed ones, input tokens and output tokens for each value of `step` or `model`."""
        found: dict[str, tuple[int, int, int, int]] = {}
        for entry in self.entries:
            calls, failed, given, answered = found.get(getattr(entry, name), (0, 0, 0, 0))
            sums = (calls + 1, failed + entry.is_failed, given + entry.input_tokens, answered + entry.output_tokens)
            found[getattr(entry, name)] = sums
        return found


class LedgerModel(ScriptedChatModel):
    """A scripted chat model that counts with tiktoken and writes what it used into a ledger.

    Args:
        script: a function of the messages that returns a text, an `AIMessage` or an error to raise.
        step_of: a function of the messages that says which step of the application asks; `(unnamed)` by default.
        ledger: where it writes; models may share one.
        more: `model`, `provider` and `latency_seconds`, as `ScriptedChatModel` takes them.

    """

    _ledger: Ledger = PrivateAttr()
    _step_of: Any = PrivateAttr()

    def __init__(
        self,
        script: Script,
        *,
        ledger: Ledger | None = None,
        step_of: Callable[[Sequence[BaseMessage]], str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(script, usage=None, **more)
        self._ledger = ledger if ledger is not None else Ledger()
        self._step_of = step_of or (lambda _: "(unnamed)")

    @property
    def ledger(self) -> Ledger:
        """Where it writes."""
        return self._ledger

    def _answer(self, messages: Sequence[BaseMessage], more: Mapping[str, Any]) -> AIMessage:
        step = self._step_of(messages)
        try:
            said = super()._answer(messages, more)
        except BaseException:
            self._ledger.add(Entry(step=step, model=self.model, input_tokens=0, output_tokens=0, is_failed=True))
            raise
        given = count_messages(messages, more.get("tools") or ())
        answered = count_text(str(said.text)) + sum(count_text(json.dumps(call["args"])) for call in said.tool_calls)
        self._ledger.add(Entry(step=step, model=self.model, input_tokens=given, output_tokens=answered))
        usage = {"input_tokens": given, "output_tokens": answered, "total_tokens": given + answered}
        return said.model_copy(update={"usage_metadata": usage})


def count_messages(messages: Sequence[BaseMessage], tools: Sequence[Any] = ()) -> int:
    """Count the tokens of a request: its texts and pictures, what surrounds them, and the definitions of its tools."""
    counted = _PER_ANSWER + sum(_PER_MESSAGE + _count_name(message) + _count_content(message) for message in messages)
    return counted + sum(count_text(json.dumps(tool)) for tool in tools)


def count_text(text: str) -> int:
    """Count the tokens of a text."""
    encoding = _encoding()
    return -(-len(text) // 4) if encoding is None else len(encoding.encode(text, disallowed_special=()))


def is_exact() -> bool:
    """Whether tiktoken counts, or characters do."""
    return _encoding() is not None


def how_counted() -> str:
    """Say in some words what counts, for people."""
    counted = "tiktoken" if is_exact() else "the rule of 4 characters for a token, as tiktoken's table is not here"
    return f"tokens of the real messages counted by {counted}"


def _count_name(message: BaseMessage) -> int:
    return _PER_NAME + count_text(message.name) if message.name else 0


def _count_content(message: BaseMessage) -> int:
    parts = message.content if isinstance(message.content, list) else [message.content]
    calls = getattr(message, "tool_calls", [])
    return sum(_count_part(part) for part in parts) + sum(count_text(json.dumps(call["args"])) for call in calls)


def _count_part(part: str | dict[str, Any]) -> int:
    if isinstance(part, str):
        return count_text(part)
    return _PER_PICTURE if part.get("type") in ("image", "image_url") else count_text(str(part.get("text", "")))


@cache
def _encoding() -> Any:
    """The encoding of GPT-4o and later, if its table is where tiktoken keeps it; tiktoken itself would fetch it."""
    usual = str(Path(tempfile.gettempdir(), "data-gym-cache"))
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR", usual))
    if not folder:  # it turns tiktoken's cache off
        return None
    if not (Path(folder) / hashlib.sha1(_TABLE.encode(), usedforsecurity=False).hexdigest()).exists():
        return None
    import tiktoken

    return tiktoken.get_encoding("o200k_base")
