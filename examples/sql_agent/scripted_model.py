"""Who answers when there is no key and no network? A script that stands in for gpt-4o-mini.

It reads the prompt like a model does: which step it is asked for, the question, the tables, the schema, the query, the
error. It knows a handful of questions. Its first query is always wrong in one or two places, as those of small models
often are, and it repairs a query by the database's real error and schema. It cannot repair everything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from examples.sql_agent.sql_repair import repair

__all__ = ("CHARACTERS_PER_TOKEN", "STANDS_IN_FOR", "ScriptedModel", "count_tokens")

CHARACTERS_PER_TOKEN = 4
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


class ScriptedModel(BaseChatModel):
    """An offline chat model whose answers come from a script, in place of gpt-4o-mini.

    It names itself gpt-4o-mini of openai, so that prices apply as for the model it stands in for. It has no tokeniser:
    `usage_metadata` follows a fixed rule, one token for each four characters begun, over the text of all messages
    that it was really sent (input) and of its answer (output).
    """

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _get_ls_params(self, *_: Any, **__: Any) -> LangSmithParams:
        return LangSmithParams(ls_provider="openai", ls_model_name=STANDS_IN_FOR, ls_model_type="chat")

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        text = answer(messages)
        message = AIMessage(
            content=text,
            usage_metadata=usage_of(messages, text),
            response_metadata={"model_name": STANDS_IN_FOR, "model_provider": "openai", "finish_reason": "stop"},
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        return self._generate(messages)

    def _stream(self, messages: list[BaseMessage], *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        text = answer(messages)
        for word in re.findall(r"\s*\S+", text):
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))
        yield ChatGenerationChunk(
            message=AIMessageChunk(
                content="",
                usage_metadata=usage_of(messages, text),
                response_metadata={"model_name": STANDS_IN_FOR, "model_provider": "openai", "finish_reason": "stop"},
                chunk_position="last",
            )
        )


def count_tokens(text: str) -> int:
    """Return the tokens of a text by the script's rule: one for each four characters begun."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def usage_of(messages: Sequence[BaseMessage], text: str) -> UsageMetadata:
    """Return the usage of a call that was sent these messages and answered with this text."""
    input_tokens = sum(count_tokens(str(message.text)) for message in messages)
    output_tokens = count_tokens(text)
    return UsageMetadata(
        input_tokens=input_tokens, output_tokens=output_tokens, total_tokens=input_tokens + output_tokens
    )


def answer(messages: Sequence[BaseMessage]) -> str:
    """Return what the script says to a prompt.

    Raises:
        ValueError: The prompt is for none of the steps that the script knows.

    """
    prompt = "\n\n".join(str(message.text) for message in messages)
    sections = {name: body.strip() for name, body in SECTION.findall(prompt)}
    for opening, step in STEPS.items():
        if prompt.startswith(opening):
            return step(sections)
    raise ValueError(f"the script knows the steps that begin with {', '.join(STEPS)}; found: {prompt[:60]!r}")


def _classify(sections: Mapping[str, str]) -> str:
    return "data" if any(sample.match(sections["Question"]) for sample in SAMPLES) else "general"


def _converse(_: Mapping[str, str]) -> str:
    return 'I can look things up in the shop\'s database. Ask me, for example, "Which products earned the most?"'


def _select(sections: Mapping[str, str]) -> str:
    return _sample(sections["Question"]).tables


def _write(sections: Mapping[str, str]) -> str:
    sample = _sample(sections["Question"])
    found = sample.match(sections["Question"])
    names = {} if found is None else {name: text.capitalize() for name, text in found.groupdict().items()}
    return f"```sql\n{sample.draft.format(**names)}\n```"


def _fix(sections: Mapping[str, str]) -> str:
    return f"```sql\n{repair(sections['Query'], sections['Error'], sections['Schema'])}\n```"


def _sample(question: str) -> Sample:
    return next(sample for sample in SAMPLES if sample.match(question))


STEPS: Mapping[str, Callable[[Mapping[str, str]], str]] = {
    "You classify the intent": _classify,
    "You are the friendly assistant": _converse,
    "You select the tables": _select,
    "You write one SQLite query": _write,
    "You repair an SQLite query": _fix,
}
