"""Where inside a run did it go? The calls at the names along their paths, each place with its own and all below."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from langchain_tokens.breakdown import BreakdownRow, make_row, row_record
from langchain_tokens.call import Call, plain
from langchain_tokens.footnotes import gap_notes
from langchain_tokens.paths import join_path, split_path
from langchain_tokens.query import missing_label
from langchain_tokens.render import UNKNOWN, Bar, Table, html_table, text_table
from langchain_tokens.sums import Sums

__all__ = ("Place", "RunNode", "call_tree", "sum_tree")

Place = tuple[str | None, ...]
"""Names from the root down; None where calls have no name."""
_DEEPEST = 100
"""Levels of a tree; what lies deeper has the rest of its path as one name."""
_WIDTHS = (5, 6, 8, 4, 6, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunNode:
    """One place in a run: the calls that were made right here, and the places below it."""

    name: str | None
    """None at the root of a run without a name, and for calls that nothing names."""
    path: Place
    """The names from the root down to this one; the root's own name comes first, where it has one."""
    own: BreakdownRow
    """The sums over the calls made right here; `key` is `{"path": …}`, `share` a part of the whole run."""
    subtree: BreakdownRow
    """The sums over these and all calls below."""
    calls: tuple[Call, ...] = field(repr=False)
    """The calls made right here, in the order they started."""
    children: tuple[RunNode, ...] = field(repr=False)
    """The places right below, in the order of their first call."""

    @property
    def label(self) -> str:
        """The name as it is shown."""
        return missing_label("chain") if self.name is None else self.name

    @property
    def place(self) -> str:
        """The path as it is shown."""
        return join_path([missing_label("chain") if name is None else name for name in self.path]) or ""

    def walk(self) -> Iterator[tuple[int, RunNode]]:
        """Each place from this one down, before the places in it, with how deep it lies."""
        waiting = [(0, self)]
        while waiting:
            depth, node = waiting.pop()
            yield depth, node
            waiting += [(depth + 1, child) for child in reversed(node.children)]

    def __str__(self) -> str:
        """An indented line for each place: calls, tokens and cost of its subtree, then its own."""
        return text_table(self._table("  "))

    def _repr_html_(self) -> str:
        """The same as a table, with a bar for each place's share, its own part stronger; what went wrong is named."""
        depths, nodes = zip(*self.walk(), strict=True)
        table, marks = self._table(""), [_marks(node.own) for node in nodes]
        if any(marks):
            rows = tuple((*row, mark) for row, mark in zip(table.rows, marks, strict=True))
            table = replace(table, headings=(*table.headings, ""), rows=rows)
        bars = [Bar(part=node.subtree.share, strong=node.own.share or 0) for node in nodes]
        return html_table(table, bars=bars, depths=depths)

    def to_dict(self) -> dict[str, Any]:
        """Names, sums (`own`, `subtree`) and the calls' ids, nested under `children`; plain JSON-able values."""
        return {
            "name": self.name,
            "path": list(self.path),
            "own": _numbers(self.own),
            "subtree": _numbers(self.subtree),
            "calls": [call.call_id for call in self.calls],
            "children": [child.to_dict() for child in self.children],
        }

    def _table(self, indent: str) -> Table:
        root = "(run)" if self.name is None else self.name
        rows = [
            (depth * indent + (node.label if depth else root), *_shown(node.subtree), *_shown(node.own))
            for depth, node in self.walk()
        ]
        headings = ("", "calls", "tokens", "cost USD", "own", "tokens", "cost USD")
        return Table(headings=headings, rows=tuple(rows), names=1, notes=gap_notes(self.subtree), widths=_WIDTHS)


@dataclass(slots=True)
class _Draft:
    path: Place = ()
    calls: list[Call] = field(default_factory=list)
    own: Sums = field(default_factory=Sums)
    children: dict[str | None, _Draft] = field(default_factory=dict)


def call_tree(calls: Iterable[Call], name: str | None) -> RunNode:
    """Put calls in their places.

    Args:
        calls: the calls of a run, in any order.
        name: the run's name; where a path begins with it, that is the root itself.

    """
    root = _Draft()
    for call in sorted(calls, key=_start):  # so that places are met in the order of their first call
        place = _as_place(call.path, call.chain)
        draft = _at(root, place[1:] if name is not None and place[0] == name else place)
        draft.own.add(call)
        draft.calls.append(call)
    return _finished(root, name)


def sum_tree(groups: Iterable[tuple[str | None, str | None, Sums]]) -> RunNode:
    """Put sums by path and chain in their places, below a root without a name; the chain is asked where no path is."""
    root = _Draft()
    for path, chain, sums in groups:
        _at(root, _as_place(path, chain)).own.merge(sums)
    return _finished(root, None)


def _start(call: Call) -> datetime:
    return call.started_at


def _as_place(path: str | None, chain: str | None) -> Place:
    """The names along a path; without one the chain's, which may be None."""
    names = (chain,) if path is None else split_path(path)
    if len(names) <= _DEEPEST:
        return names
    deeper = [name for name in names[_DEEPEST - 1 :] if name is not None]
    return (*names[: _DEEPEST - 1], join_path(deeper))


def _at(root: _Draft, place: Place) -> _Draft:
    """The draft of a place; it and those above it are made where they are not there yet."""
    draft = root
    for name in place:
        if name not in draft.children:
            draft.children[name] = _Draft((*draft.path, name))
        draft = draft.children[name]
    return draft


def _finished(root: _Draft, name: str | None) -> RunNode:
    subtrees: dict[Place, Sums] = {}
    total = _add_up(root, subtrees)
    return _node(root, name, subtrees, total)


def _add_up(draft: _Draft, subtrees: dict[Place, Sums]) -> Sums:
    sums = subtrees[draft.path] = Sums()
    sums.merge(draft.own)
    for child in draft.children.values():
        sums.merge(_add_up(child, subtrees))
    return sums


def _node(draft: _Draft, root: str | None, subtrees: dict[Place, Sums], total: Sums) -> RunNode:
    path = draft.path if root is None else (root, *draft.path)
    key = {"path": join_path([name for name in path if name is not None])}
    return RunNode(
        name=path[-1] if path else None,
        path=path,
        own=make_row(key, draft.own, total),
        subtree=make_row(key, subtrees[draft.path], total),
        calls=tuple(draft.calls),
        children=tuple([_node(child, root, subtrees, total) for child in draft.children.values()]),
    )


def _shown(row: BreakdownRow) -> tuple[str, str, str]:
    tokens = UNKNOWN if row.total_tokens is None else f"{row.total_tokens:,}"
    return f"{row.calls:,}", tokens, UNKNOWN if row.cost_usd is None else f"{row.cost_usd:,.6f}"


def _marks(row: BreakdownRow) -> str:
    said = (
        (row.failed_calls, "failed"),
        (row.estimated_calls, "estimated"),
        (row.calls_without_usage, "without usage"),
        (row.unpriced_calls, "unpriced"),
    )
    return ", ".join(f"{count:,} {what}" for count, what in said if count)


def _numbers(row: BreakdownRow) -> dict[str, Any]:
    return {name: plain(value) for name, value in row_record(row).items() if name not in row.key}
