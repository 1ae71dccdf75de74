"""Alembic's entry: runs the application's migrations on the connection that it is given."""

from __future__ import annotations

from alembic import context

from examples.document_batches.application import Table
from langchain_tokens.store.adoption import include_name

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Table.metadata, include_name=include_name
)
context.run_migrations()
