"""What would a call inside this run be attributed to? One frame for each open run, made from its parent's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from langchain_tokens.call import RetryKind
from langchain_tokens.names import NO_LABELS, NO_NAMES, Scope, metadata_labels, nearer_labels, text_or_none
from langchain_tokens.redo import MadeCalls, Unfinished, Work, retry_tag
from langchain_tokens.roots import Root, is_interrupt

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
    inputs: Any = None
    """What a chain, tool or retriever was given."""


class Frame:
    """One open chain, tool or retriever run, and what a call directly below it would be attributed to."""

    __slots__ = (
        "above",
        "agent",
        "agent_key",
        "agent_map",
        "agent_nodes",
        "counters",
        "explicit",
        "explicit_chain",
        "host",
        "host_is_agent",
        "inputs",
        "is_fallbacks",
        "is_graph",
        "is_node",
        "is_open",
        "is_resumed",
        "labels",
        "lane",
        "lc_agent",
        "metadata_names",
        "named",
        "namespace",
        "node",
        "open_calls",
        "own_name",
        "path",
        "redone",
        "root",
        "run_id",
        "scope",
        "step",
        "top_id",
        "tried_by",
        "work",
        "work_key",
        "works",
    )

    explicit_chain: str | None
    labels: Mapping[str, Mapping[str, Any]]
    """Those in the metadata: its own, and those around it."""
    lc_agent: str | None
    node: str | None
    namespace: str | None
    agent_map: object
    """`attach`'s names of agents, as the metadata has them."""
    tried_by: Work | None
    """The `with_fallbacks` that this run is an attempt of."""
    above: Work | None
    """The work of the run above."""
    work_key: str | None
    """What this run is called among its parent's, when the parent does it again."""

    def __init__(self, run_id: str, root: Root) -> None:
        self.run_id = run_id
        self.root = root
        self.top_id = run_id
        """The topmost LangChain run; a `track()` may hold several of them in one root."""
        self.counters = root.counters
        """Calls by chain, agent and fan-out lane. A graph that is an agent counts anew each time it is invoked; one
        that is only a name given to a node or chain counts on.
        """
        self.agent: str | None = None
        self.agent_key: str | None = None
        """The run that is the innermost agent's boundary: one instance of that agent."""
        self.agent_map = self.work_key = self.tried_by = self.above = None
        self.agent_nodes: Mapping[str, str] = {}
        """Node name → agent name, for the nodes of the graph that this run is or holds (set by `attach`)."""
        self.explicit: dict[str, str] = {}
        self.metadata_names, self.labels, self.explicit_chain = NO_NAMES, NO_LABELS, None
        self.scope: Scope | None = None
        self.named: tuple[str, ...] = ()
        """The named runs at or below the innermost node, outermost first."""
        self.path: tuple[str, ...] = ()
        self.step: int | None = None
        self.lane: tuple[Any, ...] = ()
        self.lc_agent = self.node = self.namespace = None
        self.host: str | None = None
        """The nearest named run above: the name of an unnamed graph nested here."""
        self.host_is_agent = False
        """The node above was named as an agent, which the graph in it must not rename."""
        self.own_name: str | None = None
        self.is_open = True
        self.is_node = self.is_graph = self.is_fallbacks = False
        self.is_resumed = False
        """This graph goes on from a checkpoint, so that what was done in it before is not done again."""
        self.work = Work()
        self.works: tuple[Work, ...] = ()
        """The work that a call in here is part of and that something may do again, outermost first."""
        self.redone: tuple[Work, ...] = ()
        """The part of it that an earlier execution had done already."""
        self.open_calls: set[str] = set()
        self.inputs: Any = None
        """What it was given, by reference and while it is open: an error may quote it."""

    @classmethod
    def derive(
        cls,
        started: Started,
        parent: Frame | None,
        root: Root,
        explicit: tuple[dict[str, str], tuple[str | None, ...]],
        unfinished: Unfinished,
    ) -> Frame:
        """Make the frame of a run that starts below `parent` (None: at the top)."""
        frame = cls(started.run_id, root)
        frame.explicit, frame.metadata_names = explicit
        frame.scope, frame.inputs, frame.labels = started.scope, started.inputs, metadata_labels(started.metadata)
        frame.namespace = text_or_none(started.metadata.get("langgraph_checkpoint_ns"))
        frame.lc_agent = text_or_none(started.metadata.get("lc_agent_name"))
        if parent is not None:
            frame._inherit(parent)
        else:
            frame.path = root.base_path
        frame.is_fallbacks = started.name == _FALLBACKS
        frame._become_node(started, parent, unfinished)
        frame._take_names(started, parent)
        frame._bound_agent(started, parent)
        frame._find_redone(started, parent, unfinished)
        return frame

    def anew(self, root: Root, counters: dict[tuple[Any, ...], int]) -> Frame:
        """The same run for another handler: the same names, and nothing counted or done in it yet."""
        frame = copy(self)
        frame.root, frame.counters, frame.open_calls = root, counters, set()
        frame.work, frame.above, frame.works, frame.redone, frame.tried_by = Work(), None, (), (), None
        return frame

    def _inherit(self, parent: Frame) -> None:
        self.top_id, self.counters = parent.top_id, parent.counters
        self.agent, self.agent_key = parent.agent, parent.agent_key
        self.named, self.path = parent.named, parent.path
        self.node, self.step, self.lane = parent.node, parent.step, parent.lane
        self.agent_nodes = parent.agent_nodes
        self.above, self.works = parent.work, (*parent.works, self.work)
        self.redone = parent.redone
        self.explicit_chain = parent.explicit_chain
        self.host = parent.named[-1] if parent.named else parent.node
        named_above = parent.is_node and parent.agent_key == parent.run_id
        self.host_is_agent = named_above or (parent.host_is_agent and not parent.is_graph)

    def _become_node(self, started: Started, parent: Frame | None, unfinished: Unfinished) -> None:
        """A node is tagged with its step (rule 3); a task of the functional API has a namespace of its own."""
        tagged = bool(started.tags) and any(tag.startswith(_NODE_TAG) for tag in started.tags)
        is_task = (
            parent is not None
            and self.namespace is not None
            and self.namespace != parent.namespace
            and started.name == started.metadata.get("langgraph_node")
        )
        if not (tagged or is_task):
            return
        step = started.metadata.get("langgraph_step")
        self.step = step if isinstance(step, int) else None
        if tagged and parent is not None and not parent.is_graph:
            parent.become_graph()
            parent.is_resumed = self.namespace in unfinished or (self.step is not None and self.step > 1)
            self.agent, self.agent_key, self.counters = parent.agent, parent.agent_key, parent.counters
            self.path, self.host_is_agent = parent.path, False
        self.is_node = True
        self.node = started.name
        self.named, self.agent_nodes = (), {}
        self.explicit_chain = None  # a name from outside the node never applies inside it
        self._place_node(started, parent)

    def _place_node(self, started: Started, parent: Frame | None) -> None:
        graph = parent.run_id if parent is not None else ""
        place = started.metadata.get("langgraph_path")
        if (
            isinstance(place, (tuple, list))
            and len(place) > 1
            and place[0] == "__pregel_push"
            and type(place[1]) is int
        ):
            self.lane = (*self.lane, (graph, started.name, place[1]))

    def _find_redone(self, started: Started, parent: Frame | None, unfinished: Unfinished) -> None:
        """Find what an earlier execution of this run had done: of the same node, the same tool call, the same chain."""
        if self.is_node and parent is not None and parent.is_resumed:
            self.redone = ()
        self.work_key = started.tool_call_id or started.name
        if self.is_node and self.namespace is not None:
            before = unfinished.take(self.namespace, self.top_id)
            if before is not None:
                self._redo(*before)
        elif parent is not None and (started.tool_call_id is not None or retry_tag(started.tags)):
            made = parent.work.take_failed(self.work_key)
            if made is not None:
                self._redo("retry", made)

    def _redo(self, kind: RetryKind, again: MadeCalls | None) -> None:
        self.work.redo(kind, again)
        self.redone = (*self.redone, self.work)

    def try_for(self, fallbacks: Work | None) -> None:
        """Note that this run is an attempt of a `with_fallbacks`; once one was given up, the next is a fallback."""
        self.tried_by = fallbacks
        if fallbacks is not None and fallbacks.is_given_up:
            self._redo("fallback", None)

    def _take_names(self, started: Started, parent: Frame | None) -> None:
        name = started.name
        if name is not None and not is_generic(name):
            self.own_name = name
            if self.path[-1:] != (name,):  # a node or a retry wrapper has the name of what it holds
                self.path = (*self.path, name)
            if not self.is_node:
                self.named = (*self.named, name)
        before = parent.metadata_names if parent is not None else NO_NAMES
        chain, said = self.metadata_names[0], self.explicit.get("chain")
        is_labelled = any("tokens_chain" in label for label in self._nearer_labels(parent))
        if chain is not None and chain != before[0] and chain == said:
            self.explicit_chain = chain
        elif is_labelled or said != (parent.explicit.get("chain") if parent is not None else None):
            self.explicit_chain = said

    def _bound_agent(self, started: Started, parent: Frame | None) -> None:
        """Rule 4, a and b: an agent named in metadata begins where the name appears or changes."""
        named, nearer = self.explicit.get("agent"), self._nearer_labels(parent)
        is_said = parent is None or named != parent.explicit.get("agent")
        lc_agent = None if self.host_is_agent else self.lc_agent
        mapped = parent.agent_nodes.get(self.node or "") if parent is not None and self.is_node else None
        if named is not None and (is_said or any("tokens_agent" in label for label in nearer)):
            self.agent, self.agent_key = named, self.run_id
        elif mapped is not None:
            self.agent, self.agent_key = str(mapped), self.run_id
        elif lc_agent is not None and (parent is None or lc_agent != parent.lc_agent):
            self.agent, self.agent_key, self.counters = lc_agent, self.run_id, {}
        self.agent_map = started.metadata.get("tokens_agents")
        if isinstance(self.agent_map, dict) and (parent is None or self.agent_map != parent.agent_map):
            self.agent_nodes = self.agent_map
        for label in nearer:
            if isinstance(label.get("tokens_agents"), dict):
                self.agent_nodes = label["tokens_agents"]

    def _nearer_labels(self, parent: Frame | None) -> Sequence[Mapping[str, Any]]:
        return nearer_labels(self.labels, NO_LABELS if parent is None else parent.labels)

    def become_graph(self) -> None:
        """The first node below proves that this run is a graph (rule 4, c and d): a graph with a name of its own is an
        agent, and an unnamed one that is nested is named by its host.
        """
        self.is_graph = True
        name = self.agent if self.agent_key == self.run_id else self.own_name or self.host
        if name is not None and not self.host_is_agent:
            self.agent, self.agent_key, self.counters = name, self.run_id, {}

    def close(self, error: BaseException | None, text: str | None, unfinished: Unfinished) -> None:
        """Keep what the end of this run says about its work and the whole run.

        Args:
            error: what ended it.
            text: the error's text as it may be stored; None where it is no failure.
            unfinished: where a node's work is remembered.

        """
        self.is_open, self.inputs = False, None
        made = self.work.release()
        if error is None:
            return
        if is_interrupt(error):
            self.root.is_interrupted = True
        if made and text is not None:
            made.error = text
        if self.is_node and self.namespace is not None and made:
            unfinished.note(self.namespace, self.top_id, made)
        if self.above is not None:
            self.above.note_failed(self.work_key, made)
        if self.tried_by is not None:
            self.tried_by.is_given_up = True
