"""Which tools ran on the provider's side? Told from the blocks of an answer, where the provider gives no number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ("ServerTools", "server_tools")

# Kind of block → the tool's name, None where the block itself names it, and the unit in which it is billed, if it is.
_KINDS: Final[Mapping[str, tuple[str | None, str | None]]] = {
    "web_search_call": ("web_search", "web_search_requests"),
    "file_search_call": ("file_search", "file_search_calls"),
    "code_interpreter_call": ("code_interpreter", "code_interpreter_calls"),
    "image_generation_call": ("image_generation", "image_generation_calls"),
    "tool_search_call": ("tool_search", None),
    "mcp_call": (None, None),
    "mcp_tool_use": (None, None),
    "server_tool_use": (None, "{}_requests"),
    "server_tool_call": (None, "{}_requests"),
}
_LISTS: Final = ("tool_outputs",)
_EXECUTED: Final = "executed_tools"
_GROUNDING: Final = "grounding_metadata"
_NOT_A_SEARCH: Final = frozenset({"open_page", "find_in_page", "find"})  # steps within a search, which are not billed

ServerTools = tuple[tuple[str, ...], dict[str, int]]
"""The names of the tools that ran, in their order, and how often each billed unit of them occurred."""


def server_tools(message: Any, response_metadata: Mapping[str, Any]) -> ServerTools:
    """Name the tools that the provider ran for an answer, and count what is billed for them.

    Args:
        message: LangChain's message, or None.
        response_metadata: its metadata.

    """
    is_plain = isinstance(getattr(message, "content", None), str) and not getattr(message, "additional_kwargs", None)
    if is_plain and _GROUNDING not in response_metadata:
        return (), {}
    names: list[str] = []
    units: dict[str, int] = {}
    for block in _blocks(message):
        name, unit = _KINDS[block["type"]]
        said = block.get("name") if name is None else name
        if not isinstance(said, str) or not said:
            continue
        names.append(said)
        if unit is not None and _is_billed(block):
            unit = unit.format(said)
            units[unit] = units.get(unit, 0) + 1
    names += _executed(message)
    queries = _queries(response_metadata)
    if queries:
        names.append("google_search")
        units["web_search_queries"] = queries
    return tuple(names), units


def _blocks(message: Any) -> Iterator[Mapping[str, Any]]:
    """Each block of a kind that runs on the provider's side, once: a stream may have said it in several states."""
    content, extra = getattr(message, "content", None), getattr(message, "additional_kwargs", None)
    lists = [content, *((extra.get(key) for key in _LISTS) if isinstance(extra, Mapping) and extra else ())]
    seen: set[Any] = set()
    for blocks in lists:
        if not isinstance(blocks, list | tuple):
            continue
        for block in blocks:
            kind = block.get("type") if isinstance(block, Mapping) else None
            if not isinstance(kind, str) or kind not in _KINDS:
                continue
            mark = block.get("id")
            if not isinstance(mark, str) or mark not in seen:
                seen.add(mark)
                yield block


def _is_billed(block: Mapping[str, Any]) -> bool:
    action = block.get("action")
    kind = action.get("type") if isinstance(action, Mapping) else None
    return block.get("status") != "failed" and kind not in _NOT_A_SEARCH


def _executed(message: Any) -> list[str]:
    """The tools that a system of several models says it has run."""
    extra = getattr(message, "additional_kwargs", None)
    tools = extra.get(_EXECUTED) if isinstance(extra, Mapping) and extra else None
    if not isinstance(tools, list | tuple):
        return []
    said = [tool.get("name") or tool.get("type") for tool in tools if isinstance(tool, Mapping)]
    return [name for name in said if isinstance(name, str)]


def _queries(response_metadata: Mapping[str, Any]) -> int:
    """How many searches an answer is grounded in."""
    grounding = response_metadata.get(_GROUNDING)
    if not isinstance(grounding, Mapping):
        return 0
    queries = grounding.get("web_search_queries")
    return len(queries) if isinstance(queries, list | tuple) else 0
