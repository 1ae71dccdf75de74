"""How is a recording driven through a client, once for all tests? A case, the call that is stored of it, the skips."""

from __future__ import annotations

import asyncio
import gc
import warnings
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import pytest

from langchain_tokens import Call, TokenUsageHandler, UsageStore

from .clients import CLIENTS, Client
from .recordings import Recording, Replay, recordings

__all__ = ("CASES", "WARNINGS", "Case", "Driver", "by_case")

WARNINGS = [
    # What the clients themselves warn of: models and classes that have had their day, and blocks newer than the client.
    pytest.mark.filterwarnings("ignore:The model '.*' is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
    pytest.mark.filterwarnings("ignore:Received unexpected tool content block:UserWarning"),
    pytest.mark.filterwarnings("ignore:Use .`ChatGoogleGenerativeAI`.*instead:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The class `ChatVertexAI` was deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The V1 streaming code path is deprecated:DeprecationWarning"),
]
"""For the tests that drive clients."""


@dataclass(frozen=True, slots=True)
class Case:
    """One recording through one client."""

    client: Client
    recording: Recording

    @property
    def name(self) -> str:
        """Client and recording; it is also the session under which the call is stored."""
        return f"{self.client.name}/{self.recording.stem}"

    @property
    def key(self) -> tuple[str, str]:
        """How the tables of losses name it."""
        return self.client.name, self.recording.stem

    @property
    def streams(self) -> bool:
        """Whether the client streams it."""
        return self.recording.streamed or self.client.always_streams


CASES = [
    Case(client, recording)
    for recording in recordings()
    for client in CLIENTS
    if recording.format in client.speaks.get(recording.provider, ())
]
"""Every recording through every client that speaks its format."""


def by_case(cases: list[Case]) -> pytest.MarkDecorator:
    """Parametrize a test by cases under their names; those of a client that is not installed are skipped."""
    absent = {name for name in {case.client.package for case in cases} if find_spec(name) is None}
    return pytest.mark.parametrize(
        "case",
        [
            pytest.param(
                case,
                id=case.name,
                marks=pytest.mark.skipif(
                    case.client.package in absent, reason=f"{case.client.package} is not installed"
                ),
            )
            for case in cases
        ],
    )


@dataclass(frozen=True, slots=True)
class Driver:
    """What all cases share: the replay server, one handler, and its database opened a second time for reading."""

    replay: Replay
    handler: TokenUsageHandler
    store: UsageStore
    _raised: dict[str, str | None] = field(default_factory=dict)

    def call(self, case: Case) -> Call:
        """Return the one call that is stored of a case."""
        self.raised(case)
        calls = self.store.calls(session=case.name)
        assert len(calls) == 1
        return calls[0]

    def raised(self, case: Case) -> str | None:
        """Return the name of the error's type that the client raised, if any; the case is driven the first time."""
        if case.name not in self._raised:
            self._raised[case.name] = self._drive(case)
        return self._raised[case.name]

    def _drive(self, case: Case) -> str | None:
        """Make the one call of a case, streamed where its recording is a stream."""
        model = case.client.build(case.recording, self.replay)
        config = {"callbacks": [self.handler], "metadata": {"tokens_session": case.name}}
        raised = None
        try:
            if case.client.is_async:
                asyncio.run(_drive_async(case, model, config))
            elif case.recording.streamed:
                for _ in model.stream("hi", config=config):
                    pass
            else:
                model.invoke("hi", config=config)
        except Exception as error:  # noqa: BLE001  # each client has errors of its own; the tests say which it must be
            raised = type(error).__name__
        if raised is not None and case.client.is_async:
            del model
            _collect()
        assert self.handler.flush()
        return raised


async def _drive_async(case: Case, model: Any, config: Any) -> None:
    if case.recording.streamed:
        async for _ in model.astream("hi", config=config):
            pass
    else:
        await model.ainvoke("hi", config=config)


def _collect() -> None:
    """Let go of the connection that a stream left open when the client failed on it: its loop has ended by now."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
