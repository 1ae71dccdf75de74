"""Is what was said kept as providers said it? Recorded answers through every client, held against LangChain's own text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler

from langchain_tokens import TokenUsageHandler

from .driving import CASES, WARNINGS, Case, Driver, by_case

if not CASES:
    pytest.skip("no shared/recordings beside the checkout", allow_module_level=True)

pytestmark = WARNINGS

_CHOSEN = list(
    {(case.client.name, case.recording.format, "tool" in case.recording.stem): case for case in CASES}.values()
)
"""One of each kind of answer through each client."""


class Listener(BaseCallbackHandler):
    """What LangChain makes of answers: their texts, and the names of the tools that they call."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, list[str]]] = []

    def on_llm_end(self, response: Any, **_: Any) -> None:
        """Read the first generation."""
        generation = response.generations[0][0]
        message = getattr(generation, "message", None)
        calls = [] if message is None else [*message.tool_calls, *message.invalid_tool_calls]
        text = generation.text if message is None else message.text
        self.answers.append((str(text), [call["name"] for call in calls]))


@pytest.fixture(scope="module")
def capturing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenUsageHandler]:
    """A handler that captures."""
    path: Path = tmp_path_factory.mktemp("content") / "tokens.db"
    with TokenUsageHandler(path, estimate=False, capture_content=True) as handler:
        yield handler


@by_case([case for case in _CHOSEN if not case.client.is_async])
def test_answers_are_kept_as_they_were_given(case: Case, driver: Driver, capturing: TokenUsageHandler) -> None:
    """Question, text and tools of an answer are what LangChain's own message has; a call that failed is kept, too."""
    listener, model = Listener(), case.client.build(case.recording, driver.replay)
    config = {"callbacks": [capturing, listener], "metadata": {"tokens_session": case.name}}
    with suppress(Exception):  # some clients fail on some answers; other tests say on which
        if case.recording.streamed:
            for _ in model.stream("hi", config=config):
                pass
        else:
            model.invoke("hi", config=config)
    (call,) = capturing.store.calls(session=case.name)
    content = capturing.store.content(call.call_id)
    assert content is not None
    assert [message["text"] for message in content.messages] == ["hi"]
    for text, names in listener.answers:
        assert content.answer is not None
        assert content.answer["text"].strip("\n") == text.strip("\n")
        assert [made["name"] for made in content.answer.get("tool_calls", ())] == names
