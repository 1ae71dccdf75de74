"""How does a command speak? Data on stdout, hints on stderr; nothing in a name can forge either."""

from __future__ import annotations

import io
import json
import os
import sys
from typing import Any, TextIO

from langchain_tokens.call import plain
from langchain_tokens.render import clean

__all__ = ("SCHEMA_VERSION", "hint", "say", "say_document", "take_any_text")

SCHEMA_VERSION = 1
"""Of the JSON documents; rises when a key changes its meaning or goes."""


def say(text: str) -> None:
    """Print data."""
    _write(sys.stdout, text)


def say_document(**fields: Any) -> None:
    """Print one JSON document: money as text, times as ISO 8601, unknown as null."""
    document = {"schema_version": SCHEMA_VERSION, **plain(fields)}
    _write(sys.stdout, json.dumps(document, indent=2, allow_nan=False))


def hint(text: str) -> None:
    """Print what is not data: an error, or what to do next."""
    _write(sys.stderr, text)


def take_any_text() -> None:
    """Let a terminal or pipe of any encoding have all texts: what it cannot show is escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _write(stream: TextIO, text: str) -> None:
    lines = [clean(line) for line in text.split("\n")]
    try:
        stream.write("\n".join([*lines, ""]))
        stream.flush()
    except BrokenPipeError:  # whoever reads has enough, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # what is still buffered goes there at exit
        sys.exit(0)
