"""What does the program do? It analyses several shares at once, keeps their totals, and looks back on a month."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID, uuid4

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableConfig

from examples.providers import real_model, told
from examples.scripted import Ledger
from examples.stock_analysis.graph import Question, build_graph
from examples.stock_analysis.market import SYMBOLS
from examples.stock_analysis.month import END, START, make_month, record_month
from examples.stock_analysis.scripted_model import STANDS_IN_FOR, ScriptedAnalyst
from examples.stock_analysis.table import add_analysis, create_old_table, migrate, open_table, read_analyses
from langchain_tokens import Run, TokenUsageHandler, UsageStore, label
from langchain_tokens.reports import patterns, trend, unusual

__all__ = ("main", "run")


def main(arguments: Sequence[str] | None = None, ledger: Ledger | None = None) -> int:
    """Run the program and return its exit code: 0 analysed, 2 it could not be.

    Arguments:
        arguments: Those of the command line.
        ledger: Where the scripted model writes what it used.

    """
    options = _parser().parse_args(arguments)
    return told(
        "stock_analysis",
        options.model,
        lambda: run(_model(options.model, ledger), options.db, options.table, options.symbols),
    )


def run(
    model: BaseChatModel, db: Path | str, table: Path | None = None, symbols: Sequence[str] = SYMBOLS
) -> Sequence[UUID]:
    """Analyse the shares, print what was used, and return the ids of the analyses.

    Arguments:
        model: The chat model that every chain asks.
        db: Where tokens are kept.
        table: The application's own database; None is a temporary one.
        symbols: The shares.

    """
    ids = [uuid4() for _ in symbols]
    with TemporaryDirectory() as folder, TokenUsageHandler(db) as handler:
        decisions = analyse(model, handler, symbols, ids)
        runs = [handler.run(analysis_id) for analysis_id in ids]
        _print_analyses(runs, handler)
        _print_table(table or Path(folder) / "application.db", symbols, decisions, runs)
        with TokenUsageHandler(Path(folder) / "month.db") as past:
            record_month(past, make_month())
            past.flush()
            _print_month(past.store)
    return ids


def analyse(
    model: BaseChatModel, handler: TokenUsageHandler, symbols: Sequence[str], ids: Sequence[UUID]
) -> Sequence[str]:
    """Analyse all shares at the same time, each as a run with an id and a title of its own; return the decisions."""
    graph = label(build_graph(model), agent="stock_analysis")  # run_name would be the agent's name otherwise
    configs = [
        RunnableConfig(callbacks=[handler], run_id=analysis_id, run_name=f"stock analysis {symbol}")
        for symbol, analysis_id in zip(symbols, ids, strict=True)
    ]
    states = graph.batch([Question(symbol=symbol) for symbol in symbols], configs)
    return [state["decision"] for state in states]


def _print_analyses(runs: Sequence[Run], handler: TokenUsageHandler) -> None:
    for analysis in runs:
        print(f"{analysis.summary()}\n")
    print(f"Tokens by chain, over {len(runs)} analyses\n{handler.breakdown('chain')}")
    print("\nCalls that failed, and calls whose tokens nobody said")
    for analysis in runs:
        for call in analysis.calls:
            if call.status == "error":
                print(f"{analysis.name}, {call.chain}: {call.status}, {call.error_message}")
            elif call.usage_source != "provider":
                print(f"{analysis.name}, {call.chain}: {call.usage_source}, by {', '.join(call.usage_flags)}")


def _print_table(path: Path, symbols: Sequence[str], decisions: Sequence[str], runs: Sequence[Run]) -> None:
    engine = open_table(path)
    create_old_table(engine)
    migrate(engine)
    for symbol, decision, analysis in zip(symbols, decisions, runs, strict=True):
        add_analysis(engine, symbol, decision, analysis)
    print("\nThe application's own table, stock_analyses")
    print(f"{'symbol':<9}{'input':>7}{'output':>8}{'total':>8}{'calls':>7}  token_usage_breakdown")
    for row in read_analyses(engine):
        counts = f"{row.total_input_tokens:>7,}{row.total_output_tokens:>8,}{row.total_tokens:>8,}"
        chains = len([name for name, value in row.token_usage_breakdown.items() if isinstance(value, dict)])
        said = f"{chains} chains" if row.token_usage_breakdown else "{}"
        print(f"{row.symbol:<9}{counts}{row.llm_calls_count:>7}  {said}")
    engine.dispose()


def _print_month(store: UsageStore) -> None:
    october: dict[str, Any] = {"since": START, "until": END}
    print(f"\nOctober, by week\n{store.timeline('week', **october)}")
    print(f"\nTrend: {trend(store, now=END, **october).verdict}")
    print("\nSuccess and efficiency by chain")
    print(f"{'chain':<24}{'calls':>6}{'success':>9}{'tokens a call':>15}{'output tokens/s':>17}")
    for row in store.breakdown("chain", **october):
        counted = (row.total_tokens or 0) / (row.calls - row.calls_without_usage)
        print(
            f"{row.key['chain']:<24}{row.calls:>6,}{row.success_rate:>9.1%}{counted:>15,.0f}{_number(row.tokens_per_second):>17}"
        )
    habits = patterns(store, top=3, **october)
    print("\nWhere most of the cost goes")
    for place in habits.costly:
        print(f"{place.chain}: {place.share:.0%} of the cost, in {place.calls:,} calls")
    busiest = max(habits.hours, key=lambda hour: hour.calls)
    print(f"Busiest hour: {busiest.name}:00 UTC, {busiest.calls:,} calls of {habits.calls:,}")
    print(f"\nUnusual days\n{unusual(store, since=START, until=END, now=END)}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.stock_analysis", description=__doc__)
    parser.add_argument("symbols", nargs="*", default=SYMBOLS, help="shares to analyse; default: the four sample ones")
    parser.add_argument(
        "--model", help="a name for init_chat_model, like openai:gpt-5-mini; default: scripted, offline"
    )
    parser.add_argument(
        "--db", type=Path, default=Path("langchain_tokens.db"), help="token store; default: %(default)s"
    )
    parser.add_argument("--table", type=Path, help="the application's own SQLite database; default: a temporary one")
    return parser


def _model(name: str | None, ledger: Ledger | None) -> BaseChatModel:
    if name is None:
        print(f"offline: scripted answers in place of {STANDS_IN_FOR}", file=sys.stderr)
        return ScriptedAnalyst(ledger)
    return real_model(name)
