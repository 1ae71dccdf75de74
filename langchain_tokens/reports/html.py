"""How is a report sent to somebody? As one HTML file that needs nothing else: no server, no network."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from langchain_tokens.breakdown import Breakdown, BreakdownRow
from langchain_tokens.call import plain
from langchain_tokens.footnotes import gap_notes, left_out
from langchain_tokens.notebook import Fact, total_facts
from langchain_tokens.query import make_query
from langchain_tokens.render import UNKNOWN, Table, html_table, html_text
from langchain_tokens.reports.glance import Overview, overview

if TYPE_CHECKING:
    from langchain_tokens.call import Call
    from langchain_tokens.store.store import UsageStore

__all__ = ("html_report",)

_DIMENSIONS = ("mode", "model", "agent", "chain", "session", "user")
_ROWS = 20
_DRAWN = ("calls", "total_tokens", "cost_usd")
_NESTED = ("agent", "chain", "model")
_MOST_PARTS = 500
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
_SCRIPTS = ("format.js", "charts.js", "series.js", "report.js")
_IMPORT = re.compile(r"^import .*?;\n", re.MULTILINE | re.DOTALL)
_EXPORT = re.compile(r"^export (?=const|class|function|async)", re.MULTILINE)
_LIBRARY_EXPORT = re.compile(r"export\{(\w+) as init\};?\s*$")


def html_report(store: UsageStore, *, title: str = "Token usage", **filters: Any) -> str:
    """Write a report: totals, charts over time and by name, tables, and the dearest calls.

    Args:
        store: whose calls.
        title: its heading.
        filters: which calls, as `UsageStore.breakdown`.

    Returns:
        The whole file. Charts are drawn by the script in it, all numbers are also in tables that need none.

    Raises:
        QueryError: for a question that cannot be asked.

    """
    found = overview(store, **filters)
    tables = {name: store.breakdown(name, limit=_ROWS, **filters) for name in _DIMENSIONS}
    calls = store.calls(limit=_ROWS, order="-cost_usd", **filters)
    data = _data(store, found, tables, filters)
    panels = [_panel(f"By {name}", _table_of(rows)) for name, rows in tables.items()]
    panels.append(_panel("The dearest calls", html_table(_calls_table(calls))))
    sections = [_cards(found), _gaps(found), _charts(), *panels]
    return _document(title, _about(store, found, filters), sections, data)


def _data(store: UsageStore, found: Overview, tables: dict[str, Breakdown], filters: dict[str, Any]) -> dict[str, Any]:
    """What the charts are drawn from, in the words of the JSON API."""
    first = store.calls(limit=1, order="started_at", **filters)
    since = found.since or (first[0].started_at if first else None)
    step = _step(since, found.until)
    return {
        "step": step,
        "since": since,
        "until": found.until or datetime.now(UTC),
        "timeline": _answer(store.timeline(step, by="model", **filters)),
        "models": _answer(tables["model"]),
        "nested": _answer(store.breakdown(*_NESTED, limit=_MOST_PARTS, **filters)),
        "order": _NESTED,
    }


def _answer(found: Breakdown) -> dict[str, Any]:
    """The numbers that are drawn."""
    return {
        "rows": [{**row.key, **_drawn_numbers(row)} for row in found],
        "total": _drawn_numbers(found.total),
    }


def _drawn_numbers(row: BreakdownRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _DRAWN}


def _step(since: datetime | None, until: datetime | None) -> str:
    """The step in which a range is best seen."""
    days = 0.0 if since is None else ((until or datetime.now(UTC)) - since).total_seconds() / 86_400
    return "hour" if days <= 3 else "day" if days <= 186 else "month"  # noqa: PLR2004  # days, and half a year of them


def _about(store: UsageStore, found: Overview, filters: dict[str, Any]) -> str:
    """Which calls these are, and when it was said."""
    query = make_query((), filters)
    names = [f"{key} {' or '.join(value or '(none)' for value in values)}" for key, values in query.equals.items()]
    names += [f"tag {key} {' or '.join(value or '(none)' for value in values)}" for key, values in query.tags.items()]
    since = "all calls" if found.since is None else f"calls since {found.since:%Y-%m-%d %H:%M} UTC"
    until = "" if found.until is None else f" until {found.until:%Y-%m-%d %H:%M} UTC"
    made = f"made {datetime.now(UTC):%Y-%m-%d %H:%M} UTC with langchain_tokens {version('langchain_tokens')}"
    return " \u00b7 ".join([f"{since}{until}", *names, str(store.target), made])


def _cards(found: Overview) -> str:
    total = found.total
    facts: Sequence[Fact] = [
        *total_facts(total),
        ("average per run", _count(found.tokens_per_run)),
        ("cost per run", _money(found.cost_per_run_usd)),
        ("cost per 1K tokens", _money(found.cost_per_1k_tokens_usd)),
        ("most expensive model", _model(found.most_expensive_model)),
        ("most used model", _model(found.most_used_model)),
        ("saved by caches", _money(total.saved_cost_usd)),
        ("wasted", _money(total.wasted_cost_usd)),
        ("runs", _count(found.runs)),
        ("sessions", _count(found.sessions)),
    ]
    cards = "".join(
        f'<div class=card><dt>{html_text(name)}</dt><dd class="value text">{html_text(value)}</dd></div>'
        for name, value in facts
    )
    return f"<dl class=cards>{cards}</dl>"


def _panel(title: str, content: str) -> str:
    return f"<section class=panel><h2>{html_text(title)}</h2>{content}</section>"


def _table_of(found: Breakdown) -> str:
    """Rows with what the limit left out of them; what else their sums do not cover is said once for all tables."""
    said = "".join(f"<p class=hint>{html_text(note)}</p>" for note in left_out(found.by, found, found.total))
    return f"{found._repr_html_()}{said}"


def _gaps(found: Overview) -> str:
    """What the sums do not cover; once for all tables."""
    notes = gap_notes(found.total)
    return f"<p class=gaps>{html_text('; '.join(notes))}</p>" if notes else ""


def _charts() -> str:
    """Where the script draws; what it draws is in the tables, too."""
    places = (("time-tokens", "Tokens over time"), ("time-cost", "Cost over time"))
    parts = (("pie", "Cost by model"), ("sunburst", "Agents, their chains, their models"))
    return "".join(
        '<div class="grid two" data-charts hidden>'
        + "".join(_panel(text, f"<div id={name}></div>") for name, text in row)
        + "</div>"
        for row in (places, parts)
    )


def _calls_table(calls: Sequence[Call]) -> Table:
    rows = [
        (
            f"{call.started_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
            call.chain or "(unattributed)",
            call.agent or "(none)",
            call.model or "(none)",
            _count(None if call.usage is None else call.usage.total_tokens),
            _money(call.cost_usd),
            call.status,
        )
        for call in calls
    ]
    headings = ("time (UTC)", "chain", "agent", "model", "tokens", "cost", "status")
    return Table(headings=headings, rows=tuple(rows), names=4)


def _document(title: str, about: str, sections: Sequence[str], data: dict[str, Any]) -> str:
    """The file: data in it can end neither its element nor begin another."""
    text = json.dumps(plain(data), allow_nan=False)
    for mark in "<>&\u2028\u2029":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    scripts = "".join(f"<script type=module>{script}</script>" for script in (_library(), _script()))
    return (
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        '<meta name=color-scheme content="light dark">'
        f"<title>{html_text(title)}</title><style>{_static('style.css')}</style></head>"
        f"<body class=report><main><div class=view><h1>{html_text(title)}</h1><p class=hint>{html_text(about)}</p>"
        f"{''.join(sections)}</div></main>"
        f'<script type="application/json" id=data>{text}</script>{scripts}</body></html>\n'
    )


def _library() -> str:
    """The charts' library, which gives its one function to the page."""
    script, count = _LIBRARY_EXPORT.subn(r"globalThis.drawing={init:\1};", _static("echarts.js").rstrip())
    if count != 1:
        raise RuntimeError("echarts.js does not end with its export; see docs/echarts/build.mjs")
    return script


def _script() -> str:
    """The page's own modules as one."""
    text = "".join(_EXPORT.sub("", _IMPORT.sub("", _static(name))) for name in _SCRIPTS)
    return f"const {{init}}=globalThis.drawing;\n{text}"


def _static(name: str) -> str:
    """A file of the dashboard, none of which can end the element that it is put into."""
    place = files("langchain_tokens") / "dashboard" / "static" / name
    return place.read_text(encoding="utf-8").replace("</s", "<\\/s")


def _count(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:,.0f}"


def _money(value: Any) -> str:
    return UNKNOWN if value is None else f"{value:,.6f} USD"


def _model(row: BreakdownRow | None) -> str:
    return UNKNOWN if row is None else f"{row.key['model']}"
