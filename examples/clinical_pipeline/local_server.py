"""Who answers a client that is not LangChain's? A server on this machine that speaks as DeepSeek's API does.

It counts what it was really sent, keeps the first part of a prompt in a cache as DeepSeek does, and writes what it used
into the same ledger as the scripted models.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from examples.clinical_pipeline.scripted_model import Player, answer, step_of
from examples.scripted import Entry, Ledger, count_messages, count_text

__all__ = ("serve",)

CACHED_PIECE = 64
"""Tokens; DeepSeek's cache holds whole pieces of as many."""


@contextmanager
def serve(player: Player, ledger: Ledger) -> Iterator[str]:
    """Serve in a thread of its own for as long as the block lasts.

    Yields:
        The URL that a client is to use as its base.

    """
    seen: set[str] = set()

    class Endpoint(BaseHTTPRequestHandler):
        """POST /chat/completions."""

        def do_POST(self) -> None:
            """Answer a request."""
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            said = json.dumps(_completion(player, ledger, seen, body)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: Any) -> None:
            """Say nothing on stderr."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _completion(player: Player, ledger: Ledger, seen: set[str], body: dict[str, Any]) -> dict[str, Any]:
    kinds = {"system": SystemMessage, "user": HumanMessage}
    messages: list[BaseMessage] = [kinds[said["role"]](said["content"]) for said in body["messages"]]
    text = answer(player, messages)
    given, answered, system = count_messages(messages), count_text(text), str(messages[0].text)
    hit = count_text(system) // CACHED_PIECE * CACHED_PIECE if system in seen else 0
    seen.add(system)
    ledger.add(Entry(step=step_of(messages), model=player.model, input_tokens=given, output_tokens=answered))
    return {
        "id": f"chatcmpl-{len(ledger.entries)}",
        "object": "chat.completion",
        "created": 1_764_000_000,
        "model": player.model,
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {
            "prompt_tokens": given,
            "completion_tokens": answered,
            "total_tokens": given + answered,
            "prompt_cache_hit_tokens": hit,
            "prompt_cache_miss_tokens": given - hit,
        },
    }
