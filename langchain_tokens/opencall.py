"""Whom does one call belong to? A call between its start and its end, its attribution settled when it starts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, cast

from langchain_tokens.batches import Batch
from langchain_tokens.call import Call, RetryKind
from langchain_tokens.frames import Frame, Started
from langchain_tokens.masking import error_text
from langchain_tokens.names import (
    NO_LABELS,
    NO_NAMES,
    Names,
    introduced,
    labelled,
    metadata_labels,
    metadata_names,
    metadata_tags,
    nearer_labels,
    session_of,
    text_or_none,
)
from langchain_tokens.paths import join_path
from langchain_tokens.redo import Work, count_call, retry_tag
from langchain_tokens.roots import Root

__all__ = ("OpenCall", "class_name", "explicit_names")

_MOST_ATTEMPTS = 2**31 - 1  # what an INTEGER column holds
_ATTEMPT_DIGITS = len(str(_MOST_ATTEMPTS))

type_explicit = tuple[dict[str, str], tuple[str | None, ...]]
"""The explicit names in force, and what the metadata itself says."""


class OpenCall:
    """One model call between its start and its end, with its attribution already settled."""

    __slots__ = (
        "agent",
        "asked",
        "asked_content",
        "attempt",
        "attempt_error",
        "batch",
        "batch_size",
        "call_id",
        "chain",
        "clock",
        "counted_as",
        "counters",
        "estimate_basis",
        "first_token",
        "frame",
        "inner_failure",
        "is_admitted",
        "is_superseded",
        "message_id",
        "mode",
        "model_class",
        "node",
        "parent",
        "path",
        "pieces",
        "provider",
        "provisional",
        "record",
        "repeats",
        "requested_model",
        "retry_kind",
        "root",
        "run_id",
        "running",
        "said",
        "session",
        "started_at",
        "step",
        "streamed",
        "tags",
        "text_batch",
        "tried_by",
        "user",
    )

    def __init__(self, started: Started, root: Root, frame: Frame | None) -> None:
        self.run_id = self.call_id = started.run_id
        self.parent = started.parent_run_id if frame is None else frame.run_id
        self.root = root
        self.frame = frame
        self.started_at = started.at
        self.clock = started.clock
        self.batch_size = started.batch_size
        self.first_token: float | None = None
        self.streamed = False
        self.provisional = False
        self.model_class: str | None = None
        """The model's class name; retry wrappers carry it as their run name, where it names no chain."""
        self.requested_model: str | None = None
        self.provider: str | None = None
        self._begin_unnamed()
        self.attempt = 1
        self.counters: dict[tuple[Any, ...], int] = {}
        self.counted_as: tuple[Any, ...] = ()
        self.attempt_error: str | None = None
        self.retry_kind: RetryKind | None = None
        self.asked: tuple[str | None, int | None] = (None, started.asked)
        """Which question of which chain this is."""
        self.tried_by: Work | None = None
        """The `with_fallbacks` that this call is an attempt of."""
        self.mode: str | None = None
        self.session: str | None = None
        self.user: str | None = None
        self.tags: Mapping[str, str] = {}
        self._begin_empty()
        self.record: Call | None = None
        """What was recorded at its end, while that may still be corrected."""
        self.repeats: tuple[OpenCall, ...] = ()
        """The calls of an earlier execution whose place this one takes."""
        self.is_admitted = False
        """Budgets were asked for it."""
        self.batch: object = None
        """What all calls of its batch have in common, where there are several."""
        self.is_superseded = False
        """Another call took its place: its work was done again."""

    def _begin_empty(self) -> None:
        self.asked_content: tuple[tuple[Any, ...], Mapping[str, Any]] | None = None
        """What it asks and with which parameters, while its usage may have to be estimated."""
        self.estimate_basis: Mapping[str, int] | None = None
        """What is left of both once the call was recorded, for a late end."""
        self.pieces: Any = None
        """What has arrived of a streamed answer, likewise."""
        self.said: Any = None
        """What it sends, as it may be stored, where that is kept."""
        self.running: Any = None
        """What the pieces of a streamed answer say of usage."""
        self.text_batch: Batch | None = None
        """The request that a text model's call shares with others."""
        self.message_id: str | None = None
        """The message that they are of."""
        self.inner_failure: tuple[BaseException, OpenCall] | None = None
        """How the last call failed that this one may have made."""

    def _begin_unnamed(self) -> None:
        self.chain: str | None = None
        self.agent: str | None = None
        self.path: str | None = None
        self.node: str | None = None
        self.step: int | None = None

    def attribute(self, started: Started, explicit: type_explicit, defaults: Names) -> None:
        """Settle whom this call belongs to.

        Args:
            started: the run's own start.
            explicit: the explicit names in force here.
            defaults: what the handler names.

        """
        around = NO_LABELS if self.frame is None else self.frame.labels
        nearer = labelled(nearer_labels(metadata_labels(started.metadata), around))
        self._place(started, explicit[0], is_labelled="agent" in nearer)
        self._name_chain(started, explicit[0], is_labelled="chain" in nearer)
        self.agent = self.agent or defaults.agent
        self._name_circumstances(started, explicit[0], defaults)
        self._count(explicit[0].get("attempt"))

    def find_redone(self, started: Started, fallbacks: Work | None) -> None:
        """Settle whether this call is work done again, and count it in the work that it is part of."""
        self.asked = (self.chain, started.asked)
        self.tried_by = fallbacks
        frame = self.frame
        if frame is not None:
            asked_again = frame.work.asked_again(self.asked, (self.provider, self.requested_model))
            kind, error, repeats = count_call(self, self.path, frame.works, frame.redone)
            self.attempt_error = self.attempt_error or error
            self.retry_kind, self.repeats = kind or asked_again, cast("tuple[OpenCall, ...]", repeats)
            frame.open_calls.add(self.run_id)
        if fallbacks is not None and fallbacks.is_given_up:
            self.retry_kind = "fallback"
        elif retry_tag(started.tags):
            self.retry_kind = "retry"

    def close(self, *, failed: bool) -> None:
        """Keep what the end of this call says about the work that it is part of."""
        if failed and self.tried_by is not None:
            self.tried_by.is_given_up = True
        if self.frame is not None:
            self.frame.open_calls.discard(self.run_id)
            self.frame.work.note_call(self.asked, (self.provider, self.requested_model), failed=failed)
        self.frame = self.tried_by = None  # who holds a call that ended must not hold the runs around it

    @property
    def keeps_pieces(self) -> bool:
        """Whether anything is made of the pieces in which its answer arrives."""
        return self.asked_content is not None or self.said is not None

    def delay(self, seconds: float) -> None:
        """Let it start later: that it waited for a budget is no time of the model's."""
        self.clock += seconds
        self.started_at += timedelta(seconds=seconds)

    def refuse(self) -> None:
        """Undo what its start did: a budget stopped it before it was made."""
        if self.counters.get(self.counted_as):
            self.counters[self.counted_as] -= 1
        if self.tried_by is not None:
            self.tried_by.is_given_up = True  # another model may take its place
        if self.frame is not None:
            self.frame.open_calls.discard(self.run_id)
        self.frame = self.tried_by = None
        self._begin_empty()

    def give_number_to(self, inner: OpenCall) -> None:
        """Give up the number of a call that only handed on what `inner` was asked: it was no attempt of its own."""
        if self.counters is not inner.counters or self.counted_as != inner.counted_as:
            return
        self.counters[self.counted_as] -= 1
        self.counters = {}  # it has given its number once and for all
        if inner.attempt == self.attempt + 1:
            inner.attempt = self.attempt

    def _place(self, started: Started, names: Mapping[str, str], *, is_labelled: bool) -> None:
        """Rules 4 and 5: agent and node."""
        frame, metadata = self.frame, started.metadata
        if frame is not None and not (frame.root.is_partial and frame.run_id == frame.root.run_id):
            self.agent, self.node, self.step = frame.agent, frame.node, frame.step
        else:  # the tree above was never seen: only what the metadata says
            self.agent = names.get("agent") or text_or_none(metadata.get("lc_agent_name"))
            self.node = text_or_none(metadata.get("langgraph_node"))
        inherited = frame.explicit.get("agent") if frame is not None else None
        if names.get("agent") not in (None, inherited) or is_labelled:
            self.agent = names["agent"]

    def _name_chain(self, started: Started, names: Mapping[str, str], *, is_labelled: bool) -> None:
        """Rule 6, first match: chain, and with it the path."""
        frame, root = self.frame, self.root
        inherited = frame.explicit.get("chain") if frame is not None else None
        named = _without(frame.named if frame is not None else (), self.model_class)
        path = _without(frame.path if frame is not None else root.base_path, self.model_class)
        self.chain = (
            (names.get("chain") if names.get("chain") != inherited or is_labelled else None)
            or (frame.explicit_chain if frame is not None else None)
            or started.name
            or text_or_none(started.metadata.get("lc_source"))
            or (named[-1] if named else None)
            or (self.node if self.node != "__start__" else None)
            or (None if root.log is not None else root.name)
        )
        if self.chain is not None and path[-1:] != (self.chain,):
            path = (*path, self.chain)
        self.path = join_path(path)

    def _name_circumstances(self, started: Started, named: Mapping[str, str], defaults: Names) -> None:
        configurable = started.configurable or {}
        self.mode = named.get("mode") or defaults.mode
        self.session = session_of(named, configurable) or defaults.session
        self.user = named.get("user") or named.get("user_id") or text_or_none(configurable.get("user_id"))
        self.user = self.user or defaults.user or None
        error = named.get("error")
        self.attempt_error = None if error is None else error_text(error)
        scope_tags = started.scope.names.tags if started.scope is not None else {}
        self.tags = {**defaults.tags, **scope_tags, **metadata_tags(started.metadata)}
        root = self.root
        root.session, root.mode = root.session or self.session, root.mode or self.mode
        root.user, root.tags = root.user or self.user, root.tags or self.tags

    def _count(self, said: str | None) -> None:
        """Count the call for its chain, in its run, agent instance and fan-out lane; the user's own number wins."""
        frame = self.frame
        self.counters = counters = frame.counters if frame is not None else self.root.counters
        self.counted_as = key = (self.agent, frame.lane if frame is not None else (), self.chain)
        counters[key] = counters.get(key, 0) + 1
        number = int(said) if said is not None and said.isdecimal() and len(said) <= _ATTEMPT_DIGITS else 0
        self.attempt = number if 1 <= number <= _MOST_ATTEMPTS else counters[key]


