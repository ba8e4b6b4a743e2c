"""The vocabulary and the sentence shapes of simulated answers.

Words are plain ASCII letters, so that a token needs no escaping inside JSON. Changing a word or a
shape changes every answer: recorded expectations elsewhere would have to follow.
"""

from typing import Final

DETERMINERS: Final = ("the", "this", "that", "each", "every", "one", "another", "our")
ADJECTIVES: Final = (
    "quiet", "narrow", "early", "patient", "bright", "heavy", "distant", "careful",
    "hollow", "steady", "curious", "shallow", "golden", "gentle", "broken", "sudden",
    "northern", "salted", "wooden", "plain", "restless", "silver", "crowded", "tidal",
)  # fmt: skip
NOUNS: Final = (
    "harbour", "gate", "river", "lantern", "sailor", "tide", "letter", "engine",
    "window", "garden", "signal", "bridge", "market", "captain", "mirror", "valley",
    "kettle", "current", "island", "clock", "anchor", "path", "storm", "ledger",
    "pilot", "compass", "rope", "cellar", "meadow", "heron", "channel", "lighthouse",
)  # fmt: skip
VERBS: Final = (
    "carries", "follows", "opens", "remembers", "crosses", "answers", "measures", "guards",
    "repairs", "watches", "lifts", "finds", "leaves", "turns", "holds", "meets",
)  # fmt: skip
PREPOSITIONS: Final = ("beside", "under", "across", "behind", "near", "beyond", "above", "toward")
ADVERBS: Final = ("slowly", "often", "today", "again", "quietly", "later", "once", "gladly")
CONJUNCTIONS: Final = ("and", "while", "because", "until", "so", "but", "although", "where")

#: Sentence shapes. None may be longer than `LONGEST_SENTENCE` words: natural answer lengths are
#: computed from that bound.
SENTENCES: Final = (
    (DETERMINERS, ADJECTIVES, NOUNS, VERBS, DETERMINERS, NOUNS),
    (DETERMINERS, NOUNS, ADVERBS, VERBS, DETERMINERS, ADJECTIVES, NOUNS),
    (PREPOSITIONS, DETERMINERS, NOUNS, DETERMINERS, ADJECTIVES, NOUNS, VERBS, DETERMINERS, NOUNS),
    (
        *(DETERMINERS, NOUNS, VERBS, DETERMINERS, NOUNS, CONJUNCTIONS),
        *(DETERMINERS, ADJECTIVES, NOUNS, VERBS, DETERMINERS, NOUNS),
    ),
)
LONGEST_SENTENCE: Final = 12
