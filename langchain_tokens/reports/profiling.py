"""Where does it go, as a profiler would show it? Own and inclusive tokens, cost and calls at every place along `path`.

A profile exports to what viewers of profiles read: folded stacks, one line each, and a file of speedscope's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from langchain_tokens.breakdown import BreakdownRow
from langchain_tokens.errors import QueryError
from langchain_tokens.footnotes import gap_notes
from langchain_tokens.money import pico_of
from langchain_tokens.query import make_query, missing_label
from langchain_tokens.render import UNKNOWN, Table, clean, html_table, text_table
from langchain_tokens.reports.sources import sums_of
from langchain_tokens.sums import Sums
from langchain_tokens.tree import RunNode, sum_tree

if TYPE_CHECKING:
    from langchain_tokens.reports.sources import Source

__all__ = ("MEASURES", "Profile", "profile")

_SCHEMA = "https://www.speedscope.app/file-format-schema.json"
_SHOWN = 50
"""Places that a text shows; the rest is counted."""
_WIDTHS = (9, 5, 9, 5, 9, 9)
_NO_NAME = missing_label("chain")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measure:
    """What a stack weighs, as a whole number."""

    title: str
    read: Callable[[BreakdownRow], int | float | Decimal | None]
    times: int = 1
    """What makes its unit whole."""
    unit: str = "none"
    """In the words of speedscope, which knows times and bytes only."""

    def weight(self, row: BreakdownRow) -> int:
        """What a place weighs by itself; 0 where nothing is known of it."""
        found = self.read(row)
        if isinstance(found, Decimal):
            return pico_of(found)
        return 0 if found is None else round(found * self.times)


def _counted(name: str) -> _Measure:
    return _Measure(title=name.replace("_", " "), read=attrgetter(name))


MEASURES: Mapping[str, _Measure] = {
    "total_tokens": _counted("total_tokens"),
    "input_tokens": _counted("input_tokens"),
    "output_tokens": _counted("output_tokens"),
    "cost": _Measure(title="cost in pico-USD", read=attrgetter("cost_usd"), times=10**12),
    "calls": _counted("calls"),
    "duration": _Measure(title="duration", read=attrgetter("duration_ms"), times=1_000, unit="microseconds"),
}
"""What stacks can be weighed by: tokens, pico-USD (1e-12 US dollars), calls, microseconds that calls took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Sums at every place along the paths of some calls; `print` shows the places with the most tokens below them."""

    root: RunNode
    """The whole; its children are the outermost names. Nodes hold no calls here, only sums."""

    @property
    def rows(self) -> tuple[RunNode, ...]:
        """All places, the largest inclusive sum first: `own` is what was used right there, `subtree` with all below."""
        places = [node for depth, node in self.root.walk() if depth]
        return tuple(sorted(places, key=_largest_first))

    def __str__(self) -> str:
        return text_table(self._table())

    def _repr_html_(self) -> str:
        return html_table(self._table())

    def to_dict(self) -> dict[str, Any]:
        """The places as nested plain values, as `RunNode.to_dict`."""
        return self.root.to_dict()

    def to_folded(self, measure: str = "total_tokens") -> str:
        r"""Folded stacks: a line for each place, its names joined by `;`, a space, and its own weight.

        A backslash in a name is doubled, a `;` is written `\x3b`, control characters likewise, so that different places
        stay different. Places whose own weight is zero or unknown have no line.

        Args:
            measure: one of `MEASURES`: tokens, `cost` (in whole pico-USD), `calls`, `duration` (microseconds).

        Raises:
            QueryError: for another measure.

        """
        known = _measure(measure)
        stacks = ((node.path, known.weight(node.own)) for _, node in self.root.walk())
        return "".join(f"{';'.join(map(_folded_name, path))} {weight}\n" for path, weight in stacks if weight)

    def to_speedscope(self, name: str = "langchain_tokens") -> dict[str, Any]:
        """A document for speedscope, to be written as JSON: one profile for each of `MEASURES`.

        Args:
            name: what the viewer calls it.

        """
        from importlib.metadata import version

        frames: dict[str | None, int] = {}
        profiles = [_sampled(self.root, measure, frames) for measure in MEASURES.values()]
        return {
            "$schema": _SCHEMA,
            "name": name,
            "exporter": f"langchain_tokens {version('langchain_tokens')}",
            "activeProfileIndex": 0,
            "shared": {"frames": [{"name": _NO_NAME if frame is None else frame} for frame in frames]},
            "profiles": profiles,
        }

    def _table(self) -> Table:
        found = self.rows
        rows = [_line(node) for node in found[:_SHOWN]]
        rows.append(("total", *_numbers(self.root.subtree), "", ""))
        more = (f"and {len(found) - _SHOWN:,} more places",) if len(found) > _SHOWN else ()
        return Table(
            headings=("path", "tokens", "share", "cost USD", "calls", "own tokens", "own USD"),
            rows=tuple(rows),
            names=1,
            notes=(*more, *gap_notes(self.root.subtree)),
            widths=_WIDTHS,
        )


def profile(source: Source, **filters: Any) -> Profile:
    """Profile calls along their paths.

    Args:
        source: a `UsageStore`, which answers from its sums whatever it holds; a `TokenUsageHandler`; a `Run`.
        filters: which calls, as `UsageStore.breakdown`: `since`, `until`, `session`, `run`, `agent`, and so on.

    Raises:
        QueryError: for an unknown filter, or a question that the source cannot answer.
        TokensError: for another source.

    """
    groups = sums_of(source, make_query(("path",), filters))
    named = [(path, None, sums) for (path,), sums in groups if path is not None]
    if len(named) < len(groups):  # calls that were recorded without a path are in their chain
        groups = sums_of(source, make_query(("path", "chain"), filters))
        named += [(None, chain, sums) for (path, chain), sums in groups if path is None]
    return Profile(root=sum_tree(sorted(named, key=_by_name)))


def _by_name(group: tuple[str | None, str | None, Sums]) -> tuple[str, str]:
    path, chain, _ = group
    return path or "", chain or ""


def _measure(name: str) -> _Measure:
    if name not in MEASURES:
        raise QueryError(f"unknown measure {name!r}; allowed: {', '.join(MEASURES)}")
    return MEASURES[name]


def _largest_first(node: RunNode) -> tuple[bool, int, int, str]:
    row = node.subtree
    return row.total_tokens is None, -(row.total_tokens or 0), -row.calls, node.place


def _line(node: RunNode) -> tuple[str, ...]:
    return node.place, *_numbers(node.subtree), _tokens(node.own), _money(node.own)


def _numbers(row: BreakdownRow) -> tuple[str, ...]:
    share = UNKNOWN if row.share is None else f"{row.share:.0%}"
    return _tokens(row), share, _money(row), f"{row.calls:,}"


def _tokens(row: BreakdownRow) -> str:
    return UNKNOWN if row.total_tokens is None else f"{row.total_tokens:,}"


def _money(row: BreakdownRow) -> str:
    return UNKNOWN if row.cost_usd is None else f"{row.cost_usd:,.6f}"


def _folded_name(name: str | None) -> str:
    r"""A name that holds no separator; whoever is really called as the nameless are shown gets a `\` in front."""
    if name is None:
        return _NO_NAME
    escaped = name.replace("\\", "\\\\").replace(";", "\\x3b")
    return f"\\{escaped}" if name == _NO_NAME else clean(escaped)


def _sampled(root: RunNode, measure: _Measure, frames: dict[str | None, int]) -> dict[str, Any]:
    """One profile: each place is a sample of its stack, which is given by the numbers of its names' frames."""
    weights = [(node.path, measure.weight(node.own)) for _, node in root.walk()]
    stacks = [(path, weight) for path, weight in weights if weight]
    return {
        "type": "sampled",
        "name": measure.title,
        "unit": measure.unit,
        "startValue": 0,
        "endValue": sum(weight for _, weight in stacks),
        "samples": [[frames.setdefault(name, len(frames)) for name in path] for path, _ in stacks],
        "weights": [weight for _, weight in stacks],
    }
