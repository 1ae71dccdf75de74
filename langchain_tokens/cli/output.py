"""How does a command speak? Data on stdout, hints on stderr; nothing in a name can forge either."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from langchain_tokens.call import plain
from langchain_tokens.cli.terminal import Segment, Terminal, painted
from langchain_tokens.render import clean

__all__ = (
    "NOTHING_MATCHED",
    "SCHEMA_VERSION",
    "document_text",
    "hint",
    "say",
    "say_document",
    "say_line_document",
    "say_lines",
    "take_any_text",
)

NOTHING_MATCHED = 3
"""The exit code where nothing matched, for who asked for one (`--fail-empty`)."""
SCHEMA_VERSION = 1
"""Of the JSON documents; rises when a key changes its meaning or goes."""


def say(text: str) -> None:
    """Print data."""
    _write(sys.stdout, _cleaned(text))


def say_lines(lines: Sequence[list[Segment]], terminal: Terminal) -> None:
    """Print data in styles; its texts are cleaned before they are painted."""
    safe = [[(clean(text), style) for text, style in line] for line in lines]
    _write(sys.stdout, "\n".join(painted(line, terminal) for line in safe))


def say_document(**fields: Any) -> None:
    """Print one JSON document: money as text, times as ISO 8601, unknown as null."""
    say(document_text(**fields))


def document_text(**fields: Any) -> str:
    """The same as a text, such as for a file."""
    return json.dumps({"schema_version": SCHEMA_VERSION, **plain(fields)}, indent=2, allow_nan=False)


def say_line_document(fields: Any) -> None:
    """Print one JSON object on a line of its own."""
    _write(sys.stdout, json.dumps(plain(fields), allow_nan=False))


def hint(text: str) -> None:
    """Print what is not data: an error, or what to do next."""
    _write(sys.stderr, _cleaned(text))


def take_any_text() -> None:
    """Let a terminal or pipe of any encoding have all texts: what it cannot show is escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _cleaned(text: str) -> str:
    return "\n".join(clean(line) for line in text.split("\n"))


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(f"{text}\n")
        stream.flush()
    except BrokenPipeError:  # whoever reads has enough, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # what is still buffered goes there at exit
        sys.exit(0)
