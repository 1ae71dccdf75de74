"""What would a call inside this run be attributed to? One frame for each open run, made from its parent's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from langchain_tokens.names import NO_NAMES, Scope, text_or_none
from langchain_tokens.redo import retry_tag
from langchain_tokens.roots import Root

__all__ = ("Frame", "Started", "is_generic")

_FALLBACKS = "RunnableWithFallbacks"
_GENERIC_NAMES = frozenset(
    {"LangGraph", "ChatPromptTemplate", "PromptTemplate", "Prompt", "__start__", "StrOutputParser"}
)
_NODE_TAG = "graph:step:"


def is_generic(name: str | None) -> bool:
    """Tell whether a run's name is one that LangChain gives by itself, which names no chain."""
    return name is None or not name or name.startswith("Runnable") or name in _GENERIC_NAMES


@dataclass(slots=True, kw_only=True)
class Started:
    """What LangChain says when a run starts."""

    run_id: str
    parent_run_id: str | None
    name: str | None
    tags: Sequence[str]
    metadata: Mapping[str, Any]
    at: datetime
    clock: float
    """Seconds of a monotonic clock, for durations."""
    scope: Scope | None
    ambient_parent: str | None = None
    """The run that the ambient config stands in: the parent of runs that were started without callbacks of their own,
    and what the attempts of `with_fallbacks` run in, which LangChain makes its neighbours.
    """
    configurable: Mapping[str, Any] | None = None
    tool_call_id: str | None = None
    batch_size: int = 1
    asked: int | None = None
    """A mark of the question, equal for equal questions."""


