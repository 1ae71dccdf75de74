"""What was named explicitly? The names that travel in LangChain's config metadata, and those of an open `track()`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from langchain_tokens.budgets import Budget
from langchain_tokens.errors import TokensError
from langchain_tokens.masking import NOT_STORED
from langchain_tokens.runlog import RunLog

__all__ = (
    "CURRENT_SCOPE",
    "NO_LABELS",
    "NO_NAMES",
    "Names",
    "Scope",
    "checked_name",
    "checked_text",
    "introduced",
    "label_metadata",
    "labelled",
    "metadata_labels",
    "metadata_names",
    "metadata_tags",
    "nearer_labels",
    "session_of",
    "text_or_none",
)

METADATA_KEYS = {
    "chain": "tokens_chain",
    "agent": "tokens_agent",
    "mode": "tokens_mode",
    "session": "tokens_session",
    "user": "tokens_user",
    "attempt": "tokens_attempt",
    "error": "tokens_error",
    "session_id": "session_id",
    "thread_id": "thread_id",
    "conversation_id": "conversation_id",
    "user_id": "user_id",
}
"""Name → the key of LangChain's metadata that carries it. The last four are what applications set anyway."""
TAG_PREFIX = "tokens_tag_"
_LABELLED = "tokens_labelled"
"""In the metadata below a label: there are labels to look for."""
_LABEL_PREFIX = "tokens_label_"
_SESSION_KEYS = ("session_id", "thread_id", "conversation_id")
_KEYS = tuple(METADATA_KEYS.values())
_KEY_SET = frozenset(_KEYS)
_POSITIONS = tuple(METADATA_KEYS)

type_names = tuple[str | None, ...]
NO_NAMES: type_names = (None,) * len(_KEYS)
"""What metadata says that names nothing."""
type_labels = Mapping[str, Mapping[str, Any]]
"""Labels by their keys in the metadata, each with the entries of the metadata that it stands for."""
NO_LABELS: type_labels = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Names that somebody gave: a handler's defaults, or one `track()` block with those around it."""

    chain: str | None = None
    agent: str | None = None
    mode: str | None = None
    session: str | None = None
    user: str | None = None
    attempt: str | None = None
    error: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what somebody gave.

        Raises:
            TokensError: for a name that is no text, or tags that are no mapping of text to text.

        """
        for name in _POSITIONS[:7]:
            object.__setattr__(self, name, checked_name(name, getattr(self, name)))
        object.__setattr__(self, "tags", _checked_tags(self.tags))

    def given(self) -> dict[str, str]:
        """The names that are not None, without tags."""
        named = ((name, text_or_none(getattr(self, name))) for name in _POSITIONS[:7])
        return {name: value for name, value in named if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """One open `track()`: its names (inner ones have won already), and the run that calls inside it belong to."""

    names: Names
    log: RunLog | None
    """The run that `track()` opened; None inside a LangChain run, which is the run then."""
    run_id: str | None = None
    """The LangChain run that the block stands in."""
    budgets: tuple[Budget, ...] = ()
    """Those of this block and of all around it."""
    stops: bool = False
    """Whether one of them refuses calls."""


CURRENT_SCOPE: ContextVar[Scope | None] = ContextVar("langchain_tokens_scope", default=None)
"""The innermost open `track()` of this thread or task."""


def checked_name(name: str, value: object) -> str | None:
    """A name that somebody gave as an argument, as plain text; None and empty text name nothing.

    Raises:
        TokensError: for anything else than text and UUIDs, and for text that no database takes.

    """
    return None if value is None else checked_text(name, value) or None


def checked_text(name: str, value: object) -> str:
    """Text that somebody gave, or a UUID's text; of a type of its own, such as an enumeration's, as plain text.

    Raises:
        TokensError: for anything else, and for text with characters that no database takes.

    """
    if isinstance(value, UUID):
        return str(value)
    if not isinstance(value, str):
        raise TokensError(f"{name}={value!r} is a {type(value).__name__}; expected text")
    text = str.__str__(value)
    if NOT_STORED.search(text):
        raise TokensError(f"{name}={text!r} has a NUL or half of a surrogate pair; expected text that can be stored")
    return text


def _checked_tags(tags: object) -> dict[str, str]:
    if not isinstance(tags, Mapping):
        raise TokensError(
            f"tags={tags!r} is a {type(tags).__name__}; expected a mapping of text to text, such as {{'team': 'a'}}"
        )
    for key in tags:
        if not isinstance(key, str):
            raise TokensError(f"tags has the key {key!r}, a {type(key).__name__}; expected text")
    return {checked_text("a key of tags", key): checked_text(f"tags[{key!r}]", tags[key]) for key in tags}


def text_or_none(value: Any) -> str | None:
    """A name as text; None and empty text name nothing."""
    if type(value) is str:
        return value or None
    if value is None:
        return None
    try:
        return str(value) or None
    except Exception:  # noqa: BLE001  # a foreign class may fail even here, and then it names nothing
        return None


def metadata_names(metadata: Mapping[str, Any]) -> type_names:
    """Read the names out of a run's metadata, in the order of `METADATA_KEYS`."""
    if _KEY_SET.isdisjoint(metadata):
        return NO_NAMES
    get = metadata.get
    found = tuple([get(key) for key in _KEYS])
    for value in found:
        if value is not None and type(value) is not str:
            return tuple([text_or_none(value) for value in found])
    return found


