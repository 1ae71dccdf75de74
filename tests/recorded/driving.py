"""How is a recording driven through a real client? The index of recordings, the replay server, and the clients."""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI, OpenAI
from pydantic import SecretStr

# The recordings are not part of the project: they lie beside its checkout.
RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "recordings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One recorded response and the truth about it."""

    stem: str
    provider: str
    format: str
    endpoint: str
    streamed: bool
    requested_model: str
    response_model: str | None
    truth: Mapping[str, Any]
    """Counts by the index's own names; None where the response does not say."""


@dataclass(frozen=True, slots=True)
class Replay:
    """A running replay server."""

    url: str
    http_client: httpx.Client
    """Shared by the clients that take one: building one for each recording would be most of the time."""


def recordings(formats: Mapping[str, frozenset[str]]) -> list[Recording]:
    """Return the recordings of these formats by provider, in the index's order; none where there is no index."""
    index = RECORDINGS / "index.json"
    if not index.exists():
        return []
    entries = json.loads(index.read_text(encoding="utf-8"))["entries"]
    return [_recording(entry) for entry in entries if entry["format"] in formats.get(entry["provider"], ())]


def all_formats(provider: str) -> set[str]:
    """Return every wire format that a provider's recordings have."""
    index = RECORDINGS / "index.json"
    entries = json.loads(index.read_text(encoding="utf-8"))["entries"] if index.exists() else []
    return {entry["format"] for entry in entries if entry["provider"] == provider}


def _recording(entry: Mapping[str, Any]) -> Recording:
    return Recording(
        stem=Path(entry["file"]).stem,
        provider=entry["provider"],
        format=entry["format"],
        endpoint=entry["endpoint"],
        streamed=entry["stream"],
        requested_model=entry["requested_model"] or "unnamed",
        response_model=entry["response_model"],
        truth=entry["truth"] or {},
    )


@contextmanager
def replaying() -> Iterator[Replay]:
    """Serve all recordings on a free port of this machine."""
    spec = importlib.util.spec_from_file_location("replay", RECORDINGS / "replay.py")
    assert spec is not None
    assert spec.loader is not None
    replay = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(replay)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the server leaves it to Python to close the files it read
        server, _ = replay.start([str(RECORDINGS)])
    with httpx.Client() as http_client:
        yield Replay(f"http://127.0.0.1:{server.server_address[1]}", http_client)
    server.shutdown()
    server.server_close()


def client(recording: Recording, replay: Replay) -> BaseChatModel | OpenAI:
    """Build the client class that speaks the recording's wire format, pointed at it."""
    if recording.format.startswith("openai-completions"):
        return _openai_text(recording, replay)
    if recording.provider == "anthropic" and not recording.format.startswith("openai"):
        return _anthropic(recording, replay)
    return _openai(recording, replay)


def drive(recording: Recording, model: BaseChatModel | OpenAI, config: Any) -> None:
    """Make the one call of a recording, streamed where the recording is a stream."""
    if recording.streamed:
        for _ in model.stream("hi", config=config):
            pass
    else:
        model.invoke("hi", config=config)


def _openai(recording: Recording, replay: Replay) -> BaseChatModel:
    return ChatOpenAI(
        model=recording.requested_model,
        base_url=f"{replay.url}/{recording.stem}/v1",
        api_key=SecretStr("test"),
        max_retries=0,
        stream_usage=True,  # with a base_url of one's own the client does not ask for usage by itself
        use_responses_api="responses" in recording.endpoint,
        http_client=replay.http_client,
    )


def _openai_text(recording: Recording, replay: Replay) -> OpenAI:
    return OpenAI(
        model=recording.requested_model,
        base_url=f"{replay.url}/{recording.stem}/v1",
        api_key=SecretStr("test"),
        max_retries=0,
        http_client=replay.http_client,
    )


def _anthropic(recording: Recording, replay: Replay) -> BaseChatModel:
    return ChatAnthropic(
        model_name=recording.requested_model,
        base_url=f"{replay.url}/{recording.stem}",
        api_key=SecretStr("test"),
        max_retries=0,
        timeout=None,
        stop=None,
    )
