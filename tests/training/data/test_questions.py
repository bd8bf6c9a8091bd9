"""How the training asks."""

import random

from training.data.questions import CAPTION_QUESTIONS, SHORT_ANSWER, balanced, conversation, messages

QA = (("Is it red?", "no"), ("Is it wet?", "No."), ("What is it?", "a boat"), ("Is it big?", "yes"))


def test_denials_are_thinned_out_and_nothing_else() -> None:
    draws = [balanced(random.Random(seed), QA, keep_no=0.65) for seed in range(500)]
    kept = {answer: sum((question, answer) in draw for draw in draws) / 500 for question, answer in QA}
    assert kept["yes"] == kept["a boat"] == 1
    assert 0.6 < kept["no"] < 0.7
    assert 0.6 < kept["No."] < 0.7
    assert len({tuple(draw) for draw in draws if len(draw) == 4}) == 24, "every order comes"


def test_a_conversation_asks_for_short_answers_in_all_its_turns_or_in_none() -> None:
    talks = [conversation(random.Random(seed), [*QA], "A boat on a lake.") for seed in range(200)]
    for talk in talks:
        assert talk[0][0] in CAPTION_QUESTIONS
        assert [answer for _, answer in talk] == ["A boat on a lake.", "no", "No.", "a boat", "yes"]
        assert len({question.endswith(SHORT_ANSWER) for question, _ in talk[1:]}) == 1
    assert 60 < sum(talk[1][0].endswith(SHORT_ANSWER) for talk in talks) < 140
    assert conversation(random.Random(0), [("Who?", "a dog")])[0][1] == "a dog"


def test_a_talk_becomes_turns() -> None:
    assert messages([("Who?", "a dog"), ("Where?", "outside")]) == [
        {"role": "user", "content": "Who?"}, {"role": "assistant", "content": "a dog"},
        {"role": "user", "content": "Where?"}, {"role": "assistant", "content": "outside"},
    ]  # fmt: skip