def label_metadata(names: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of something labelled: the names, and the label itself under a key that nothing else has. Where
    LangGraph merges configs, names of runs around replace those of a graph in them; the key stays, and tells.

    Args:
        names: the entries of the metadata that name it.
        before: the metadata that it has.

    """
    labels = metadata_labels(before)
    key = next(iter(labels), None) or f"{_LABEL_PREFIX}{uuid4().hex}"
    return {**names, _LABELLED: True, key: {**labels.get(key, {}), **names}}


def metadata_labels(metadata: Mapping[Any, Any]) -> type_labels:
    """The labels in a run's metadata: its own, and those of the runs around it."""
    if _LABELLED not in metadata:
        return NO_LABELS
    keys = [key for key in metadata if isinstance(key, str) and key.startswith(_LABEL_PREFIX)]
    return {key: metadata[key] for key in keys if isinstance(metadata[key], Mapping)}


def nearer_labels(labels: type_labels, around: type_labels) -> list[Mapping[str, Any]]:
    """The labels that the run around does not have, outermost first."""
    return [label for key, label in labels.items() if key not in around] if labels else []


def labelled(labels: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The names that labels say; of several the last one's."""
    pairs = ((name, text_or_none(label.get(key))) for label in labels for name, key in METADATA_KEYS.items())
    return {name: text for name, text in pairs if text is not None}


def introduced(before: type_names, now: type_names) -> dict[str, str]:
    """The names that appear or change between a run's parent and the run: metadata is inherited, so only a
    difference tells where a name was set.
    """
    pairs = zip(_POSITIONS, before, now, strict=True)
    return {name: new for name, old, new in pairs if new is not None and new != old}


def metadata_tags(metadata: Mapping[Any, Any]) -> dict[str, str]:
    """The `tokens_tag_<KEY>` entries of a run's metadata."""
    keys = [key for key in metadata if isinstance(key, str) and key.startswith(TAG_PREFIX)]
    if not keys:
        return {}
    return {key[len(TAG_PREFIX) :]: text for key in keys if (text := text_or_none(metadata[key])) is not None}


def session_of(explicit: Mapping[str, str], configurable: Mapping[str, Any]) -> str | None:
    """The session: `tokens_session`, `session_id`, `thread_id`, `conversation_id`; for each of them what the metadata
    says, then the ambient configurable.
    """
    if not explicit and not configurable:
        return None
    named = explicit.get("session") or text_or_none(configurable.get("tokens_session"))
    for key in _SESSION_KEYS:
        named = named or explicit.get(key) or text_or_none(configurable.get(key))
    return named
