"""How does a course of numbers look? Columns over time as SVG without script or style sheet; knows no tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from langchain_tokens.render import BARS, html_text

__all__ = ("Column", "column_chart", "slot_of")

_WIDTH, _HEIGHT, _ROOM = 720, 96, 18
"""Of a chart, and the room for its labels above and below, in pixels."""
_HOUR, _WEEK = 3_600, 7
"""Seconds, and days."""
_WIDEST = 48
"""Of a column, in pixels."""
_MOST_COLUMNS = 240
"""Those of longer courses are drawn together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a chart."""

    slot: int
    """Where it stands; slots without a column stay empty."""
    label: str
    value: int | Decimal | None
    """None where it is not known."""


def slot_of(period: str) -> int:
    """The number of an hour (`2026-11-20T12:00Z`), a day (`2026-11-20`), a week (`2026-W47`) or a month (`2026-11`)
    among its like.
    """
    if len(period) == len("2026-11"):
        year, month = period.split("-")
        return int(year) * 12 + int(month)
    moment = datetime.fromisoformat(period)
    if moment.tzinfo is not None:
        return int(moment.timestamp() // _HOUR)
    return moment.toordinal() // (_WEEK if len(period) == len("2026-W47") else 1)


def column_chart(title: str, columns: Sequence[Column], show: Callable[[int | Decimal | None], str]) -> str:
    """Write one `<svg>` with a title and a description; a value that is not known is an outline.

    Args:
        title: what is shown.
        columns: one or more, in the order of their slots.
        show: writes a value.

    """
    first, last = columns[0], columns[-1]
    step = -(-(last.slot - first.slot + 1) // _MOST_COLUMNS)
    drawn = _together(columns, first.slot, step)
    slots = drawn[-1].slot + 1
    top = max(drawn, key=lambda column: -1 if column.value is None else column.value)
    if step > 1:
        title = f"{title}, {step} in a column"
    most = f"most: {show(top.value)} ({top.label})"
    base = _ROOM + _HEIGHT
    parts = [
        f"<title>{html_text(title)}</title><desc>{html_text(f'{first.label} to {last.label}; {most}')}</desc>",
        _text(0, 11, "start", f"{title}; {most}"),
        *(_shape(column, slots, top.value, show) for column in drawn),
        f'<line x1="0" x2="{_WIDTH}" y1="{base}" y2="{base}" stroke="currentColor" stroke-opacity=".4"/>',
        _text(0, base + 14, "start", first.label),
        _text(_WIDTH, base + 14, "end", last.label),
    ]
    return (
        f'<svg class="lt-chart" role="img" viewBox="0 0 {_WIDTH} {base + _ROOM}" width="{_WIDTH}" '
        f'height="{base + _ROOM}" font-size="11" fill="currentColor" '
        f'style="display:block;max-width:100%;height:auto">{"".join(parts)}</svg>'
    )


def _together(columns: Sequence[Column], first: int, step: int) -> list[Column]:
    """Columns counted from 0, one for each so many slots, with the sum of what is known."""
    groups: dict[int, list[Column]] = {}
    for column in columns:
        groups.setdefault((column.slot - first) // step, []).append(column)
    return [
        Column(slot=slot, label=_span(group), value=sum(known) if (known := _known(group)) else None)
        for slot, group in groups.items()
    ]


def _known(group: Sequence[Column]) -> list[int | Decimal]:
    return [column.value for column in group if column.value is not None]


def _span(group: Sequence[Column]) -> str:
    return group[0].label if len(group) == 1 else f"{group[0].label} to {group[-1].label}"


def _shape(column: Column, slots: int, most: int | Decimal | None, show: Callable[[int | Decimal | None], str]) -> str:
    room = _WIDTH / slots
    width = min(room * 0.85, _WIDEST)
    if column.value is None:
        height, look = float(_HEIGHT), 'fill="none" stroke="currentColor" stroke-opacity=".4" stroke-dasharray="2 2"'
    else:
        height, look = float(_HEIGHT * column.value / most) if most else 0.0, f'fill="{BARS}"'
    return (
        f'<rect x="{room * column.slot + (room - width) / 2:.2f}" y="{_ROOM + _HEIGHT - height:.2f}" '
        f'width="{width:.2f}" height="{height:.2f}" {look}>'
        f"<title>{html_text(f'{column.label}: {show(column.value)}')}</title></rect>"
    )


def _text(x: int, y: int, anchor: str, text: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{html_text(text)}</text>'
