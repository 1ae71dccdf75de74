"""What was said in a call? `content`: its messages and its answer, where a handler captured them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from json import dumps
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_tokens.cli.beginnings import ENOUGH, beginning, require_one
from langchain_tokens.cli.figures import moment
from langchain_tokens.cli.opening import opened
from langchain_tokens.cli.options import Asked, Database, Json, NoColor, TimeZone
from langchain_tokens.cli.output import say_document, say_lines
from langchain_tokens.cli.terminal import Segment, look
from langchain_tokens.errors import TokensError
from langchain_tokens.zones import zone_name

if TYPE_CHECKING:
    from langchain_tokens.said import CallContent
    from langchain_tokens.store.store import UsageStore

__all__ = ("CONTENT_EXAMPLES", "content")

CONTENT_EXAMPLES = """\b
For calls of handlers with capture_content=True; langchain-tokens calls --json has the ids.
Examples:
  langchain-tokens content
  langchain-tokens content 0199a3f2
  langchain-tokens content 0199a3f2 --json"""


def content(
    *,
    call_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="The call's id, or how that begins; else the newest.")
    ] = None,
    database: Database = None,
    tz: TimeZone = None,
    json: Json = False,
    no_color: NoColor = False,
) -> None:
    """Show what was said in one call. The messages that were sent, and the answer."""
    zone = Asked(tz=tz).zone
    with opened(database) as store:
        found = _found(store, call_id)
        if json:
            say_document(database=str(store.target), **asdict(found))
            return
        day, time = moment(found.started_at, zone)
        head: list[Segment] = [(f"call {found.call_id} · {day} {time} {zone_name(zone)}", "dim")]
        say_lines([head, *_lines(found)], look(wide=True, no_color=no_color))


def _found(store: UsageStore, said: str | None) -> CallContent:
    """What was said in the call that is meant.

    Raises:
        TokensError: for none.
        QueryError: for several.

    """
    start = "" if said is None else beginning(said)
    ids = store.calls_said_like(start, limit=ENOUGH if start else 1)
    require_one("call", start, ids)
    found = store.content(ids[0]) if ids else None
    if found is None:
        which = f"of a call whose id begins with {start!r}" if start else "of any call"
        raise TokensError(f"it is not kept what was said {which}; TokenUsageHandler(capture_content=True) keeps it")
    return found


def _lines(found: CallContent) -> Iterator[list[Segment]]:
    """Each message and the answer below a heading of its own."""
    for message in found.messages:
        name = f" {message['name']}" if message.get("name") else ""
        yield from _part(f"{message.get('role')}{name}", message)
    if found.answer is None:
        yield from _part("no answer", {})
    else:
        yield from _part("answer", found.answer)
        for other in found.answer.get("alternatives", ()):
            yield from _part("another answer", other)


def _part(heading: str, said: Mapping[str, Any]) -> Iterator[list[Segment]]:
    yield [("", "")]
    yield [(heading, "bold")]
    if said.get("reasoning"):
        yield from _text(str(said["reasoning"]), "dim")
    yield from _text(str(said.get("text") or ""), "")
    for call in said.get("tool_calls", ()):
        arguments = call.get("arguments")
        written = arguments if isinstance(arguments, str) else dumps(arguments, ensure_ascii=False)
        yield from _text(f"{call.get('name')}({written})", "cyan")
    for result in said.get("tool_results", ()):
        yield from _text(str(result.get("text")), "")


def _text(text: str, style: str) -> Iterator[list[Segment]]:
    """Line by line, since what is no line feed is shown as what it is."""
    if text:
        for line in text.split("\n"):
            yield [(f"  {line.removesuffix(chr(13)).expandtabs(4)}", style)]
