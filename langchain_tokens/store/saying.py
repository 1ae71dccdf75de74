"""What was said in a call, and for how long is it known? A part of `UsageStore`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine

from langchain_tokens.store.target import StoreTarget

if TYPE_CHECKING:
    from langchain_tokens.said import CallContent
    from langchain_tokens.store.contents import PrunedContent

__all__ = ("Saying",)


class Saying:
    """The methods of `UsageStore` for what `capture_content` keeps."""

    if TYPE_CHECKING:
        target: StoreTarget

        def _ready(self) -> Engine: ...
        def _reading(self, *, is_long: bool = False) -> Any: ...

    def content(self, call_id: str) -> CallContent | None:
        """What was said in a call: its messages and its answer; None unless a handler captured it, with
        `TokenUsageHandler(capture_content=True)`, and once it was pruned.
        """
        from langchain_tokens.store.contents import read_content

        with self._reading() as connection:
            return read_content(connection, call_id)

    def prune_content(self, older_than: Any, *, dry_run: bool = False) -> PrunedContent:
        """Delete what was said in calls that started before a midnight (UTC); the calls and all sums stay.

        Args:
            older_than: as for `prune`, such as `7d`.
            dry_run: only say what would be deleted.

        """
        from langchain_tokens.store.contents import prune_contents
        from langchain_tokens.store.pruning import midnight_before

        return prune_contents(self._ready(), self.target, midnight_before(older_than), dry_run=dry_run)

    def calls_said_like(self, start: str, *, limit: int = 10) -> Sequence[str]:
        """The calls of which it is kept what was said, and whose ids begin so, the newest first."""
        from langchain_tokens.store.contents import calls_said_like

        with self._reading() as connection:
            return calls_said_like(connection, start, limit)

    def contents_without_call(self) -> Sequence[str]:
        """The calls that are not stored, while what was said in them is; none, as long as all is well."""
        from langchain_tokens.store.contents import orphans

        with self._reading(is_long=True) as connection:
            return orphans(connection)
