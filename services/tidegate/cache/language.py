"""Whether a question is English, which the guard reads. Pure, and a guess by general means.

Three signs: letters that English does not write, words that only other languages use all the time,
and, from four words on, none of those that English cannot do without.
"""

import re
from typing import Final

_WORD: Final = re.compile(r"[^\W\d_]+")
# Of all letters. A name or a borrowed word has one or two such letters, not every tenth.
_MOST_FOREIGN_LETTERS: Final = 0.1
# A question of fewer words may well have no function word at all: "reset password".
_TELLING_WORDS: Final = 4

# Closed classes of English: articles, pronouns, prepositions, auxiliaries, question words.
_ENGLISH_WORDS: Final = """
a an the this that these those i you he she it we they me him her us them my your his its our
their mine yours is are was were be been being am do does did done have has had can could will
would shall should may might must not no yes and or but if because so than then there here of to
in on at by for with from about into over after before between under without within during
through against what which who whom whose when where why how all any some each every much many
more most other another such only own same as up down out off again very just also get got make
please need want know don doesn didn isn aren wasn won let
"""
# Words of the same classes in eleven other languages, less those that are English words, names or
# abbreviations too: "El Paso", "die", "MIT".
_FOREIGN_WORDS: Final = """
una unos unas que como por para sus está cuál cuándo dónde quién porque pero puedo cómo qué sí
uma não meu minha você onde quando quem posso faço
les une je tu nous vous sont mais pas qui quoi quel quelle où pourquoi combien avec sur dans
der das dem ein eine einen einem einer ich wir ihr mein meine dein ist sind und oder aber nicht
kein keine wie wer wann warum welche welcher ohne auf für von zu zum zur wird werden
auch mir mich
gli uno di che sono è mio mia perché quale quanto della dello degli delle nel nella
het een ik jij wij mijn zijn wat waar wanneer waarom welke niet geen voor naar
nie jak gdzie kiedy dlaczego czy moje moja się przez dla
bir bu nerede neden için benim
och det jag hur vad när varför vem mitt inte är för
yang untuk dengan saya bagaimana kapan siapa tidak bisa itu
"""
_ENGLISH: Final = frozenset(_ENGLISH_WORDS.split())
_FOREIGN: Final = frozenset(_FOREIGN_WORDS.split()) - _ENGLISH


def is_english(question: str) -> bool:
    """Whether a question is mostly English; a text without letters counts as such."""
    words = [word.casefold() for word in _WORD.findall(question)]
    letters = "".join(words)
    if not letters:
        return True
    ascii_only = letters.isascii()
    foreign_letters = 0 if ascii_only else sum(not letter.isascii() for letter in letters)
    if foreign_letters > _MOST_FOREIGN_LETTERS * len(letters):
        return False
    english = sum(word in _ENGLISH for word in words)
    foreign = sum(word in _FOREIGN for word in words)
    if english or foreign:
        return english > foreign
    return foreign_letters == 0 and len(words) < _TELLING_WORDS
