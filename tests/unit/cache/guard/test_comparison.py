"""What the guard must see: each pair below would cost a user a wrong answer, or a repeat."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.cache.guard import compare
from tidegate.cache.guard.reading import read

LOOK_ALIKES = [
    ("number", "How do I boil 2 eggs?", "How do I boil 5 eggs?"),
    ("number", "Is a fever of 38.5 high?", "Is a fever of 41 high?"),
    ("number", "Who was the second man on the moon?", "Who was the third man on the moon?"),
    ("number", "Is a pulse of 60 at night low?", "Is a pulse of 48 at night low?"),
    ("number", "Is sugar of 100 in the morning ok?", "Is sugar of 160 in the morning ok?"),
    ("number", "Is 1.5 in the morning enough?", "Is 1.05 in the morning enough?"),
    ("number", "What can I buy with 1 dollar?", "What can I buy with dollars?"),
    ("time", "Is it open at 3 at night?", "Is it open at 3 pm?"),
    ("weekday", "Are you open?", "Are you open on sat?"),
    ("season", "Can I plant garlic?", "Can I plant garlic in the fall?"),
    ("number", "A box 4 wide and 9 deep", "A box 9 wide and 4 deep"),
    ("time", "Is the pool open at 7 am?", "Is the pool open at 7 pm?"),
    ("weekday", "Are you open on Monday?", "Are you open on Sunday?"),
    ("day", "Who plays next Friday?", "Who plays this Friday?"),
    ("comparison", "Flights under 300 euros?", "Flights over 300 euros?"),
    ("number", "Wait for 10 seconds", "Wait for 10 minutes"),
    ("currency", "What is that in dollars?", "What is that in yen?"),
    ("opposite", "How do I enable pop-ups?", "How do I disable pop-ups?"),
    ("opposite", "How do I turn the alarm on?", "How do I turn the alarm off?"),
    ("opposite", "What is the cheapest phone?", "What is the most expensive phone?"),
    ("negation", "Why is my tap leaking?", "Why is my tap not leaking?"),
    ("negation", "Is that berry safe?", "Is that berry unsafe?"),
    ("direction", "Trains from Oslo to Rome", "Trains from Rome to Oslo"),
    ("direction", "Did the cat chase the dog?", "Did the dog chase the cat?"),
    ("direction", "Is a list faster than a set?", "Is a set faster than a list?"),
    ("opposite", "What if I lose my wallet?", "What if I find a wallet?"),
    ("modifier", "How do I delete a topic?", "How do I delete a topic's messages?"),
    ("direction", "Can I sue my landlord?", "Can my landlord sue me?"),
    ("country", "Do I need a visa for Peru?", "Do I need a visa for Chile?"),
    ("name", "What does Ozymandias mean?", "What does Zarathustra mean?"),
    ("quantifier", "Do all plans include roaming?", "Do some plans include roaming?"),
    ("quantifier", "Can guests park here?", "Can only guests park here?"),
    ("role", "What may a tenant paint?", "What may a landlord paint?"),
    ("role", "How do I mute myself?", "How do I mute a guest?"),
    ("aspect", "Why did the bridge fall?", "When did the bridge fall?"),
    ("aspect", "How much is a permit?", "How long is a permit good for?"),
    ("aspect", "What is a mutex?", "When should I use a mutex?"),
    ("aspect", "Where can I recycle glass?", "How is glass recycled?"),
    ("direction", "Who does Hamlet kill in the play?", "Who kills Hamlet in the play?"),
    ("direction", "My son bullied a boy, what now?", "My son was bullied, what now?"),
    ("modifier", "How much is a ticket?", "How much is a return ticket?"),
    ("modifier", "How do I clean a carpet?", "How do I clean a woollen carpet?"),
    ("currency", "Can I pay in the shop?", "Can I pay in euros in the shop?"),
    ("words", "How do I prune roses?", "How do I fertilise roses?"),
]
SIGNS = [
    ("What does the \u2705 in my list mean?", "What does the \u274c in my list mean?"),
    ("What is -5 degrees in fahrenheit?", "What is 5 degrees in fahrenheit?"),
    ("Is x >= 3 true when x is 3?", "Is x < 3 true when x is 3?"),
    ("Is 5 > 3?", "Is 5 < 3?"),
    ("What is 2+2?", "What is 2-2?"),
    ("What does *p mean in C?", "What does &p mean in C?"),
    ("What is f(a)?", "What is f(b)?"),
    ("What does a / b do in Python?", "What does a % b do in Python?"),
    ("Does it run on Python 3.1?", "Does it run on Python 3.10?"),
    ("What is my limit?", "What is your limit?"),
    ("How old is he?", "How old is she?"),
]
REPEATS = [
    ("How do I reset my password?", "How can I reset my password?"),
    ("How do I reset my password?", "Hi, could you tell me how to reset my password please?"),
    ("What's the price of a stamp?", "What is the cost of a stamp?"),
    ("Is a trip of 12 months covered?", "Is a trip of one year covered?"),
    ("Can I bring two bags?", "Am I allowed to bring 2 bags?"),
    ("Is the shop open at 5 pm?", "Is the shop open at 17:00?"),
    ("Why isn't my card working?", "Why is my card not working?"),
    ("Which berries are not safe?", "Which berries are unsafe?"),
    ("Trains from Oslo to Rome", "Trains to Rome from Oslo"),
    ("Which is better, tea or coffee?", "Which is better, coffee or tea?"),
    ("How do I turn off the alarm?", "How do I turn the alarm off?"),
    ("How do I close my account?", "How do you close your account?"),
    ("What is a 20% tip?", "What is a 20 percent tip?"),
    ("Is the shop open at 5 pm?", "Is the shop open at 5 in the afternoon?"),
    ("Do trains run at 2 at night?", "Do trains run at 2 am?"),
    ("Is the museum open on Mondays?", "Does the museum open on Mondays?"),
    ("What is a mutex?", "Can you explain a mutex?"),
    ("What is photosynthesis?", "How does photosynthesis work?"),
    ("What happens if I cancel?", "What happens if I do cancel?"),
    ("Which plan includes roaming?", "Which plan does include roaming?"),
    ("How is my rental payment made?", "How do I make my rental payment?"),
    ("What day does the sale end?", "On what day does the sale end?"),
    ("How do I share a file with people?", "How do I share a file with someone?"),
    ("How tall is the tower?", "What is the height of the tower?"),
]


@pytest.mark.parametrize(("rule", "one", "other"), LOOK_ALIKES)
def test_a_look_alike_is_told_apart_and_why(rule: str, one: str, other: str) -> None:
    comparison = compare(one, other)
    assert comparison.grave
    assert rule in {objection.rule for objection in comparison.objections}, comparison


@pytest.mark.parametrize(("one", "other"), SIGNS)
def test_a_sign_tells_as_much_as_a_word(one: str, other: str) -> None:
    assert compare(one, other).grave


def test_questions_of_many_unknown_words_are_compared_quickly() -> None:
    """Not by each word with each: that would stop the cache for everybody."""
    one, other = (" ".join(f"{name}{n}x" for n in range(199)) for name in ("lo", "ra"))
    assert len(read(one).terms) > 100
    assert compare(one, other).grave


@pytest.mark.parametrize(("one", "other"), REPEATS)
def test_a_repeat_is_accounted_for(one: str, other: str) -> None:
    assert compare(one, other).objections == ()


def test_a_word_more_is_told_and_not_grave() -> None:
    comparison = compare("How do I clean a carpet?", "How do I clean a carpet outdoors?")
    assert [str(objection) for objection in comparison.objections] == ["words: outdoors / nothing"]
    assert not comparison.grave
    assert not comparison.accounted


QUESTIONS = [question for _, *both in LOOK_ALIKES for question in both]


@given(st.sampled_from(QUESTIONS), st.sampled_from(QUESTIONS))
def test_the_order_of_both_means_nothing(one: str, other: str) -> None:
    assert compare(one, other) == compare(other, one)


@given(st.sampled_from(QUESTIONS))
def test_nothing_speaks_against_a_question_and_itself(question: str) -> None:
    assert compare(question, question).accounted
    assert compare(question, f"  {question} ").accounted


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_text_can_be_compared(one: str, other: str) -> None:
    assert compare(one, other) == compare(other, one)
    assert compare(one, one).accounted


def test_a_long_text_is_read_in_part() -> None:
    assert len(read("why does the tide turn " * 10_000).words) <= 256
