"""Who does which step? An orchestrator that decides, and an SQL agent that writes, runs and repairs queries.

    orchestrator    intent_classification ──► sql_agent | direct_answer
    sql_agent       table_selection ──► sql_generation ──► execution ──► result
                                                            ▲      │ error
                                                            └ sql_fix (at most 3 times)

Nothing in here knows of token counting: the names that appear in the reports are the names of the graphs and nodes. The
one addition is `tokens_error` in the config of the fix, which tells why the work had to be done again.
"""

from __future__ import annotations

import sqlite3
from typing import Literal, NotRequired, TypeAlias, TypedDict, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import CommaSeparatedListOutputParser, StrOutputParser
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from examples.sql_agent.database import Shop
from examples.sql_agent.prompts import DIRECT_ANSWER, INTENT_CLASSIFICATION, SQL_FIX, SQL_GENERATION, TABLE_SELECTION

__all__ = (
    "MAX_FIXES",
    "Graph",
    "Question",
    "State",
    "TriedQuery",
    "Variant",
    "ask",
    "build_executor",
    "build_graph",
    "execute",
)

MAX_FIXES = 3
Variant: TypeAlias = Literal["plain", "checked"]


class TriedQuery(TypedDict):
    """A query that was run, with the database's error text if it failed."""

    query: str
    error: str | None


class Question(TypedDict):
    """What goes into the graph."""

    question: str
    variant: NotRequired[Variant]
    """Which prompt writes the query; `plain` if not said."""


class State(Question):
    """What the two agents share; a key is there once a step has written it."""

    intent: NotRequired[Literal["data", "general"]]
    tables: NotRequired[list[str]]
    query: NotRequired[str]
    tried: NotRequired[list[TriedQuery]]
    rows: NotRequired[list[dict[str, object]] | None]
    answer: NotRequired[str | None]


Graph: TypeAlias = CompiledStateGraph[State, None, Question, State]


class SQLAgent:
    """The steps of the SQL agent.

    Arguments:
        model: The chat model that every model step uses.
        shop: The database that the questions are about.

    """

    def __init__(self, model: BaseChatModel, shop: Shop) -> None:
        self.shop = shop
        self.select_tables = TABLE_SELECTION | model | CommaSeparatedListOutputParser()
        self.write_query = {
            variant: prompt | model | StrOutputParser() | without_fence for variant, prompt in SQL_GENERATION.items()
        }
        self.fix_query = SQL_FIX | model | StrOutputParser() | without_fence

    def table_selection(self, state: State) -> dict[str, object]:
        """Choose the tables; names that the model made up are dropped."""
        known = self.shop.table_names()
        chosen = self.select_tables.invoke({"question": state["question"], "tables": ", ".join(known)})
        return {"tables": [name for name in known if name in chosen], "tried": []}

    def sql_generation(self, state: State) -> dict[str, object]:
        """Write the first query, with the schema of the chosen tables."""
        variant, tables = state.get("variant", "plain"), state["tables"]
        schema = self.shop.describe(tables if variant == "plain" else self.shop.with_referenced(tables))
        return {"query": self.write_query[variant].invoke({"question": state["question"], "schema": schema})}

    def execution(self, state: State) -> dict[str, object]:
        """Run the query; an error of the database is a result, too."""
        tried = state.get("tried", [])
        try:
            rows = self.shop.execute(state["query"])
        except sqlite3.Error as error:
            return {"tried": [*tried, TriedQuery(query=state["query"], error=str(error))], "rows": None}
        return {"tried": [*tried, TriedQuery(query=state["query"], error=None)], "rows": rows}

    def sql_fix(self, state: State) -> dict[str, object]:
        """Repair the query by the error; the schema is the whole one, because a table may have been missed."""
        error = state["tried"][-1]["error"]
        schema = self.shop.describe(self.shop.table_names())
        inputs = {"question": state["question"], "schema": schema, "query": state["query"], "error": error}
        return {"query": self.fix_query.invoke(inputs, config={"metadata": {"tokens_error": error}})}

    def result(self, state: State) -> dict[str, object]:
        """Say so where no query worked; otherwise the rows are the answer."""
        error = state["tried"][-1]["error"]
        if error is None:
            return {"answer": None}
        return {"answer": f"No answer: the query still fails after {MAX_FIXES} repairs ({error})."}


