"""What does the program do? It reads notes by component, from a cache, without LangChain, and with several models."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

from langchain_core.caches import InMemoryCache
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ContextThreadPoolExecutor

from examples.clinical_pipeline.components import EXTRACTOR, StrictMcodeMapper, StrictNlpExtractor
from examples.clinical_pipeline.direct import by_request, by_sdk, extract_directly, has_sdk
from examples.clinical_pipeline.local_server import serve
from examples.clinical_pipeline.notes import NOTES, Note
from examples.clinical_pipeline.past import NOW, START, record_past
from examples.clinical_pipeline.scripted_model import CAST, scripted_model
from examples.providers import real_model, told
from examples.scripted import Ledger
from langchain_tokens import (
    Budget,
    BudgetExceeded,
    PriceBook,
    TokenUsage,
    TokenUsageHandler,
    UsageStore,
    track,
)
from langchain_tokens.reports import compare, forecast, unusual

__all__ = ("Pipeline", "main", "run")

COMPARED = ("tokens", "cost_usd", "duration_ms")
QUOTA = 800
"""Tokens that one operation may use."""
DEEPSEEK = CAST[2]
RATES = (("openai", "gpt-4o", "2.50", "10"), ("openai", "gpt-4o-mini", "0.15", "0.60"))
CACHED_RATES = (("deepseek", "deepseek-v4-flash", "0.14", "0.28", "0.0028"),)
"""What the hospital's contracts say, in USD for a million tokens of input, output and cached input."""
Names: TypeAlias = tuple[str | None, str | None]
"""Provider and model."""


class Pipeline:
    """Both components with one model.

    Arguments:
        model: The chat model that both ask.
        handler: The process's one handler.

    """

    def __init__(self, model: BaseChatModel, handler: TokenUsageHandler) -> None:
        self.extractor, self.mapper = StrictNlpExtractor(model), StrictMcodeMapper(model)
        self.config = RunnableConfig(callbacks=[handler])

    def process(self, note: Note) -> dict[str, float]:
        """Read one note, and return how much was found."""
        entities = self.extractor.extract(note, self.config)
        return {"entities": len(entities), "mappings": len(self.mapper.map(entities, self.config))}

    def process_all(self, notes: Sequence[Note]) -> None:
        """Read notes in several threads at once; they keep the names of the block that they are started in."""
        with ContextThreadPoolExecutor(max_workers=4) as threads:
            list(threads.map(self.process, notes))


def main(arguments: Sequence[str] | None = None, ledger: Ledger | None = None) -> int:
    """Run the program and return its exit code: 0 done, 2 it could not be.

    Arguments:
        arguments: Those of the command line.
        ledger: Where scripted models, and the server on this machine, write what they used.

    """
    ledger = Ledger() if ledger is None else ledger
    options = _parser().parse_args(arguments)
    asked_for = ", ".join(options.model) if options.model else None
    return told("clinical_pipeline", asked_for, lambda: run(_models(options.model, ledger), options.db, ledger))


def run(models: Sequence[BaseChatModel], db: Path | str, ledger: Ledger) -> None:
    """Do everything, and print what was used.

    Arguments:
        models: The chat models that are compared; the first one is the pipeline's own.
        db: Where tokens are kept.
        ledger: Where the server on this machine writes what it used.

    """
    prices = _prices()
    with TokenUsageHandler(db, prices=prices) as handler, TemporaryDirectory() as folder:
        _read_by_component(models[0], handler)
        _read_without_langchain(handler, ledger)
        _stop_at_quota(models[0], handler)
        names = _compare_models(models, handler)
        _print_total(handler)
        with TokenUsageHandler(Path(folder) / "past.db", prices=prices) as past:
            record_past(past)
            past.flush()
            _look_ahead(past.store, names)


def _read_by_component(model: BaseChatModel, handler: TokenUsageHandler) -> None:
    cached = Pipeline(model.model_copy(update={"cache": InMemoryCache()}), handler)
    for title in ("First pass", "The same notes again, from LangChain's cache"):
        with track(handler.store, run=title) as operation:  # each begins at nothing
            cached.process_all(NOTES[:3])
        total = operation.total
        print(f"{title}\n{operation.breakdown('chain')}")
        print(f"Of {total.calls} calls {total.cached_calls} from the cache, which saved {_usd(total.saved_cost_usd)}")
        print(f"{EXTRACTOR} alone: {operation.breakdown('chain')[EXTRACTOR].total_tokens or 0:,} tokens\n")


