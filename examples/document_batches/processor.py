"""Who processes the documents? A stub of a batch API, served on this machine, which keeps its own books.

    POST /batches             {"batch", "configuration", "model", "submitted_at", "documents": {name: text}}
    GET  /batches?after=N     {"finished": [id, ...]}: those after the N-th, as soon as there is one
    GET  /batches/ID          {"batch", "configuration", "model", "results": [{"id", "document", "task", ...}]}

As such APIs do, it leaves things out, and sometimes contradicts itself; see GAPS.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from langchain_core.language_models import BaseChatModel

from examples.document_batches.documents import CONFIGURATIONS, TASKS
from examples.scripted import count_text

__all__ = ("Answer", "Booked", "Processor", "asking", "scripted_answer", "serving_processor")

SPEEDS: Mapping[str, float] = {"gpt-4o-mini": 92.0, "claude-haiku-4-5": 121.0, "gemini-2.5-flash": 188.0}
"""Tokens that the scripted models write in a second."""
GAPS: Mapping[int, Mapping[str, Any]] = {
    43: {"input_tokens": None, "output_tokens": None, "tokens_per_second": None},
    47: {"input_tokens": None},
    53: {"time_taken_seconds": None, "tokens_per_second": None},
    59: {"tokens_per_second": 999.0},
    61: {
        "status": "failed",
        "error_message": "the model did not answer within 30 s",
        "response": None,
        "input_tokens": None,
        "output_tokens": None,
        "time_taken_seconds": 30.0,
        "tokens_per_second": 0.0,
    },
    67: {"input_tokens": "n/a"},
    71: {"total_tokens": 7},
    73: {"output_tokens": -1},
}
"""Every so-many-eth result of a scripted model says this instead; the first that fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model said, and what it took."""

    seconds: float
    text: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    error: str | None = None
    """Why there is no answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Booked:
    """One result as the processor gave it out; None is what it did not say."""

    batch: str
    configuration: str
    task: str
    provider: str
    model: str
    input_tokens: int | None
    output_tokens: int | None
    seconds: float | None
    is_failed: bool
    is_nonsense: bool
    """Whether a count is below 0."""


Answering = Callable[[str, str, str], Answer]
"""Model, task and prompt → an answer."""