def class_name(serialized: Mapping[str, Any] | None) -> str | None:
    """The model's class name, which a retry wrapper around it has as its run name."""
    if not serialized:
        return None
    way = serialized.get("id")
    name = serialized.get("name") or (way[-1] if isinstance(way, (list, tuple)) and way else None)
    return name if isinstance(name, str) else None


def explicit_names(started: Started, parent: Frame | None) -> type_explicit:
    """The explicit names in force at a run, with what the metadata itself says there."""
    names, scope, labels = metadata_names(started.metadata), started.scope, metadata_labels(started.metadata)
    if labels:
        return _names_below_labels(started, parent, names, labels), names
    if parent is None:
        given = scope.names.given() if scope is not None else {}
        if names is NO_NAMES:
            return given, names
        return {**given, **introduced((None,) * len(names), names)}, names
    if names == parent.metadata_names and scope is parent.scope:
        return parent.explicit, names
    entered = scope.names.given() if scope is not None and scope is not parent.scope else {}
    return {**parent.explicit, **entered, **introduced(parent.metadata_names, names)}, names


def _names_below_labels(
    started: Started, parent: Frame | None, names: tuple[str | None, ...], labels: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    """The same where something is labelled. What a label says may come from a run around, though it was not in the
    metadata above: only other names were said by the call's own config.
    """
    scope, around = started.scope, None if parent is None else parent.scope
    entered = scope.names.given() if scope is not None and scope is not around else {}
    nearer = nearer_labels(labels, NO_LABELS if parent is None else parent.labels)
    said = [labelled([label]) for label in labels.values()]
    own = introduced(NO_NAMES if parent is None else parent.metadata_names, names)
    own = {name: text for name, text in own.items() if all(one.get(name) != text for one in said)}
    return {**({} if parent is None else parent.explicit), **entered, **labelled(nearer), **own}


def _without(names: tuple[str, ...], model_class: str | None) -> tuple[str, ...]:
    """Drop the run of a retry wrapper, which is named as the model's class."""
    return names[:-1] if names and names[-1] == model_class else names
