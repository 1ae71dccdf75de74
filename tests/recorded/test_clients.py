"""The OpenAI and Anthropic clients against every recording of theirs: the stored call says what the provider said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from langchain_tokens import Call, TokenUsage, TokenUsageHandler, UsageStore, open_store

from .driving import RECORDINGS, Recording, Replay, all_formats, client, drive, recordings, replaying
from .losses import FAILS_AFTER_ANSWER, KNOWN_LOSSES

FORMATS = {
    "openai": frozenset(
        {
            "openai-chat",
            "openai-chat-sse",
            "openai-completions",
            "openai-completions-sse",
            "openai-responses",
            "openai-responses-sse",
            "error",
        }
    ),
    "anthropic": frozenset({"anthropic", "anthropic-sse", "openai-chat", "error"}),
}
OUT_OF_REACH = {"openai-embeddings": "LangChain tells no callback of a call to an embedding model"}
FIELDS = {
    "input": "input_tokens",
    "output": "output_tokens",
    "total": "total_tokens",
    "cache_read": "cache_read_tokens",
    "cache_write": "cache_write_tokens",
    "reasoning": "reasoning_tokens",
    "input_audio": "audio_input_tokens",
    "output_audio": "audio_output_tokens",
}
RECORDED = recordings(FORMATS)
FAILED = [recording for recording in RECORDED if recording.format == "error"]
ANSWERED = [
    recording for recording in RECORDED if recording.format != "error" and recording.stem not in FAILS_AFTER_ANSWER
]
BILLED_FAILURES = [recording for recording in RECORDED if recording.stem in FAILS_AFTER_ANSWER]

if not RECORDED:
    pytest.skip(f"no {'/'.join(RECORDINGS.parts[-2:])} beside the checkout", allow_module_level=True)

pytestmark = [
    # What the clients themselves warn of: models that have had their day, and blocks that are newer than the client.
    pytest.mark.filterwarnings("ignore:The model '.*' is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
    pytest.mark.filterwarnings("ignore:Received unexpected tool content block:UserWarning"),
]


@pytest.fixture(scope="module")
def replay() -> Iterator[Replay]:
    """Give one replay server for the whole module."""
    with replaying() as running:
        yield running


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the address of one database for the whole module."""
    return f"sqlite:///{tmp_path_factory.mktemp('recorded') / 'tokens.db'}"


@pytest.fixture(scope="module")
def handler(url: str) -> Iterator[TokenUsageHandler]:
    """Give one handler for the whole module."""
    with TokenUsageHandler(store=url) as running:
        yield running


@pytest.fixture(scope="module")
def store(url: str, handler: TokenUsageHandler) -> UsageStore:
    """Open the handler's database a second time, for reading."""
    return open_store(url)


def by_stem(chosen: list[Recording]) -> pytest.MarkDecorator:
    """Parametrize a test by recordings under their names."""
    return pytest.mark.parametrize("recording", chosen, ids=[recording.stem for recording in chosen])


def stored_call(recording: Recording, handler: TokenUsageHandler, store: UsageStore) -> Call:
    """The one call that the store holds for a recording."""
    assert handler.flush()
    calls = store.calls(session=recording.stem)
    assert len(calls) == 1
    return calls[0]


def config(recording: Recording, handler: TokenUsageHandler) -> dict[str, Any]:
    """The config that records a call under the recording's name."""
    return {"callbacks": [handler], "metadata": {"tokens_session": recording.stem}}


def true_usage(recording: Recording) -> dict[str, int | None]:
    """The truth under our names; the total is the sum of input and output where the provider says none."""
    usage = {name: recording.truth.get(key) for key, name in FIELDS.items()}
    if usage["total_tokens"] is None and usage["input_tokens"] is not None and usage["output_tokens"] is not None:
        usage["total_tokens"] = usage["input_tokens"] + usage["output_tokens"]
    return usage


def reported_usage(call: Call) -> dict[str, int | None]:
    """The counts of a stored call; all None where it has no usage."""
    usage = call.usage or TokenUsage()
    return {name: getattr(usage, name) for name in FIELDS.values()}