class Frame:
    """One open chain, tool or retriever run, and what a call directly below it would be attributed to."""

    __slots__ = (
        "agent",
        "agent_key",
        "agent_map",
        "agent_nodes",
        "explicit",
        "explicit_chain",
        "failed_model",
        "host",
        "host_is_agent",
        "is_graph",
        "is_node",
        "is_retried",
        "lane",
        "lc_agent",
        "metadata_names",
        "named",
        "namespace",
        "node",
        "open_calls",
        "own_name",
        "path",
        "root",
        "run_id",
        "scope",
        "step",
    )

    def __init__(self, run_id: str, root: Root) -> None:
        self.run_id = run_id
        self.root = root
        self.agent: str | None = None
        self.agent_key: str | None = None
        """The run that is the innermost agent's boundary: one instance of that agent."""
        self.agent_map: object = None
        self.agent_nodes: Mapping[str, str] = {}
        """Node name → agent name, for the nodes of the graph that this run is (set by `attach`)."""
        self.explicit: dict[str, str] = {}
        self.explicit_chain: str | None = None
        self.metadata_names = NO_NAMES
        self.scope: Scope | None = None
        self.lc_agent: str | None = None
        self.named: tuple[str, ...] = ()
        """The named runs at or below the innermost node, outermost first."""
        self.path: tuple[str, ...] = ()
        self.node: str | None = None
        self.step: int | None = None
        self.lane: tuple[Any, ...] = ()
        self.namespace: str | None = None
        self.host: str | None = None
        """The nearest named run above: the name of an unnamed graph nested here."""
        self.host_is_agent = False
        """The node right above was named as an agent, which the graph in it must not rename."""
        self.own_name: str | None = None
        self.is_node = False
        self.is_graph = False
        self.is_retried = False
        self.failed_model: str | None = None
        """The model of the last call below this run, where that call failed."""
        self.open_calls: set[str] = set()

    @classmethod
    def derive(
        cls,
        started: Started,
        parent: Frame | None,
        root: Root,
        explicit: tuple[dict[str, str], tuple[str | None, ...]],
    ) -> Frame:
        """Make the frame of a run that starts below `parent` (None: at the top)."""
        frame = cls(started.run_id, root)
        frame.explicit, frame.metadata_names = explicit
        frame.scope = started.scope
        frame.namespace = text_or_none(started.metadata.get("langgraph_checkpoint_ns"))
        frame.lc_agent = text_or_none(started.metadata.get("lc_agent_name"))
        if parent is not None:
            frame._inherit(parent)
        elif root.log is not None and root.name is not None:
            frame.path = (root.name,)
        frame._become_node(started, parent)
        frame._take_names(started, parent)
        frame._bound_agent(started, parent)
        frame.is_retried = frame.is_retried or retry_tag(started.tags)
        return frame

    def _inherit(self, parent: Frame) -> None:
        self.agent, self.agent_key = parent.agent, parent.agent_key
        self.named, self.path = parent.named, parent.path
        self.node, self.step, self.lane = parent.node, parent.step, parent.lane
        self.is_retried = parent.is_retried
        self.explicit_chain = parent.explicit_chain
        self.host = parent.named[-1] if parent.named else parent.node
        self.host_is_agent = parent.is_node and parent.agent_key == parent.run_id

    def _become_node(self, started: Started, parent: Frame | None) -> None:
        """A node is tagged with its step (rule 3); a task of the functional API has a namespace of its own."""
        tagged = any(tag.startswith(_NODE_TAG) for tag in started.tags)
        is_task = (
            parent is not None
            and self.namespace is not None
            and self.namespace != parent.namespace
            and started.name == started.metadata.get("langgraph_node")
        )
        if not (tagged or is_task):
            return
        if tagged and parent is not None and not parent.is_graph:
            parent.become_graph()
            self.agent, self.agent_key = parent.agent, parent.agent_key
            self.path = parent.path
        self.is_node = True
        self.node = started.name
        self.named = ()
        self.explicit_chain = None  # a name from outside the node never applies inside it
        self._place_node(started, parent)

    def _place_node(self, started: Started, parent: Frame | None) -> None:
        step = started.metadata.get("langgraph_step")
        self.step = step if isinstance(step, int) else None
        graph = parent.run_id if parent is not None else ""
        place = started.metadata.get("langgraph_path")
        if (
            isinstance(place, (tuple, list))
            and len(place) > 1
            and place[0] == "__pregel_push"
            and type(place[1]) is int
        ):
            self.lane = (*self.lane, (graph, started.name, place[1]))
        if self.namespace is not None:
            key = (graph, self.namespace)
            starts = self.root.node_starts[key] = self.root.node_starts.get(key, 0) + 1
            self.is_retried = self.is_retried or starts > 1

    def _take_names(self, started: Started, parent: Frame | None) -> None:
        name = started.name
        if name is not None and not is_generic(name):
            self.own_name = name
            same_as_host = parent is not None and parent.is_node and parent.node == name
            if not same_as_host:
                self.path = (*self.path, name)
            if not self.is_node:
                self.named = (*self.named, name)
        before = parent.metadata_names if parent is not None else NO_NAMES
        chain = self.metadata_names[0]
        if chain is not None and chain != before[0]:
            self.explicit_chain = chain
        elif self.explicit.get("chain") != (parent.explicit.get("chain") if parent is not None else None):
            self.explicit_chain = self.explicit.get("chain")

    def _bound_agent(self, started: Started, parent: Frame | None) -> None:
        """Rule 4, a and b: an agent named in metadata begins where the name appears or changes."""
        named = self.explicit.get("agent")
        lc_agent = None if self.host_is_agent else self.lc_agent
        mapped = parent.agent_nodes.get(self.node or "") if parent is not None and self.is_node else None
        if named is not None and (parent is None or named != parent.explicit.get("agent")):
            self.agent, self.agent_key = named, self.run_id
        elif mapped is not None:
            self.agent, self.agent_key = str(mapped), self.run_id
        elif lc_agent is not None and (parent is None or lc_agent != parent.lc_agent):
            self.agent, self.agent_key = lc_agent, self.run_id
        self.agent_map = started.metadata.get("tokens_agents")
        if isinstance(self.agent_map, dict) and (parent is None or self.agent_map != parent.agent_map):
            self.agent_nodes = self.agent_map

    def become_graph(self) -> None:
        """The first node below proves that this run is a graph (rule 4, c and d): a graph with a name of its own is an
        agent, and an unnamed one that is nested is named by its host.
        """
        self.is_graph = True
        name = self.own_name or self.host
        if name is None or self.agent_key == self.run_id or self.host_is_agent:
            return
        self.agent, self.agent_key = name, self.run_id

    def kind_of_retry(self, model: str | None, tags: Sequence[str]) -> RetryKind | None:
        """Say whether a call that starts directly below does work again, and why."""
        failed, self.failed_model = self.failed_model, None
        if retry_tag(tags) or self.is_retried:
            return "retry"
        if failed is None:
            return None
        return "retry" if failed == (model or "") else "fallback"

    def note_end(self, error: BaseException | None) -> None:
        """Keep what the end of this run says about the whole run."""
        if type(error).__name__ in _INTERRUPTS:
            self.root.is_interrupted = True
