"""What do the pictures of the documentation look like? `python -m docs.pictures.draw` writes docs/images/*.svg."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from docs.pictures.scenes import Lane, Row, attempt_lanes, tree_rows
from langchain_tokens import Call

__all__ = ("FOLDER", "pictures")

FOLDER = Path(__file__).parents[1] / "images"
_STYLE = """
.paper{fill:#fff;stroke:#c9cfd9}.text{fill:#1b2430}.quiet{fill:#5b6675}.line{stroke:#aab3c0}
.box{fill:#eef2f8;stroke:#8793a5}.call{fill:#dbe6ff;stroke:#2456d6}.bad{fill:#ffe3e0;stroke:#c0392b}
.again{fill:#fff0d1;stroke:#b7791f}.key{fill:#1d4ed8}
@media (prefers-color-scheme:dark){
.paper{fill:#161b24;stroke:#3a4453}.text{fill:#e6eaf0}.quiet{fill:#a3aebd}.line{stroke:#55606f}
.box{fill:#222a36;stroke:#6b7789}.call{fill:#1c2f5e;stroke:#7aa2ff}.bad{fill:#4a2320;stroke:#ff8a7a}
.again{fill:#453413;stroke:#f0b64a}.key{fill:#8fb0ff}}
.gone{stroke-dasharray:5 4}
text{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:13px}
.title{font-weight:bold}.small{font-size:12px}
"""
_ROW, _CHARACTER = 27, 7.9
_SAYS = {
    "graph": "a graph with a name: an agent",
    "node": "a node: a chain",
    "chain": "a named chain, nearer than its node",
    "generic": "LangChain's own name: names nothing",
}
_CHAIN = (
    ("tokens_chain, label(chain=), track(chain=)", "said, the nearest; a node ends what was said outside of it"),
    ('model.with_config(run_name="x")', "the call's own name"),
    ("lc_source", "what LangChain's middleware says: summarization …"),
    ('chain.with_config(run_name="x"), @tool, function', "the nearest named run in the node"),
    ('add_node("x", …), @task', "the node"),
    ('graph.compile(name="x")', "the run's own name"),
    ("(unattributed)", "nobody: null in data, never guessed"),
)
_AGENT = (
    ("tokens_agent, label(agent=), track(agent=)", "said, the nearest"),
    ("attach(graph, agents={node: name})", "a node named as an agent"),
    ('create_agent(name="X")', "where the name appears or changes"),
    ('graph.compile(name="X")', "a graph with a name"),
    ("the node or tool that holds it", "for a nested graph without a name"),
    ('TokenUsageHandler(agent="X")', "the default"),
    ("(none)", "nobody: null in data"),
)


def pictures() -> dict[str, str]:
    """The pictures, by the names of their files."""
    return {
        "attribution-tree.svg": _tree(tree_rows()),
        "attribution-names.svg": _names(),
        "attribution-attempts.svg": _attempts(attempt_lanes()),
    }


def _tree(rows: Sequence[Row]) -> str:
    parts = [_text(24, 34, "what LangChain reports", "title text"), _text(640, 34, "agent", "title text")]
    parts += [_text(760, 34, "chain", "title text"), _text(900, 34, "attempt", "title text")]
    for number, row in enumerate(rows):
        x, y = 24 + row.depth * 26, 62 + number * _ROW
        parts += _elbow(rows, number)
        if row.call is None:
            parts.append(_text(x, y, row.name, "text" if row.kind != "generic" else "quiet"))
            parts.append(_text(x + (len(row.name) + 2) * _CHARACTER, y, _SAYS[row.kind], "quiet small"))
            continue
        parts.append(_box(x - 6, y - 16, 96, 22, "call"))
        parts.append(_text(x, y, row.name, "text"))
        parts.append(f'<line class="line" stroke-dasharray="3 4" x1="{x + 98}" y1="{y - 5}" x2="630" y2="{y - 5}"/>')
        cells = ((640, row.call.agent), (760, row.call.chain), (900, str(row.call.attempt)))
        parts += [_text(left, y, said or "(none)", "key") for left, said in cells]
    return _svg(980, 62 + len(rows) * _ROW, "A run's tree and the names of its calls", parts)


def _elbow(rows: Sequence[Row], number: int) -> list[str]:
    """The line from a row to the one above it that it is in."""
    row = rows[number]
    above = next((at for at in range(number - 1, -1, -1) if rows[at].depth == row.depth - 1), None)
    if above is None:
        return []
    x, y, top = 24 + row.depth * 26 - 18, 57 + number * _ROW, 66 + above * _ROW
    return [f'<path class="line" fill="none" d="M{x} {top}V{y}H{x + 12}"/>']


def _names() -> str:
    parts, y = [], 34
    for title, rungs in (
        ("chain: the first that is there", _CHAIN),
        ("agent: the innermost of these; at one place the first", _AGENT),
    ):
        parts.append(_text(24, y, title, "title text"))
        for number, (code, what) in enumerate(rungs):
            top = y + 14 + number * 34
            is_last = number == len(rungs) - 1
            parts.append(_box(24, top, 430, 28, "box" if is_last else "call"))
            parts.append(_text(36, top + 19, f"{number + 1}  {code}", "text"))
            parts.append(_text(472, top + 19, what, "quiet"))
        y += 34 * len(rungs) + 56
    return _svg(980, y - 30, "Where the names of chain and agent come from", parts)


def _attempts(lanes: Sequence[Lane]) -> str:
    parts = []
    for number, lane in enumerate(lanes):
        y = 36 + number * 88
        parts.append(_text(24, y, lane.title, "title text"))
        for place, call in enumerate(lane.calls):
            parts += _attempt(24 + place * 240, y + 12, call)
    return _svg(760, 36 + len(lanes) * 88 - 8, "What counts as an attempt, and why work was done again", parts)


def _attempt(x: int, y: int, call: Call) -> list[str]:
    kind = "bad" if call.status == "error" else "again" if call.retry_kind else "call"
    said: list[str] = [] if call.status == "ok" else [call.status]
    said += ["superseded"] if call.superseded else []
    said += [f"retry_kind {call.retry_kind}"] if call.retry_kind else []
    return [
        _box(x, y, 222, 46, f"{kind} gone" if call.superseded else kind),
        _text(x + 10, y + 19, f"{call.chain}  attempt {call.attempt}", "text small"),
        _text(x + 10, y + 37, ", ".join(said), "quiet small"),
    ]


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" xml:space="preserve">{escape(text)}</text>'


def _box(x: float, y: float, width: float, height: float, kind: str) -> str:
    return f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5"/>'


def _svg(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    paper = f'<rect class="paper" x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="8"/>'
    return "\n".join([head, f"<title>{escape(title)}</title>", f"<style>{_STYLE}</style>", paper, *parts, "</svg>", ""])


if __name__ == "__main__":
    for name, picture in pictures().items():
        (FOLDER / name).write_text(picture, encoding="utf-8")