def after_execution(state: State) -> Literal["sql_fix", "result"]:
    """Repair a failed query, but not for ever."""
    failed = state["tried"][-1]["error"] is not None
    return "sql_fix" if failed and len(state["tried"]) <= MAX_FIXES else "result"


def build_sql_agent(model: BaseChatModel, shop: Shop, *, writes: bool = True, executes: bool = True) -> Graph:
    """Return the graph that turns a question into a query, a query into rows, or a question into rows.

    Arguments:
        model: The chat model that every model step uses.
        shop: The database that the questions are about.
        writes: Whether it begins with a question; else `query` is there already.
        executes: Whether it ends with rows; else with `query`.

    """
    agent = SQLAgent(model, shop)
    builder = StateGraph(State)
    if writes:
        builder.add_node("table_selection", agent.table_selection)
        builder.add_node("sql_generation", agent.sql_generation)
        builder.add_edge("table_selection", "sql_generation")
        builder.add_edge("sql_generation", "execution" if executes else END)
    if executes:
        builder.add_node("execution", agent.execution)
        builder.add_node("sql_fix", agent.sql_fix)
        builder.add_node("result", agent.result)
        builder.add_conditional_edges("execution", after_execution)
        builder.add_edge("sql_fix", "execution")
        builder.add_edge("result", END)
    builder.add_edge(START, "table_selection" if writes else "execution")
    return cast("Graph", builder.compile(name="sql_agent"))


class Orchestrator:
    """The steps of the orchestrator.

    Arguments:
        model: The chat model that every model step uses.

    """

    def __init__(self, model: BaseChatModel) -> None:
        self.classify = INTENT_CLASSIFICATION | model | StrOutputParser()
        self.answer = DIRECT_ANSWER | model | StrOutputParser()

    def intent_classification(self, state: State) -> dict[str, object]:
        """Decide whether the database is needed; whatever is not clearly general is looked up."""
        word = self.classify.invoke({"question": state["question"]}).strip().lower()
        return {"intent": "general" if word.startswith("general") else "data"}

    def direct_answer(self, state: State) -> dict[str, object]:
        """Answer in words, without data."""
        return {"answer": self.answer.invoke({"question": state["question"]}), "tried": [], "rows": None}


def after_classification(state: State) -> Literal["sql_agent", "direct_answer"]:
    """Hand over to whom the intent asks for."""
    return "sql_agent" if state["intent"] == "data" else "direct_answer"


def build_graph(model: BaseChatModel, shop: Shop, *, executes: bool = True) -> Graph:
    """Return the whole application as one graph.

    Arguments:
        model: The chat model that every model step uses.
        shop: The database that the questions are about.
        executes: Whether the query is run; else the graph ends with it.

    """
    orchestrator = Orchestrator(model)
    builder = StateGraph(State, input_schema=Question)
    builder.add_node("intent_classification", orchestrator.intent_classification)
    builder.add_node("direct_answer", orchestrator.direct_answer)
    builder.add_node("sql_agent", build_sql_agent(model, shop, executes=executes))
    builder.add_edge(START, "intent_classification")
    builder.add_conditional_edges("intent_classification", after_classification)
    builder.add_edge("direct_answer", END)
    builder.add_edge("sql_agent", END)
    return builder.compile(name="orchestrator")


def build_executor(model: BaseChatModel, shop: Shop) -> Graph:
    """Return the part of the SQL agent that runs a query and repairs it."""
    return build_sql_agent(model, shop, writes=False)


def ask(graph: Graph, question: str, config: RunnableConfig | None = None, variant: Variant = "plain") -> State:
    """Return the state that one question ends in."""
    return cast("State", graph.invoke(Question(question=question, variant=variant), config=config))


def execute(executor: Graph, query: str, question: str) -> State:
    """Return the state that running one query ends in."""
    return cast("State", executor.invoke(State(question=question, query=query)))


def without_fence(text: str) -> str:
    """Return the SQL that a model has put between Markdown fences, or the text as it is."""
    body = text.strip().removeprefix("```sql").removeprefix("```").removesuffix("```")
    return body.strip()
