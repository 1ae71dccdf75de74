"""The tables of clients and losses themselves: every recording is in one of them, and no row is there for nothing."""

from __future__ import annotations

import pytest

from .clients import CLIENTS, OUT_OF_REACH
from .driving import CASES
from .losses import FAILS_AFTER_ANSWER, LOST, SAID_OTHERWISE, SAYS_ZERO, STANDS_IN, Loss
from .losses_beside import COST_LOST, UNITS_LOST
from .oddities import COUNTED_FROM_CONTENT, FLAGGED
from .recordings import recordings
from .truth import expected, rows_for, said_cost, true_values

RECORDED = recordings()

if not RECORDED:
    pytest.skip("no shared/recordings beside the checkout", allow_module_level=True)


def test_no_recording_is_left_out() -> None:
    """Every recording is driven through a client, or its provider and format are named with the reason why not."""
    driven = {case.recording.stem for case in CASES}
    left = {(item.provider, item.format) for item in RECORDED if item.stem not in driven}
    assert left == set(OUT_OF_REACH)


def test_every_row_of_clients_is_used() -> None:
    """Each provider and format that a client is said to speak is one that was recorded, or one of a pair that was."""
    recorded = {(item.provider, item.format) for item in RECORDED}
    for client in CLIENTS:
        for provider, formats in client.speaks.items():
            assert any((provider, wire_format) in recorded for wire_format in formats), (client.name, provider)


@pytest.mark.parametrize("loss", [*COST_LOST, *UNITS_LOST], ids=lambda loss: str(sorted(loss.clients)))
def test_every_loss_beside_the_tokens_is_about_a_case(loss: Loss) -> None:
    """Each row of the tables of what is lost beside the tokens holds for some case of each client that it names."""
    assert loss.clients == {case.client.name for case in CASES if rows_for(case, [loss])}


@pytest.mark.parametrize(
    "loss", [*LOST, *STANDS_IN, *SAYS_ZERO], ids=lambda loss: f"{sorted(loss.clients)} {loss.fields}"
)
def test_every_loss_loses_something(loss: Loss) -> None:
    """Each row of the tables of losses, and each recording that it names, changes what is reported of some case."""
    hit = [case for case in CASES if rows_for(case, [loss]) and expected(case).changed & set(loss.fields)]
    assert hit
    assert loss.reason
    assert loss.only <= {case.recording.stem for case in hit}
    assert loss.clients == {case.client.name for case in hit}


def test_other_tables_name_cases() -> None:
    """Each name in the tables by client and recording, and in those of oddities, is one that is driven."""
    keys, stems = {case.key for case in CASES}, {case.recording.stem for case in CASES}
    assert {*SAID_OTHERWISE, *FAILS_AFTER_ANSWER} <= keys
    assert set(COUNTED_FROM_CONTENT) <= stems
    for row in FLAGGED:
        assert row.recordings <= stems
        assert row.clients <= {client.name for client in CLIENTS}


def test_no_loss_is_an_invention() -> None:
    """What the provider said is replaced by an unknown and never by a number, but for the cases that are named."""
    for case in CASES:
        should, truth = expected(case), true_values(case.recording)
        for name in should.changed - {"model"}:
            if case.key not in SAID_OTHERWISE or name not in SAID_OTHERWISE[case.key].reported:
                assert should.values[name] is None or (truth[name], should.values[name]) == (None, 0)


def test_every_price_of_openrouter_reaches_its_own_client() -> None:
    """OpenRouter's client loses none of its prices; the recordings that it cannot read are of the responses interface."""
    priced = {case.recording.stem for case in CASES if case.recording.provider == "openrouter" and said_cost(case)}
    own = [case for case in CASES if case.client.name == "ChatOpenRouter"]
    assert not any(rows_for(case, COST_LOST) for case in own)
    assert {item.format for item in RECORDED if item.stem in priced - {case.recording.stem for case in own}} == {
        "openai-responses",
        "openai-responses-sse",
    }
