"""A load test that cannot predict an answer cannot tell a lost token from another text."""

from itertools import islice

import pytest

from tidegate.simulator.answer import LONGEST_NATURAL, SHORTEST_NATURAL, answer, text_tokens

MESSAGES = [{"role": "user", "content": "How high is the tide?"}]


def test_the_same_seed_and_messages_give_the_same_answer_everywhere() -> None:
    """Written out, so that a change of words or of the generator is seen as what it is."""
    expected = "That quiet mirror opens our heron. Near"
    assert answer(1, MESSAGES, 7).text() == expected
    assert answer(1, [dict(reversed(MESSAGES[0].items()))], 7).text() == expected


def test_another_seed_or_another_message_gives_another_answer() -> None:
    others = [
        answer(2, MESSAGES, 40),
        answer(-1, MESSAGES, 40),
        answer(1, [*MESSAGES, {"role": "user", "content": "And now?"}], 40),
    ]
    texts = {answer(1, MESSAGES, 40).text(), *(other.text() for other in others)}
    assert len(texts) == 4


@pytest.mark.parametrize("length", [1, 2, 29, 500])
def test_a_limit_is_met_exactly(length: int) -> None:
    reply = answer(1, MESSAGES, length)
    assert len(list(reply.tokens())) == reply.length == length
    assert reply.finish_reason == "length"


def test_a_longer_answer_begins_with_the_shorter_one() -> None:
    """So that a test can ask for more and still compare."""
    assert answer(1, MESSAGES, 90).text().startswith(answer(1, MESSAGES, 40).text())


def test_without_a_limit_an_answer_is_30_to_120_tokens_and_ends_a_sentence() -> None:
    replies = [answer(seed, MESSAGES, None) for seed in range(500)]
    lengths = {reply.length for reply in replies}
    assert min(lengths) >= SHORTEST_NATURAL
    assert max(lengths) <= LONGEST_NATURAL
    assert len(lengths) > 50
    assert all(reply.text().endswith(".") for reply in replies)
    assert {reply.finish_reason for reply in replies} == {"stop"}


def test_tokens_need_no_escaping_and_join_to_readable_text() -> None:
    """Frames are built around raw tokens: a quote or a backslash in one would break the JSON."""
    tokens = list(islice(text_tokens(12345), 5000))
    assert all(token.decode("ascii").strip(" .").isalpha() for token in tokens)
    assert not tokens[0].startswith(b" ")
    assert all(token.startswith(b" ") and token.count(b" ") == 1 for token in tokens[1:])
