"""Where inside a run did it go? `run`: its names as a tree, with tokens and cost of each, alone and with all below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from langchain_tokens.cli.beginnings import ENOUGH, beginning, require_one
from langchain_tokens.cli.figures import Cost, costs, count, duration, moment
from langchain_tokens.cli.opening import opened, why_nothing
from langchain_tokens.cli.options import Asked, Database, Json, NoColor, TimeZone, Wide
from langchain_tokens.cli.output import say_document, say_lines
from langchain_tokens.cli.sheets import Column, sheet, wrapped
from langchain_tokens.cli.terminal import Segment, Terminal, look
from langchain_tokens.errors import UnknownRunError
from langchain_tokens.zones import zone_name

if TYPE_CHECKING:
    from langchain_tokens.run import Run
    from langchain_tokens.store.store import UsageStore
    from langchain_tokens.tree import RunNode

__all__ = ("RUN_EXAMPLES", "run")

RUN_EXAMPLES = """\b
Calls, tokens and cost of a name are those with all below it; own are its calls alone.
Examples:
  langchain-tokens run
  langchain-tokens run 0199a3f2
  langchain-tokens run 0199a3f2 --json"""
_LEAST = 20


def run(
    *,
    run_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Its id, or how that begins; else the newest.")
    ] = None,
    database: Database = None,
    tz: TimeZone = None,
    json: Json = False,
    wide: Wide = False,
    no_color: NoColor = False,
) -> None:
    """Show one run as a tree. Calls, tokens and cost of each name in it, alone and with all below."""
    zone = Asked(tz=tz).zone
    with opened(database) as store:
        found = _found(store, run_id)
        if json:
            said = {name: value for name, value in found.to_dict().items() if name != "calls"}
            say_document(
                database=str(store.target), **said, tree=found.tree().to_dict(), calls=found.to_dict()["calls"]
            )
            return
        terminal = look(wide=wide, no_color=no_color)
        day, time = moment(found.started_at, zone)
        began = f"began {day} {time} {zone_name(zone)}"
        say_lines(
            [*_heading(found, began, terminal), *_tree(found.tree(), terminal), *_notes(found, terminal, database)],
            terminal,
        )


def _found(store: UsageStore, said: str | None) -> Run:
    """The run that is meant.

    Raises:
        UnknownRunError: for none.
        QueryError: for several.

    """
    start = None if said is None else beginning(said)
    found = store.runs(limit=1) if start is None else store.find_runs(start, limit=ENOUGH)
    if not found:
        why = why_nothing(store) if start is None else f"no run's id begins with {start!r}"
        raise UnknownRunError(f"{why}; langchain-tokens runs lists them")
    require_one("run", start, [run.run_id for run in found])
    return found[0]


def _heading(found: Run, began: str, terminal: Terminal) -> list[list[Segment]]:
    facts = [began]
    facts += ["goes on"] if found.status == "running" else []
    facts += [] if found.duration_ms is None else [f"took {duration(found.duration_ms)}"]
    facts += [] if found.session is None else [f"session {found.session}"]
    facts += [] if found.mode is None else [f"mode {found.mode}"]
    style = "red" if found.status == "error" else ""
    lines = wrapped(f"{found.name or 'unnamed run'} · {found.status} · {found.run_id}", terminal, "bold")
    lines += wrapped(" · ".join(facts), terminal, "dim")
    return [*lines, *([] if not found.error_message else wrapped(found.error_message, terminal, style))]


def _tree(root: RunNode, terminal: Terminal) -> list[list[Segment]]:
    places = list(root.walk())
    nodes = [node for _, node in places]
    rows = [row for node in nodes for row in (node.subtree, node.own)]
    amounts = costs([Cost(row.cost_usd, row.calls, row.unpriced_calls) for row in rows])
    names = [_name(node, depth) for depth, node in places]
    columns = [
        Column(heading="name", cells=names, is_text=True, least=_LEAST),
        Column(heading="calls", cells=[count(node.subtree.calls) for node in nodes], goes=4),
        Column(heading="failed", cells=_failed(nodes), goes=5),
        Column(heading="input", cells=[count(node.subtree.input_tokens) for node in nodes], goes=7),
        Column(heading="output", cells=[count(node.subtree.output_tokens) for node in nodes], goes=7),
        Column(heading="tokens", cells=[count(node.subtree.total_tokens) for node in nodes]),
        Column(heading="cost USD", cells=amounts[0::2], goes=1),
        Column(heading="own calls", cells=_own(nodes, [count(node.own.calls) for node in nodes]), goes=6),
        Column(heading="own tokens", cells=_own(nodes, [count(node.own.total_tokens) for node in nodes]), goes=3),
        Column(heading="own USD", cells=_own(nodes, amounts[1::2]), goes=2),
    ]
    return sheet(columns, terminal)


def _own(nodes: Sequence[RunNode], cells: Sequence[str]) -> list[str]:
    """Cells of a name's own calls; blank where it has none."""
    return [cell if node.own.calls else "" for node, cell in zip(nodes, cells, strict=True)]


def _name(node: RunNode, depth: int) -> str:
    return "  " * depth + (node.label if depth or node.name is not None else "(run)")


def _failed(nodes: Sequence[RunNode]) -> list[str]:
    return [count(node.subtree.failed_calls) for node in nodes]


def _notes(found: Run, terminal: Terminal, database: str | None) -> list[list[Segment]]:
    from langchain_tokens.cli.sums import notes, unanswered

    said = notes(found.total, None, database=database, ended=unanswered(found.breakdown("status")))
    return [line for note in said for line in wrapped(note, terminal, "yellow")]
