"""What does the program do with one question? It asks the graph, prints the answer, and shows where the tokens went."""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from langchain_core.language_models import BaseChatModel

from examples.providers import ModelError, one_line, real_model
from examples.scripted import how_counted
from examples.sql_agent.database import create_shop
from examples.sql_agent.graph import State, ask, build_graph
from examples.sql_agent.scripted_model import STANDS_IN_FOR, scripted_model
from langchain_tokens import TokensError, TokenUsageHandler

__all__ = ("choose_model", "main")


class UsageError(Exception):
    """Raised when the chosen model cannot answer, or there is no shop; its text is the one line to print."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code: 0 answered, 1 no query worked, 2 it could not be asked."""
    options = _parser().parse_args(arguments)
    try:
        model = choose_model(options.model)
        with TemporaryDirectory() as directory:
            return _ask(options, model, options.shop or Path(directory) / "shop.db")
    except (ModelError, UsageError, TokensError) as error:
        print(f"sql_agent: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.sql_agent", description=__doc__)
    parser.add_argument("--question", default="Customers in Mumbai?", help="default: %(default)s")
    parser.add_argument(
        "--model", help="a name for init_chat_model, like openai:gpt-5-mini; default: scripted, offline"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document only")
    parser.add_argument(
        "--db", type=Path, default=Path("langchain_tokens.db"), help="token store; default: %(default)s"
    )
    parser.add_argument("--shop", type=Path, help="SQLite database to ask; default: a sample shop in a temporary place")
    return parser


def choose_model(name: str | None) -> BaseChatModel:
    """Return a provider's model, or the scripted one, and say so on stderr.

    Raises:
        ModelError: The provider's model cannot be used.

    """
    if name is not None:
        return real_model(name)
    print(f"offline: scripted answers in place of {STANDS_IN_FOR}; {how_counted()}", file=sys.stderr)
    return scripted_model()


def _ask(options: argparse.Namespace, model: BaseChatModel, shop_path: Path) -> int:
    with TokenUsageHandler(store=options.db) as handler:
        state = _run(options, model, shop_path, handler)
        if options.json:
            print(json.dumps(_document(state, handler), indent=2))
        else:
            _print_answer(state)
            print(f"\nTokens by chain\n{handler.breakdown('chain')}")
            print(f"\nTokens by agent\n{handler.breakdown('agent')}")
    failed = bool(state["tried"]) and state["tried"][-1]["error"] is not None
    return 1 if failed else 0


def _run(options: argparse.Namespace, model: BaseChatModel, shop_path: Path, handler: TokenUsageHandler) -> State:
    try:
        graph = build_graph(model, create_shop(shop_path))
        return ask(graph, options.question, config={"callbacks": [handler]})
    except sqlite3.Error as error:
        raise UsageError(one_line(f"shop {shop_path}", error)) from error
    except Exception as error:
        if options.model is None and not isinstance(error, TimeoutError):
            raise
        # A provider's refusal, for example of a missing or wrong key that only the first call brings up.
        raise UsageError(one_line(f"model {options.model or STANDS_IN_FOR}", error)) from error


def _document(state: State, handler: TokenUsageHandler) -> dict[str, object]:
    run = handler.last_run
    document: dict[str, object] = {
        "question": state["question"],
        "sql": state["tried"][-1]["query"] if state["tried"] else None,
        "rows": state["rows"],
        "llm_token_usage": None if run is None else run.to_response(),
    }
    return document if state["answer"] is None else {**document, "answer": state["answer"]}


def _print_answer(state: State) -> None:
    print(f"Question: {state['question']}")
    for number, tried in enumerate(state["tried"], start=1):
        print(f"\nSQL {number}: {tried['query']}")
        if tried["error"] is not None:
            print(f"  error: {tried['error']}")
    rows = state["rows"]
    if rows is None:
        print(f"\n{state['answer']}")
    else:
        print(f"\nAnswer: {len(rows)} row{'' if len(rows) == 1 else 's'}")
        print(_table(rows))


def _table(rows: Sequence[Mapping[str, object]]) -> str:
    if not rows:
        return "(none)"
    lines = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