def true_rounds(recording: Recording) -> dict[str, int]:
    """The sums over the rounds of a call, where they exceed the usage that the provider puts on top."""
    truth = recording.truth
    if "billed_input_iterations" not in truth:
        return {}
    rounds = {f"rounds_{name}_tokens": truth[f"billed_{name}_iterations"] for name in ("input", "output")}
    exceeds = any(rounds[f"rounds_{name}_tokens"] > truth[name] for name in ("input", "output"))
    return rounds if exceeds else {}


@pytest.mark.parametrize("provider", FORMATS)
def test_no_recording_is_left_out(provider: str) -> None:
    """Every wire format of these providers' recordings is driven, or named with the reason it cannot be."""
    assert all_formats(provider) - FORMATS[provider] <= set(OUT_OF_REACH)


@by_stem(ANSWERED)
def test_answer_is_stored_as_the_provider_said_it(
    recording: Recording, replay: Replay, handler: TokenUsageHandler, store: UsageStore
) -> None:
    """Counts, rounds beyond them and served model are the provider's; only what the client is known to drop is not."""
    drive(recording, client(recording, replay), config(recording, handler))
    call = stored_call(recording, handler, store)
    usage = true_usage(recording)
    truth = {**usage, "model": recording.response_model}
    reported = {**reported_usage(call), "model": call.model}
    loss = KNOWN_LOSSES.get(recording.stem)
    lost = loss.reported if loss else {}

    mended = {name for name in lost if reported[name] == truth[name]}
    assert not mended, "no longer lost by the client: take it out of the table of losses"
    assert reported == {**truth, **lost}
    assert call.status == "ok"
    assert call.streamed is recording.streamed
    assert call.usage_source == ("missing" if set(usage.values()) == {None} else "provider")
    assert (call.usage is None) is (call.usage_source == "missing")
    rounds, units = true_rounds(recording), dict(call.usage.other_units or {}) if call.usage else {}
    assert rounds.items() <= units.items()
    assert ("rounds_above_usage" in call.usage_flags) is bool(rounds)
    assert set(call.usage_flags) >= (loss.flags if loss else set())


@by_stem(FAILED)
def test_refused_request_is_a_failed_call(
    recording: Recording, replay: Replay, handler: TokenUsageHandler, store: UsageStore
) -> None:
    """A request that the provider refuses is stored as a failed call with its error and without usage."""
    with pytest.raises(Exception, match="Error code: 4") as caught:
        drive(recording, client(recording, replay), config(recording, handler))
    call = stored_call(recording, handler, store)
    assert (call.status, call.error_type) == ("error", type(caught.value).__name__)
    assert call.error_message
    assert (call.usage, call.usage_source) == (None, "missing")


@by_stem(BILLED_FAILURES)
def test_client_failure_after_the_answer_is_a_failed_call(
    recording: Recording, replay: Replay, handler: TokenUsageHandler, store: UsageStore
) -> None:
    """A billed answer that the client itself fails on is a failed call whose usage is missing, not 0."""
    with pytest.raises(AttributeError):
        drive(recording, client(recording, replay), config(recording, handler))
    call = stored_call(recording, handler, store)
    assert (call.status, call.error_type) == ("error", "AttributeError")
    assert (call.usage, call.usage_source) == (None, "missing")


def test_tables_of_losses_name_recordings() -> None:
    """Each name in the tables of losses is a recording that is driven here."""
    assert {*KNOWN_LOSSES, *FAILS_AFTER_ANSWER} <= {recording.stem for recording in RECORDED}


def test_no_loss_is_an_invention() -> None:
    """Each loss replaces a truth that the provider said by an unknown, never by a number."""
    for stem, loss in KNOWN_LOSSES.items():
        recording = next(recording for recording in RECORDED if recording.stem == stem)
        truth = true_usage(recording)
        for name, reported in loss.reported.items():
            assert reported == (recording.requested_model if name == "model" else None)
            assert name == "model" or truth[name] is not None