@dataclass(slots=True)
class Processor:
    """The batches and their results. Thread-safe.

    Arguments:
        answer: Who answers.
        has_gaps: Whether results lack things now and then.

    """

    answer: Answering
    has_gaps: bool = True
    books: list[Booked] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    """The ids of batches, as often as they were asked for."""
    _done: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _waiting: queue.SimpleQueue[Mapping[str, Any] | None] = field(default_factory=queue.SimpleQueue)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def submit(self, batch: Mapping[str, Any]) -> str:
        """Take a batch; it is processed later."""
        self._waiting.put(batch)
        return str(batch["batch"])

    def finished(self, after: int, seconds: float = 30) -> Sequence[str]:
        """Return the finished batches after the first so many, as soon as there is one."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._done) > after, seconds)
            return list(self._done)[after:]

    def results(self, batch: str) -> Mapping[str, Any] | None:
        """Return a finished batch."""
        with self._changed:
            self.fetched.append(batch)
            return self._done.get(batch)

    def work(self) -> None:
        """Process what was submitted, until `stop`."""
        while (batch := self._waiting.get()) is not None:
            results = list(self._process(batch))
            said = {name: batch[name] for name in ("batch", "configuration", "model")}
            with self._changed:
                self._done[batch["batch"]] = {**said, "results": results}
                self._changed.notify_all()

    def stop(self) -> None:
        """End `work` after what was submitted."""
        self._waiting.put(None)

    def _process(self, batch: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        started = datetime.fromisoformat(batch["submitted_at"])
        lines = CONFIGURATIONS[batch["configuration"]]
        for document, text in batch["documents"].items():
            shown = "\n".join(text.split("\n")[:lines])
            for task, instruction in TASKS.items():
                prompt = f"{instruction}\n\n{shown}"
                answer = self.answer(batch["model"], task, prompt)
                result = self._result(batch, document, task, prompt, answer)
                yield {**result, "started_at": started.isoformat()}
                started += timedelta(seconds=answer.seconds)

    def _result(
        self, batch: Mapping[str, Any], document: str, task: str, prompt: str, answer: Answer
    ) -> Mapping[str, Any]:
        written, number = answer.output_tokens, len(self.books) + 1
        gap = next((change for every, change in GAPS.items() if number % every == 0), {}) if self.has_gaps else {}
        result = {
            "id": f"{batch['batch']}/{document}/{task}",
            "document": document,
            "task": task,
            "prompt": prompt,
            "response": answer.text,
            "status": "completed" if answer.error is None else "failed",
            "error_message": answer.error,
            "input_tokens": answer.input_tokens,
            "output_tokens": written,
            "time_taken_seconds": answer.seconds,
            "tokens_per_second": round(written / answer.seconds, 1) if written and answer.seconds else None,
            **gap,
        }
        self.books.append(_booked(batch, result))
        return {name: value for name, value in result.items() if value is not None}


def _booked(batch: Mapping[str, Any], result: Mapping[str, Any]) -> Booked:
    counts = [result[name] if isinstance(result[name], int) else None for name in ("input_tokens", "output_tokens")]
    provider, model = batch["model"].split(":", 1)
    return Booked(
        batch=batch["batch"],
        configuration=batch["configuration"],
        task=result["task"],
        provider=provider,
        model=model,
        input_tokens=counts[0],
        output_tokens=counts[1],
        seconds=result["time_taken_seconds"],
        is_failed=result["status"] == "failed",
        is_nonsense=any(count is not None and count < 0 for count in counts),
    )


def scripted_answer(model: str, task: str, prompt: str) -> Answer:
    """Answer without a model, as fast as the model that it stands in for is said to be."""
    heading, *items = prompt.split("\n\n", 1)[1].split("\n")
    answers = {
        "summary": f"{heading}, from {items[0].split(', ')[0]} to {items[-1].split(', ')[0]}.",
        "items": "\n".join(item.split(", ")[0] for item in items),
        "check": "No: the note names a shelf for every item, and no item is marked as missing.",
    }
    text, speed = answers[task], SPEEDS[model.split(":", 1)[1]]
    given, written = count_text(prompt), count_text(text)
    return Answer(text=text, input_tokens=given, output_tokens=written, seconds=round(0.4 + written / speed, 3))


def asking(model: BaseChatModel) -> Answering:
    """Return what asks a provider's model, and says what it reports."""

    def answer(_: str, __: str, prompt: str) -> Answer:
        began = time.perf_counter()
        try:
            said = model.invoke(prompt)
        except Exception as error:  # noqa: BLE001 - each provider's package has its own; the batch goes on
            return Answer(seconds=_seconds_since(began), error=f"{type(error).__name__}: {error}")
        usage: Mapping[str, Any] = said.usage_metadata or {}
        counts = {name: usage.get(name) for name in ("input_tokens", "output_tokens")}
        return Answer(seconds=_seconds_since(began), text=str(said.text), **counts)

    return answer


def _seconds_since(began: float) -> float:
    return round(time.perf_counter() - began, 3)


@contextmanager
def serving_processor(processor: Processor) -> Iterator[str]:
    """Serve a processor on a port that is free, and give its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(processor)) as server:
        threads = [
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, name="processor-api"),
            threading.Thread(target=processor.work, name="processor"),
        ]
        for thread in threads:
            thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            processor.stop()
            for thread in threads:
                thread.join()


def _handler_for(processor: Processor) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._send(202, {"batch": processor.submit(body)})

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path == "/batches":
                after = int(parse_qs(parts.query).get("after", ["0"])[0])
                self._send(200, {"finished": processor.finished(after)})
                return
            found = processor.results(parts.path.removeprefix("/batches/"))
            self._send(404 if found is None else 200, found or {"detail": "there is no such batch"})

        def log_message(self, *_: Any) -> None:
            """Write nothing."""

        def _send(self, status: int, document: Mapping[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler
