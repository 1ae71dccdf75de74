"""Who made this call? Open runs, each with what a call inside it would be attributed to, derived when it starts.

A run's state comes from its parent's at the run's start and is never looked up by walking the tree later: parents may
have ended by then. Counters belong to the root run. Nothing here holds messages, inputs or outputs. The rules and their
numbers are those of the project's study of LangChain's callbacks (attribution rules 1 to 8).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime

from langchain_tokens.call import RetryKind, RunFact
from langchain_tokens.frames import Frame, Root, Started, is_generic, retry_tag
from langchain_tokens.names import (
    NO_NAMES,
    Names,
    introduced,
    metadata_names,
    metadata_tags,
    session_of,
    text_or_none,
)

__all__ = ("OpenCall", "OpenRuns")

_KEPT_ENDED = 2_048
_ATTEMPT_DIGITS = 10  # what an INTEGER column holds


class OpenCall:
    """One model call between its start and its end, with its attribution already settled."""

    __slots__ = (
        "agent",
        "attempt",
        "attempt_error",
        "chain",
        "clock",
        "first_token",
        "frame",
        "mode",
        "node",
        "parent",
        "path",
        "provider",
        "provisional",
        "requested_model",
        "retry_kind",
        "root",
        "run_id",
        "session",
        "started_at",
        "step",
        "streamed",
        "tags",
        "user",
    )

    def __init__(self, started: Started, root: Root, frame: Frame | None) -> None:
        self.run_id = started.run_id
        self.parent = started.parent_run_id if frame is None else frame.run_id
        self.root = root
        self.frame = frame
        self.started_at = started.at
        self.clock = started.clock
        self.first_token: float | None = None
        self.streamed = False
        self.provisional = False
        self.requested_model: str | None = None
        self.provider: str | None = None
        self.chain: str | None = None
        self.agent: str | None = None
        self.path: str | None = None
        self.node: str | None = None
        self.step: int | None = None
        self.attempt = 1
        self.attempt_error: str | None = None
        self.retry_kind: RetryKind | None = None
        self.mode: str | None = None
        self.session: str | None = None
        self.user: str | None = None
        self.tags: Mapping[str, str] = {}


class OpenRuns:
    """The runs that are open now. Thread-safe; its lock is held for dictionary work only."""

    def __init__(self, defaults: Names) -> None:
        self._defaults = defaults
        self._lock = threading.Lock()
        self._frames: dict[str, Frame] = {}
        self._ended: OrderedDict[str, Frame] = OrderedDict()
        self._calls: dict[str, OpenCall] = {}
        self._late: OrderedDict[str, OpenCall] = OrderedDict()

    def open_frame(self, started: Started) -> None:
        """Note that a chain, tool or retriever run starts; a second start of the same run changes nothing."""
        with self._lock:
            if started.run_id in self._frames:
                return
            parent = self._parent(started)
            root = parent.root if parent is not None else self._new_root(started)
            self._frames[started.run_id] = Frame.derive(started, parent, root, self._explicit(started, parent))

    def open_call(self, started: Started, model_class: str | None, model: str | None, provider: str | None) -> OpenCall:
        """Note that a model call starts, and settle whom it belongs to.

        Args:
            started: the run's own start.
            model_class: the model's class name; retry wrappers carry it as their run name, where it names no chain.
            model: the requested model.
            provider: the provider's name.

        """
        with self._lock:
            known = self._calls.get(started.run_id)
            if known is not None:
                return known
            frame = self._parent(started)
            root = frame.root if frame is not None else self._new_root(started)
            call = OpenCall(started, root, frame)
            call.requested_model, call.provider = model, provider
            explicit = self._explicit(started, frame)
            _attribute(call, started, frame, explicit, model_class)
            call.agent = call.agent or self._defaults.agent
            self._name_circumstances(call, started, explicit)
            call.attempt = _attempt(call, explicit)
            if frame is not None:
                call.retry_kind = frame.kind_of_retry(model, started.tags)
                frame.open_calls.add(started.run_id)
            elif retry_tag(started.tags):
                call.retry_kind = "retry"
            self._calls[started.run_id] = call
            return call

    def get_call(self, run_id: str) -> OpenCall | None:
        """The open call, for events between start and end."""
        return self._calls.get(run_id)

    def close_call(self, run_id: str, *, failed: bool) -> OpenCall | None:
        """Note that a model call ended; None for a second end, or an end without a start."""
        with self._lock:
            call = self._calls.pop(run_id, None) or self._late.pop(run_id, None)
            if call is not None and call.frame is not None:
                call.frame.open_calls.discard(run_id)
                call.frame.failed_model = (call.requested_model or "") if failed else None
            return call

    def close_frame(
        self, run_id: str, at: datetime, error: BaseException | None
    ) -> tuple[RunFact | None, list[OpenCall]]:
        """Note that a chain, tool or retriever run ended.

        Returns:
            The fact that the whole run ended, where this was a root; and the calls inside it that never ended and are
            now taken for cancelled, until a late end corrects them.

        """
        with self._lock:
            frame = self._frames.pop(run_id, None)
            if frame is None:
                return None, []
            frame.note_end(error)
            self._keep_ended(frame)
            left_open = [self._calls.pop(call_id) for call_id in tuple(frame.open_calls) if call_id in self._calls]
            frame.open_calls.clear()
            for call in left_open:
                self._keep_late(call)
            root = frame.root
            ends_run = root.run_id == run_id and root.log is None
            return (root.ended(at, error) if ends_run else None), left_open

    def root_of(self, run_id: str) -> Root | None:
        """The root of an open run."""
        with self._lock:
            frame = self._frames.get(run_id)
            return None if frame is None else frame.root

    def forget_after_fork(self) -> None:
        """In a forked child: begin with a free lock."""
        self._lock = threading.Lock()

    def take_open_calls(self) -> list[OpenCall]:
        """Give up all calls that are still open, for the end of the handler."""
        with self._lock:
            calls = list(self._calls.values())
            self._calls.clear()
            for call in calls:
                self._keep_late(call)
            return calls

    def __len__(self) -> int:
        return len(self._frames) + len(self._calls)

    def _parent(self, started: Started) -> Frame | None:
        parent_id = started.parent_run_id or started.ambient_parent
        if parent_id is None:
            return None
        return self._frames.get(parent_id) or self._ended.get(parent_id)

    def _new_root(self, started: Started) -> Root:
        scope = started.scope
        if scope is not None and scope.log is not None:
            fact = scope.log.fact
            return Root(fact.run_id, fact.name, fact.started_at, log=scope.log)
        if started.parent_run_id is not None:
            return self._partial_root(started)
        name = None if is_generic(started.name) else started.name
        return Root(started.run_id, name, started.at)

    def _partial_root(self, started: Started) -> Root:
        """A run whose parent was never seen (a handler in a model's constructor): its siblings share one root, kept
        under the unseen parent's id among the ended frames, since its end will never be seen either.
        """
        root = Root(str(started.parent_run_id), None, started.at, is_partial=True)
        self._keep_ended(Frame(root.run_id, root))
        return root

    def _explicit(self, started: Started, parent: Frame | None) -> tuple[dict[str, str], tuple[str | None, ...]]:
        """The explicit names in force at a run, with what the metadata itself says there."""
        names = metadata_names(started.metadata)
        scope = started.scope
        if parent is None:
            given = dict(scope.names.given()) if scope is not None else {}
            return {**given, **introduced(NO_NAMES, names)}, names
        if names == parent.metadata_names and scope is parent.scope:
            return parent.explicit, names
        entered = scope.names.given() if scope is not None and scope is not parent.scope else {}
        return {**parent.explicit, **entered, **introduced(parent.metadata_names, names)}, names

    def _name_circumstances(
        self, call: OpenCall, started: Started, explicit: tuple[dict[str, str], tuple[str | None, ...]]
    ) -> None:
        named, defaults, configurable = explicit[0], self._defaults, started.configurable or {}
        call.mode = named.get("mode") or defaults.mode
        call.session = session_of(named, configurable) or defaults.session
        call.user = (
            named.get("user") or named.get("user_id") or text_or_none(configurable.get("user_id")) or defaults.user
        )
        call.attempt_error = named.get("error")
        scope_tags = started.scope.names.tags if started.scope is not None else {}
        call.tags = {**defaults.tags, **scope_tags, **metadata_tags(started.metadata)}
        root = call.root
        root.session, root.mode, root.user = (
            root.session or call.session,
            root.mode or call.mode,
            root.user or call.user,
        )
        root.tags = root.tags or call.tags

    def _keep_ended(self, frame: Frame) -> None:
        self._ended[frame.run_id] = frame
        while len(self._ended) > _KEPT_ENDED:
            self._ended.popitem(last=False)

    def _keep_late(self, call: OpenCall) -> None:
        call.provisional = True
        self._late[call.run_id] = call
        while len(self._late) > _KEPT_ENDED:
            self._late.popitem(last=False)


def _attribute(
    call: OpenCall,
    started: Started,
    frame: Frame | None,
    explicit: tuple[dict[str, str], tuple[str | None, ...]],
    model_class: str | None,
) -> None:
    """Rules 4 to 6: agent, node, chain and path of a call directly below `frame`."""
    metadata, names = started.metadata, explicit[0]
    known = frame is not None and not (frame.root.is_partial and frame.run_id == frame.root.run_id)
    named, path = (frame.named, frame.path) if frame is not None else ((), ())
    if frame is not None and known:
        call.agent, call.node, call.step = frame.agent, frame.node, frame.step
    else:  # the tree above was never seen: only what the metadata says
        call.agent = names.get("agent") or text_or_none(metadata.get("lc_agent_name"))
        call.node = text_or_none(metadata.get("langgraph_node"))
    inherited = frame.explicit if frame is not None else {}
    if names.get("agent") is not None and names.get("agent") != inherited.get("agent"):
        call.agent = names["agent"]
    chain_here = names.get("chain") if names.get("chain") != inherited.get("chain") else None
    named, path = _without(named, model_class), _without(path, model_class)
    call.chain = (
        chain_here
        or (frame.explicit_chain if frame is not None else None)
        or started.name
        or text_or_none(metadata.get("lc_source"))
        or (named[-1] if named else None)
        or (call.node if call.node != "__start__" else None)
        or (None if call.root.log is not None else call.root.name)
    )
    if call.chain is not None and path[-1:] != (call.chain,):
        path = (*path, call.chain)
    call.path = "/".join(path) or None


def _without(names: tuple[str, ...], model_class: str | None) -> tuple[str, ...]:
    """Drop the run of a retry wrapper, which is named as the model's class."""
    return names[:-1] if names and names[-1] == model_class else names


def _attempt(call: OpenCall, explicit: tuple[dict[str, str], tuple[str | None, ...]]) -> int:
    """Count the call for its chain, in its run, agent instance and fan-out lane; the user's own number wins."""
    frame, counters = call.frame, call.root.attempts
    key = (frame.agent_key, frame.lane, call.chain) if frame is not None else (None, (), call.chain)
    counters[key] = counters.get(key, 0) + 1
    said = explicit[0].get("attempt")
    is_number = said is not None and said.isdecimal() and len(said) < _ATTEMPT_DIGITS
    return int(said) if said is not None and is_number else counters[key]
