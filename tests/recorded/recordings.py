"""What was recorded? The index of recordings with the truth about each, and the server that replays them."""

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

# The recordings are not part of the project: they lie beside its checkout.
RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "recordings"

# Format of the index, a part of the endpoint → the name by which it goes here.
_CLOSER = (
    ("gemini", "mbedContent", "gemini-embeddings"),
    ("gemini", "enum-encoding%3Dint", "gemini-numbered"),
    ("ollama-ndjson", "/api/generate", "ollama-generate-ndjson"),
    ("openai-chat", "/v1/completions", "openai-completions"),
    ("bedrock-invoke-eventstream", "titan", "bedrock-titan-invoke-eventstream"),
)


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

    raw_usage: Any
    """The provider's own payloads, as they stand in the response."""


@dataclass(frozen=True, slots=True)
class Replay:
    """A running replay server."""

    url: str
    http_client: httpx.Client
    """Shared by the clients that take one: building one for each recording would be most of the time."""

    http_async_client: httpx.AsyncClient
    """The same for clients that build both at once."""


def recordings() -> list[Recording]:
    """Return every recording in the index's order; none where there is no index."""
    index = RECORDINGS / "index.json"
    entries = json.loads(index.read_text(encoding="utf-8"))["entries"] if index.exists() else []
    return [_recording(entry) for entry in entries]


def _recording(entry: Mapping[str, Any]) -> Recording:
    return Recording(
        stem=Path(entry["file"]).stem,
        provider=entry["provider"],
        format=_format(entry),
        endpoint=entry["endpoint"],
        streamed=entry["stream"],
        requested_model=entry["requested_model"] or "unnamed",
        response_model=entry["response_model"],
        truth=entry["truth"] or {},
        raw_usage=entry["raw_usage"],
    )


def _format(entry: Mapping[str, Any]) -> str:
    """The index's name of the wire format, or a closer one where one name stands for two kinds of call."""
    said = entry["format"]
    return next((closer for name, part, closer in _CLOSER if name == said and part in entry["endpoint"]), said)


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
    # No connection is kept: a client that nobody closes would leave it open.
    server.RequestHandlerClass.protocol_version = "HTTP/1.0"
    with httpx.Client() as http_client:
        yield Replay(f"http://127.0.0.1:{server.server_address[1]}", http_client, httpx.AsyncClient())
    server.shutdown()
    server.server_close()
