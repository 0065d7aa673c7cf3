import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_ser.decision import IDLE, UNCERTAIN, Decider, DecisionSettings
from edge_ser.errors import ConfigError

PLAIN = DecisionSettings(
    smoothing_s=0, least_speech_s=0, dwell_s=1, uncertain_after_s=1, idle_after_s=2
)


def said(happy: float) -> dict[str, float]:
    return {"happy": happy, "sad": 1 - happy}


def follow(decider: Decider, steps) -> list[tuple[float, str]]:
    """Feed (time, probability of happy or None, speech); what was decided when."""
    decided = []
    for time_s, happy, speech in steps:
        probabilities = None if happy is None else said(happy)
        decision = decider.update(probabilities, speech=speech, time_s=time_s)
        if decision:
            decided.append((time_s, decision.label))
    return decided


def test_a_label_must_hold_for_the_dwell():
    steps = [(0, 0.9, True), (0.5, 0.9, True), (1, 0.9, True), (1.5, 0.9, True)]
    assert follow(Decider(PLAIN), steps) == [(1, "happy")]


def test_a_short_change_is_ignored():
    steps = [(t / 2, 0.1 if t == 4 else 0.9, True) for t in range(12)]
    assert follow(Decider(PLAIN), steps) == [(1, "happy")]


def test_the_end_of_speech_announces_what_was_on_its_way():
    steps = [(0, 0.9, True), (0.5, 0.9, True), (0.6, None, False)]
    assert follow(Decider(PLAIN), steps) == [(0.6, "happy")]


def test_a_pause_does_not_end_the_state_but_silence_does():
    steps = [(0, 0.9, True), (1, 0.9, True), (2, None, False), (2.5, 0.9, True)]
    steps += [(3, None, False), (4, None, False), (4.5, None, False)]
    assert follow(Decider(PLAIN), steps) == [(1, "happy"), (4.5, IDLE)]


def test_the_last_emotion_never_stands_for_ever():
    decider = Decider(PLAIN)
    follow(decider, [(0, 0.9, True), (1, 0.9, True)])
    assert decider.end().label == IDLE
    assert decider.end() is None


def test_no_clear_winner_is_uncertain():
    settings = DecisionSettings(
        smoothing_s=0, least_speech_s=0, dwell_s=0, enter=0.7, leave=0.6
    )
    steps = [(t / 2, 0.5, True) for t in range(5)]
    assert follow(Decider(settings), steps) == [(1.5, UNCERTAIN)]


def test_hysteresis_keeps_a_leader():
    settings = DecisionSettings(
        smoothing_s=0,
        least_speech_s=0,
        dwell_s=0,
        uncertain_after_s=0,
        enter=0.8,
        leave=0.6,
    )
    steps = [(0, 0.9, True), (1, 0.65, True), (2, 0.55, True)]
    assert follow(Decider(settings), steps) == [(0, "happy"), (2, UNCERTAIN)]


def test_a_card_may_ask_more_of_a_label():
    settings = DecisionSettings(smoothing_s=0, least_speech_s=0, dwell_s=0)
    decider = Decider(settings, {"happy": 0.95})
    assert follow(decider, [(0, 0.9, True)]) == []


def test_early_predictions_are_not_judged():
    settings = DecisionSettings(smoothing_s=0, least_speech_s=1, dwell_s=0)
    steps = [(0, 0.9, True), (0.5, 0.9, True), (1, 0.9, True)]
    assert follow(Decider(settings), steps) == [(1, "happy")]


@given(
    st.lists(st.tuples(st.floats(0.01, 3), st.floats(0, 1), st.booleans())),
    st.floats(0, 2),
    st.floats(0, 2),
)
def test_states_alternate_and_end_in_idle(steps, smoothing_s, dwell_s):
    decider = Decider(DecisionSettings(smoothing_s=smoothing_s, dwell_s=dwell_s))
    time_s, states = 0.0, [IDLE]
    for elapsed_s, happy, speech in steps:
        time_s += elapsed_s
        decision = decider.update(
            said(happy) if speech else None, speech=speech, time_s=time_s
        )
        if decision:
            assert 0 <= decision.confidence <= 1
            assert decision.duration_s >= 0
            states.append(decision.label)
    last = decider.end()
    states += [last.label] if last else []
    assert all(a != b for a, b in itertools.pairwise(states))
    assert states[-1] == IDLE


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"dwell_s": -1}, "dwell_s"),
        ({"idle_after_s": float("nan")}, "idle_after_s"),
        ({"enter": 0.2, "leave": 0.3}, "leave"),
        ({"enter": 1.5}, "enter"),
    ],
)
def test_wrong_settings(values, word):
    with pytest.raises(ConfigError, match=word):
        DecisionSettings(**values)
