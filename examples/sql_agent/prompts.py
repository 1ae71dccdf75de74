"""What is the model asked in each step? One prompt for each."""

from __future__ import annotations

from collections.abc import Mapping

from langchain_core.prompts import ChatPromptTemplate

__all__ = ("DIRECT_ANSWER", "INTENT_CLASSIFICATION", "SQL_FIX", "SQL_GENERATION", "TABLE_SELECTION")


def _prompt(system: str, human: str = "Question: {question}") -> ChatPromptTemplate:
    return ChatPromptTemplate.from_messages([("system", system.strip()), ("human", human.strip())])


INTENT_CLASSIFICATION = _prompt("""
You classify the intent of a question to the assistant of a shop. Answer with one word.
data: the answer has to be looked up in the shop's database.
general: greetings, thanks, and questions about the assistant itself; no data is needed.
""")

DIRECT_ANSWER = _prompt("""
You are the friendly assistant of a shop and answer without looking anything up. Answer in one or two sentences.
Never invent data; say which kind of question you can look up instead.
""")

TABLE_SELECTION = _prompt("""
You select the tables that a question needs.
Answer with table names from the list only, separated by commas, without explanation.

Tables: {tables}
""")

SQL_GENERATION: Mapping[str, ChatPromptTemplate] = {
    "plain": _prompt("""
You write one SQLite query that answers a question.
Use the tables of the schema only. Read only. Answer with SQL, without explanation.

Schema:
{schema}
"""),
    "checked": _prompt("""
You write one SQLite query that answers a question.
Use the tables of the schema only. Read only. Answer with SQL, without explanation.
Check every name against the schema before you answer. What a foreign key leads to has to be joined.

Schema:
{schema}
"""),
}
"""The variants that are tried against each other; `checked` is also shown the tables that foreign keys lead to."""

SQL_FIX = _prompt(
    """
You repair an SQLite query that the database has refused.
Read the error, compare the query with the schema, change what is wrong and nothing else.
Answer with the whole repaired query, without explanation.

Schema:
{schema}
""",
    """
Question: {question}

Query:
{query}

Error: {error}
""",
)