def _read_without_langchain(handler: TokenUsageHandler, ledger: Ledger) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(serve(DEEPSEEK, ledger))
        ask = stack.enter_context(by_sdk(url)) if has_sdk() else by_request(url)
        operation = stack.enter_context(track(handler.store, run="Without LangChain"))
        said = [
            extract_directly(complete, DEEPSEEK.model, note, handler)[1]
            for complete, note in ((ask, NOTES[0]), (by_request(url), NOTES[1]))
        ]
    print(f"A provider's API without LangChain\n{operation.breakdown('provider', 'model', 'chain')}")
    print(f"Two usages added: {_counts(sum(said, TokenUsage()))}\n")


def _stop_at_quota(model: BaseChatModel, handler: TokenUsageHandler) -> None:
    quota = Budget(name="operation", limit_tokens=QUOTA, per="run", action="stop", assumed_output_tokens=100)
    pipeline, read = Pipeline(model, handler), 0
    print(f"A quota of {QUOTA:,} tokens for an operation")
    try:
        with track(handler.store, run="With a quota", budgets=[quota]) as operation:
            for note in NOTES:
                pipeline.process(note)
                read += 1
    except BudgetExceeded as stop:
        used = operation.total.total_tokens or 0  # of calls, too, that are not in the database yet
        print(f"stopped {stop.chain} at {NOTES[read].note_id} before it asked: {used:,} of {stop.limit:,} used")
    total = operation.total
    print(f"{read} of {len(NOTES)} notes read, {total.total_tokens or 0:,} tokens in {total.calls} calls\n")


def _compare_models(models: Sequence[BaseChatModel], handler: TokenUsageHandler) -> Sequence[Names]:
    found: dict[str, dict[str, float]] = {}
    names: list[Names] = []
    for model in models:
        pipeline = Pipeline(model, handler)
        for note in NOTES:
            with track(handler.store, run=note.note_id, mode="comparison") as operation:
                found[operation.run_id] = pipeline.process(note)
        names.append((operation.calls[0].provider, operation.calls[0].model))
    handler.flush()
    print(f"{len(models)} model{'s' * (len(models) > 1)} on the same {len(NOTES)} notes")
    print(
        compare(
            handler.store,
            "model",
            values=[name for _, name in names],
            measures=COMPARED,
            outcomes=found,
            mode="comparison",
        )
    )
    return names


def _print_total(handler: TokenUsageHandler) -> None:
    print(f"\nThe whole process, by component\n{handler.breakdown('chain')}")
    print(f"\nThe whole process, by provider and model\n{handler.breakdown('provider', 'model')}")


def _look_ahead(store: UsageStore, names: Sequence[Names]) -> None:
    print(f"\nSix weeks until {NOW:%Y-%m-%d}, by month\n{store.timeline('month', since=START, until=NOW)}")
    print(f"\nWhat the month will come to\n{forecast(store, now=NOW)}")
    print(f"\nUnusual days\n{unusual(store, since=START, until=NOW, now=NOW)}")
    print("\nThe six weeks on the other models that were compared, an estimate")
    for provider, name in names[1:]:
        other = store.reprice(as_model=name, as_provider=provider, since=START, until=NOW).total
        print(f"{name:<20}{other.after_usd:>10.6f} USD instead of {other.before_usd:.6f}")
    week = store.savings(top=20, since=NOW - timedelta(days=7), until=NOW)
    cheaper = {saving.other_model: saving for saving in week.rows}
    tried = [cheaper[name] for _, name in names if name in cheaper]
    print("\nCheaper models of the same provider in the last week, among those that were tried")
    for saving in tried:
        print(f"{saving.other_model} instead of {saving.model} saves {saving.share:.0%}")


def _prices() -> PriceBook:
    """Own prices first; models that no contract names are priced by the catalogue."""
    names = ("provider", "model", "input", "output", "cache_read")
    return PriceBook([dict(zip(names, rates, strict=False)) for rates in (*RATES, *CACHED_RATES)])


def _usd(amount: object) -> str:
    return "nothing" if amount is None else f"{amount:.6f} USD"


def _counts(usage: TokenUsage) -> str:
    cached = f"{usage.cache_read_tokens} of the input read from the provider's cache"
    return f"{usage.input_tokens} input, {usage.output_tokens} output, {usage.total_tokens} total; {cached}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.clinical_pipeline", description=__doc__)
    parser.add_argument(
        "--model",
        action="append",
        help="a name for init_chat_model, like openai:gpt-5-mini; several are compared; default: scripted, offline",
    )
    parser.add_argument(
        "--db", type=Path, default=Path("langchain_tokens.db"), help="token store; default: %(default)s"
    )
    return parser


def _models(names: Sequence[str] | None, ledger: Ledger) -> Sequence[BaseChatModel]:
    if not names:
        print(f"offline: scripted answers in place of {', '.join(player.model for player in CAST)}", file=sys.stderr)
        return [scripted_model(player, ledger) for player in CAST]
    return [real_model(name) for name in names]
