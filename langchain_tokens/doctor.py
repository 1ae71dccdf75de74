"""What is not known, and what would make it known? Findings about calls, each with the one line that mends it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from langchain_tokens.call import Call
from langchain_tokens.query import missing_label
from langchain_tokens.render import clean, counted
from langchain_tokens.usage import contradicts

__all__ = ("UNANSWERED", "Diagnosis", "Finding", "diagnose")


UNANSWERED = ("error", "cancelled")
"""What becomes of calls whose usage nobody can supply, since there was no answer that could have had it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One kind of gap: how many calls have it, an example, and what to do."""

    kind: str
    """`without_usage`, `unpriced`, `unattributed`, `partial` or `unnamed_agent`."""
    calls: int
    what: str
    fix: str


class Diagnosis(Sequence[Finding]):
    """The findings about some calls; prints as text."""

    __slots__ = ("_findings", "calls", "unanswered_calls")

    def __init__(self, findings: Iterable[Finding], calls: int, unanswered_calls: int = 0) -> None:
        self._findings = tuple(findings)
        self.calls = calls
        self.unanswered_calls = unanswered_calls
        """Calls that failed or were cancelled and have no usage, which is no gap that anybody could fill."""

    def __len__(self) -> int:
        return len(self._findings)

    def __getitem__(self, index: int) -> Finding:  # type: ignore[override]  # slices are of no use here
        return self._findings[index]

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._findings)

    def __str__(self) -> str:
        lines = [f"{finding.calls:,} of {self.calls:,} calls {finding.what}\n  {finding.fix}" for finding in self]
        if not lines:
            lines.append(f"{counted(self.calls, 'call')}, nothing missing")
        if self.unanswered_calls:
            calls = counted(self.unanswered_calls, "failed or cancelled call")
            lines.append(f"{calls} without usage: nothing to supply")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    kind: str
    applies: Callable[[Call], bool]
    about: Callable[[Call], str]
    fix: str | Callable[[Call], str]


def _model(call: Call) -> str:
    return clean(f"{call.provider or 'unknown provider'}/{call.model or 'unknown model'}")


def _setting(call: Call) -> str:
    """The command that gives a call's model a price."""
    words = ["langchain-tokens", "prices", "set", clean(call.model or "")]
    words += [] if call.provider is None else ["--provider", clean(call.provider)]
    return f"{shlex.join(words)} --input … --output … --file prices.toml"


def _is_unsaid(call: Call) -> bool:
    return call.status == "ok" and call.usage_source in ("missing", "estimated")


def _is_unanswered(call: Call) -> bool:
    return call.status in UNANSWERED and (call.usage is None or call.usage.total_tokens is None)


def _estimated(call: Call) -> str:
    return ", which is estimated" if call.usage_source == "estimated" else ""


def _is_unpriced(call: Call) -> bool:
    usage = call.usage
    return call.price_status == "unpriced" and usage is not None and usage.input_tokens is not None


_RULES = (
    _Rule(
        kind="without_usage",
        applies=lambda call: _is_unsaid(call) and call.streamed is True,
        about=lambda call: f"streamed without usage{_estimated(call)} ({_model(call)})",
        fix="ask the client for it: ChatOpenAI(..., stream_usage=True); with a base_url it is off by default",
    ),
    _Rule(
        kind="without_usage",
        applies=lambda call: _is_unsaid(call) and call.streamed is not True,
        about=lambda call: f"answered without usage{_estimated(call)} ({_model(call)})",
        fix="the provider or the client class sent none: see whether its integration package has a newer version",
    ),
    _Rule(
        kind="unpriced",
        applies=lambda call: _is_unpriced(call) and contradicts(call.usage_flags),
        about=lambda call: f"have no price, since their usage contradicts itself ({_model(call)})",
        fix="compare call.raw_usage and call.usage_flags with the bill; a price for numbers that cannot be is none",
    ),
    _Rule(
        kind="unpriced",
        applies=lambda call: _is_unpriced(call) and not contradicts(call.usage_flags) and call.model is None,
        about=lambda call: f"have no price, since no model is named ({_model(call)})",
        fix="name it: handler.record(..., model='…', provider='…'); a chat model says it as ls_model_name",
    ),
    _Rule(
        kind="unpriced",
        applies=lambda call: _is_unpriced(call) and not contradicts(call.usage_flags) and call.model is not None,
        about=lambda call: f"have no price that covers their usage ({_model(call)})",
        fix=lambda call: (
            f"set one: {_setting(call)}, or PriceBook([{{'model': 'NAME', 'input': '…', 'output': '…'}}]); is it your "
            "own machine, then PriceBook(free_providers={'PROVIDER'}); and for what is stored: "
            "store.reprice(prices=book, write=True)"
        ),
    ),
    _Rule(
        kind="partial",
        # only a call in a node says for sure that there is a graph above its parent
        applies=lambda call: call.parent_run_id == call.run_id and call.node is not None,
        about=lambda call: f"were seen without the chain around them ({clean(call.chain or _model(call))})",
        fix="pass the handler to the outermost call: graph.invoke(..., config={'callbacks': [handler]})",
    ),
    _Rule(
        kind="unattributed",
        applies=lambda call: call.chain is None,
        about=lambda _: f"belong to no named chain, shown as {missing_label('chain')}",
        fix="name it: runnable.with_config(run_name='…'), label(runnable, chain='…') or track(chain='…')",
    ),
    _Rule(
        kind="unnamed_agent",
        applies=lambda call: call.agent is None and call.node is not None,
        about=lambda call: f"were made in a graph without a name ({clean(call.path or call.node or '')})",
        fix="name it: graph.compile(name='…'), create_agent(..., name='…') or attach(graph, handler, agents={…})",
    ),
)


def diagnose(calls: Iterable[Call]) -> Diagnosis:
    """Look for what is missing in calls, and say what would supply it.

    Args:
        calls: the calls to look at; cached and failed ones lack no usage that could be supplied.

    Returns:
        One finding for each kind of gap and example, those with most calls first; and how many calls failed or were
        cancelled without usage.

    """
    found: dict[tuple[str, str, str], int] = {}
    seen = unanswered = 0
    for call in calls:
        seen += 1
        unanswered += _is_unanswered(call)
        for rule in _RULES:
            if rule.applies(call):
                key = (rule.kind, rule.about(call), rule.fix if isinstance(rule.fix, str) else rule.fix(call))
                found[key] = found.get(key, 0) + 1
    findings = (Finding(kind=kind, calls=count, what=what, fix=fix) for (kind, what, fix), count in found.items())
    return Diagnosis(sorted(findings, key=lambda finding: -finding.calls), seen, unanswered)
