"""Who answers when there is no key and no network? Scripts that stand in for five models.

Each reads what the model is really sent, calls the real tools with arguments out of the question, and makes a sentence
of what they return. The model of the FileSystemAgent does not answer in time when it is asked for the first time.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from examples.chat_modes.agents import UNAVAILABLE
from examples.chat_modes.graph import Models
from examples.providers import real_model
from examples.scripted import Ledger, LedgerModel
from langchain_tokens.testing import calling

__all__ = ("MODELS", "real_models", "scripted_models", "step_of")

MODELS: Mapping[str, tuple[str, str]] = {
    "Model": ("openai", "gpt-4o-mini"),
    "Assistant": ("openai", "gpt-4o-mini"),
    "Orchestrator": ("openai", "gpt-4o"),
    "RAGAgent": ("perplexity", "sonar"),
    "MCPAgent": ("google_genai", "gemini-2.5-flash"),
    "PythonREPLAgent": ("openai", "gpt-4o-mini"),
    "FileSystemAgent": ("google_genai", "gemini-2.5-flash-lite"),
    "PandasAgent": ("google_genai", "gemini-2.5-flash"),
    "SQLAgent": ("openai", "gpt-4o-mini"),
}
"""Agent → provider and model. `Model` answers alone, in the mode SIMPLE."""
_LATENCY_SECONDS = 0.01
_WHO = re.compile(r"You are (\w+) of .* Mode: (\w+)\. Conversation: ([\w-]+)\.")
_PRODUCT = re.compile(r"\b(city|cargo|kids) bike")
_NUMBERS = re.compile(r"\b(\d+) at (\d+) dollars")
_NEEDED: Mapping[str, str] = {
    "RAGAgent": r"policy|warranty|return",
    "MCPAgent": r"supplier|euro",
    "PythonREPLAgent": r"\d+ at \d+ dollars",
    "FileSystemAgent": r"notes",
    "PandasAgent": r"sold|sales",
    "SQLAgent": r"orders",
}
"""Agent → what in a question is its business."""
_KNOWN: Mapping[str, str] = {
    "gear": "A hub gear needs little care, a derailleur weighs less; for the city take the hub gear.",
    "hill": "On hills a derailleur with a small front wheel is easier, or a motor.",
    "flat": "Two to four bar are right for a city tyre; pump it up once a month.",
}
"""A word in a question → what is said to it."""


def scripted_models(ledger: Ledger) -> Models:
    """Models that follow a script and write what they used into a ledger."""
    files = _late_once(_read_notes)
    scripts = {**_SCRIPTS, "FileSystemAgent": files}

    def model(agent: str) -> BaseChatModel:
        provider, name = MODELS[agent]
        return LedgerModel(
            scripts[agent],
            ledger=ledger,
            step_of=step_of,
            model=name,
            provider=provider,
            latency_seconds=_LATENCY_SECONDS,
        )

    return model


def real_models(name: str) -> Models:
    """One model of a provider for all agents, such as openai:gpt-5-mini."""
    model = real_model(name)
    return lambda _: model


def step_of(messages: Sequence[BaseMessage]) -> str:
    """Who asks, as the messages themselves say it: `session/mode/agent`."""
    found = _WHO.search(str(messages[0].text))
    return "(unknown)" if found is None else f"{found[3]}/{found[2]}/{found[1]}"


def _chat(messages: Sequence[BaseMessage]) -> str:
    question = str(messages[-1].text).lower()
    return next((said for word, said in _KNOWN.items() if word in question), "I can help you to choose a bicycle.")


def _assist(messages: Sequence[BaseMessage]) -> AIMessage | str:
    """Ask for price and rate, calculate with them, answer: three rounds."""
    found = _results(messages)
    if not found:
        rate = {"source": "USD", "target": "EUR"}
        return calling(("supplier_stock", {"product": _product(messages)}), ("exchange_rate", rate))
    number = re.search(r"\b(\d+)\b", _question(messages))
    if len(found) == len(("stock", "rate")):
        price, rate_found = re.search(r"([\d.]+) USD", found[0]), re.search(r"= ([\d.]+)", found[1])
        if price is None or rate_found is None or number is None:
            return f"I do not know: {found[0]}."
        return calling(("calculate", {"expression": f"{number[1]} * {price[1]} * {rate_found[1]}"}))
    return f"They cost {found[-1]} EUR at the rate of the day."


def _orchestrate(messages: Sequence[BaseMessage]) -> str:
    asked = str(messages[-1].text)
    question = asked.rsplit("\n\n", 1)[1]
    if asked.startswith("Which of these agents"):
        return ", ".join(agent for agent, words in _NEEDED.items() if re.search(words, question))
    found = [line.split(": ", 1) for line in asked.splitlines() if line.startswith("- ")]
    known = " ".join(text for _, text in found if text != UNAVAILABLE)
    missing = [agent.removeprefix("- ") for agent, text in found if text == UNAVAILABLE]
    return f"{known} (Not asked: {', '.join(missing)}.)" if missing else known


def _read_passages(messages: Sequence[BaseMessage]) -> str:
    _, passages = str(messages[-1].text).split("Passages:\n", 1)
    first = re.match(r"\[([\w-]+)\] ([^.]*\.)", passages)
    return "The documents do not say." if first is None else f"{first[2]} [{first[1]}]"


def _ask_supplier(messages: Sequence[BaseMessage]) -> AIMessage | str:
    found = _results(messages)
    return (
        f"{found[0].removeprefix('error: ')}."
        if found
        else calling(("supplier_stock", {"product": _product(messages)}))
    )


def _calculate(messages: Sequence[BaseMessage]) -> AIMessage | str:
    if found := _results(messages):
        return f"That comes to {found[0]} USD."
    numbers = _NUMBERS.search(_question(messages))
    if numbers is None:
        return "Nothing to calculate."
    return calling(("calculate", {"expression": " * ".join(numbers.groups())}))


def _read_notes(messages: Sequence[BaseMessage]) -> AIMessage | str:
    found = _results(messages)
    if not found:
        return calling(("list_files", {}))
    if len(found) == 1:
        name = next((name for name in found[0].splitlines() if _product(messages)[:4] in name), found[0])
        return calling(("read_file", {"path": name}))
    return f"The notes say: {found[1]}"


def _sum_sales(messages: Sequence[BaseMessage]) -> AIMessage | str:
    found = _results(messages)
    return f"Sold by month: {found[0]}." if found else calling(("sum_sales", {"product": _product(messages)}))


def _query(messages: Sequence[BaseMessage]) -> AIMessage | str:
    """Get the name of a column wrong at first, as small models do, and mend it by the database's error."""
    found = _results(messages)
    if found and "no such column" not in found[-1]:
        return f"{found[-1]} are ordered and not sent."
    column = "quantity" if found else "amount"
    where = f"WHERE product = '{_product(messages)}' AND status = 'open'"
    return calling(("query_orders", {"sql": f"SELECT SUM({column}) FROM orders {where}"}))  # noqa: S608  # a script's


