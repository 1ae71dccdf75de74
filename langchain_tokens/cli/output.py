"""How does a command speak? Data on stdout, hints on stderr; nothing in a name can forge either."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from langchain_tokens.call import plain
from langchain_tokens.cli.terminal import Segment, Terminal, painted
from langchain_tokens.errors import TokensError
from langchain_tokens.render import clean

__all__ = (
    "NOTHING_MATCHED",
    "SCHEMA_VERSION",
    "document_text",
    "for_stdout",
    "hint",
    "prepare_streams",
    "say",
    "say_document",
    "say_line_document",
    "say_lines",
)

NOTHING_MATCHED = 3
"""The exit code where nothing matched, for who asked for one (`--fail-empty`)."""
SCHEMA_VERSION = 1
"""Of the JSON documents; rises when a key changes its meaning or goes."""
_UNWRITABLE = (errno.EBADF, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def say(text: str) -> None:
    """Print data."""
    _say(_cleaned(text))


def say_lines(lines: Sequence[list[Segment]], terminal: Terminal) -> None:
    """Print data in styles; its texts are cleaned before they are painted."""
    safe = [[(clean(text), style) for text, style in line] for line in lines]
    _say("\n".join(painted(line, terminal) for line in safe))


def say_document(**fields: Any) -> None:
    """Print one JSON document: money as text, times as ISO 8601, unknown as null."""
    say(document_text(**fields))


def document_text(**fields: Any) -> str:
    """The same as a text, such as for a file."""
    return json.dumps({"schema_version": SCHEMA_VERSION, **plain(fields)}, indent=2, allow_nan=False)


def say_line_document(fields: Any) -> None:
    """Print one JSON object on a line of its own."""
    _say(json.dumps(plain(fields), allow_nan=False))


def hint(text: str) -> None:
    """Print what is not data: an error, or what to do next. Where that cannot be said, it is not."""
    try:
        _write(sys.stderr, _cleaned(text))
    except BrokenPipeError:
        _discard(sys.stderr)
        sys.exit(0)
    except OSError:
        _discard(sys.stderr)


def prepare_streams() -> None:
    """Let a terminal or pipe of any encoding have all texts: what it cannot show is escaped. A stream that the process
    was started without is one that takes nothing.
    """
    sys.stdout = sys.stdout or _closed()
    sys.stderr = sys.stderr or _closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def for_stdout() -> Iterator[None]:
    """Write to stdout inside; a reader who has enough, such as `head`, ends the command well.

    Raises:
        TokensError: where it is closed, or on a device that is full.

    """
    try:
        yield
    except BrokenPipeError:
        _discard(sys.stdout)
        sys.exit(0)
    except OSError as error:
        if error.errno not in _UNWRITABLE or error.filename is not None:  # of something else
            raise
        _discard(sys.stdout)
        is_closed = error.errno == errno.EBADF
        why = "is closed; > /dev/null discards it" if is_closed else f"cannot be written ({error.strerror})"
        raise TokensError(f"standard output {why}") from error


def _cleaned(text: str) -> str:
    return "\n".join(clean(line) for line in text.split("\n"))


def _say(text: str) -> None:
    with for_stdout():
        _write(sys.stdout, text)


def _write(stream: TextIO, text: str) -> None:
    stream.write(f"{text}\n")
    stream.flush()


def _closed() -> TextIO:
    """A stream that cannot be written, in place of none: a database's file must not get its number either."""
    return os.fdopen(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")


def _discard(stream: TextIO) -> None:
    """Let what is still buffered go nowhere when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
