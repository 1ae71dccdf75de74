"""Who answers when there is no key and no network? A script that stands in for gpt-4o-mini.

It reads the prompt like a model does: which step it is asked for, the question, the tables, the schema, the query, the
error. It knows a handful of questions. Its first query is wrong in one or two places, as those of small models often
are, unless it is told to check names; and it repairs a query by the database's real error and schema. It cannot repair
everything, and for Atlantis the provider gives no answer at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from langchain_core.messages import BaseMessage

from examples.scripted import Ledger, LedgerModel
from examples.sql_agent.sql_repair import complaint, repair

__all__ = ("STANDS_IN_FOR", "scripted_model")

STANDS_IN_FOR = "gpt-4o-mini"
SECTION = re.compile(
    r"^(Tables|Schema|Question|Query|Error):\s(.*?)(?=^(?:Schema|Question|Query|Error):|\Z)", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A question that the script knows: how it is recognised, the tables it thinks of, and its first draft."""

    pattern: str
    tables: str
    draft: str

    def match(self, question: str) -> re.Match[str] | None:
        """Return the match if this is the question."""
        return re.search(self.pattern, question, re.IGNORECASE)


SAMPLES = (
    Sample(  # two mistakes: `city` is not there, and with the cities joined `name` is in both tables
        pattern=r"customers in (?P<city>\w+) .*cancelled",
        tables="customers, orders",
        draft="SELECT DISTINCT name, email FROM customers JOIN orders ON orders.customer_id = customers.id"
        " WHERE status = 'cancelled' AND city = '{city}' ORDER BY name",
    ),
    Sample(
        pattern=r"customers in (?P<city>\w+)",
        tables="customers",
        draft="SELECT c.name, c.email FROM customers AS c WHERE c.city = '{city}' ORDER BY c.name",
    ),
    Sample(
        pattern=r"products .*earned",
        tables="products, order_items",
        draft="SELECT p.name, SUM(i.quantity * i.price) AS revenue FROM products AS p"
        " JOIN order_items AS i ON i.product_id = p.id GROUP BY p.id ORDER BY revenue DESC, p.name LIMIT 5",
    ),
    Sample(
        pattern=r"customers joined .*year",
        tables="customers",
        draft="SELECT substr(joined_on, 1, 4) AS year, COUNT(*) AS customers FROM customer GROUP BY year ORDER BY year",
    ),
    Sample(  # nothing in the schema comes near: no repair can help
        pattern=r"customers .*left-handed",
        tables="customers",
        draft="SELECT name FROM customers WHERE handedness = 'left' ORDER BY name",
    ),
)


def scripted_model(ledger: Ledger | None = None, *, latency_seconds: float = 0.0) -> LedgerModel:
    """Return an offline chat model whose answers come from the script, in place of gpt-4o-mini.

    Arguments:
        ledger: Where it writes what it used at each step, for whoever wants to compare.
        latency_seconds: How long each answer takes.

    """
    return LedgerModel(answer, ledger=ledger, step_of=step_of, model=STANDS_IN_FOR, latency_seconds=latency_seconds)


def step_of(messages: Sequence[BaseMessage]) -> str:
    """Return the name of the step that a prompt is for."""
    return _step_of(_text_of(messages))[0]


def answer(messages: Sequence[BaseMessage]) -> str:
    """Return what the script says to a prompt.

    Raises:
        ValueError: The prompt is for none of the steps that the script knows.
        TimeoutError: The question is about Atlantis.

    """
    prompt = _text_of(messages)
    sections = {name: body.strip() for name, body in SECTION.findall(prompt)}
    return _step_of(prompt)[1]({**sections, "Instructions": prompt.split("Schema:")[0]})


def _text_of(messages: Sequence[BaseMessage]) -> str:
    return "\n\n".join(str(message.text) for message in messages)


def _step_of(prompt: str) -> tuple[str, Callable[[Mapping[str, str]], str]]:
    for opening, step in STEPS.items():
        if prompt.startswith(opening):
            return step
    raise ValueError(f"the script knows the steps that begin with {', '.join(STEPS)}; found: {prompt[:60]!r}")


def _classify(sections: Mapping[str, str]) -> str:
    return "data" if any(sample.match(sections["Question"]) for sample in SAMPLES) else "general"


def _converse(_: Mapping[str, str]) -> str:
    return 'I can look things up in the shop\'s database. Ask me, for example, "Which products earned the most?"'


def _select(sections: Mapping[str, str]) -> str:
    return _sample(sections["Question"]).tables


def _write(sections: Mapping[str, str]) -> str:
    if "Atlantis" in sections["Question"]:
        raise TimeoutError("the provider did not answer in time")
    sample = _sample(sections["Question"])
    found = sample.match(sections["Question"])
    names = {} if found is None else {name: text.capitalize() for name, text in found.groupdict().items()}
    query = sample.draft.format(**names)
    if "Check every name" in sections["Instructions"]:
        query = repair(query, complaint(query, sections["Schema"]), sections["Schema"])
    return f"```sql\n{query}\n```"


def _fix(sections: Mapping[str, str]) -> str:
    return f"```sql\n{repair(sections['Query'], sections['Error'], sections['Schema'])}\n```"


def _sample(question: str) -> Sample:
    return next(sample for sample in SAMPLES if sample.match(question))


STEPS: Mapping[str, tuple[str, Callable[[Mapping[str, str]], str]]] = {
    "You classify the intent": ("intent_classification", _classify),
    "You are the friendly assistant": ("direct_answer", _converse),
    "You select the tables": ("table_selection", _select),
    "You write one SQLite query": ("sql_generation", _write),
    "You repair an SQLite query": ("sql_fix", _fix),
}
"""How a prompt begins → the step that it is for, and what the script does then."""