_SCRIPTS: Mapping[str, Callable[[Sequence[BaseMessage]], AIMessage | str]] = {
    "Model": _chat,
    "Assistant": _assist,
    "Orchestrator": _orchestrate,
    "RAGAgent": _read_passages,
    "MCPAgent": _ask_supplier,
    "PythonREPLAgent": _calculate,
    "PandasAgent": _sum_sales,
    "SQLAgent": _query,
}


def _late_once(
    script: Callable[[Sequence[BaseMessage]], AIMessage | str],
) -> Callable[[Sequence[BaseMessage]], AIMessage | str | TimeoutError]:
    """A script whose first answer comes too late."""
    first, lock = [TimeoutError("no answer within 30 seconds")], threading.Lock()

    def answer(messages: Sequence[BaseMessage]) -> AIMessage | str | TimeoutError:
        with lock:
            if first:
                return first.pop()
        return script(messages)

    return answer


def _results(messages: Sequence[BaseMessage]) -> list[str]:
    """What the tools have returned so far, the oldest first."""
    return [str(message.text) for message in messages if isinstance(message, ToolMessage)]


def _question(messages: Sequence[BaseMessage]) -> str:
    return str(messages[1].text)


def _product(messages: Sequence[BaseMessage]) -> str:
    found = _PRODUCT.search(_question(messages).lower())
    return found[0] if found else "city bike"
