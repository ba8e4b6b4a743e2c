"""Where an answer comes from, as clients of OpenAI's API are told: by headers. No I/O."""

from typing import Final, Self

import msgspec

from tidegate.contracts.events import CacheMark, CacheTier

CACHE_HEADER: Final = "x-tidegate-cache"
SCORE_HEADER: Final = "x-tidegate-cache-score"
AGE_HEADER: Final = "x-tidegate-cache-age"

_AGED: Final = frozenset({"exact", "semantic"})


class Provenance(msgspec.Struct, frozen=True, omit_defaults=True):
    """The tier; for a semantic hit its cosine, and for either hit of the cache its age in seconds.

    As JSON it is what the last chunk of a stream says whose headers could not.
    """

    cache: CacheTier
    score: float | None = None
    age: int | None = None

    @classmethod
    def of(cls, mark: CacheMark | None) -> Self:
        """Of an attempt with that mark; where the cache was not asked, the model was: a miss."""
        mark = mark or CacheMark()
        score = mark.score if mark.tier == "semantic" else None
        return cls(
            cache=mark.tier,
            score=None if score is None else round(score, 4),
            # Never below 0, which another machine's clock could make of it.
            age=max(mark.age_ms, 0) // 1000 if mark.tier in _AGED else None,
        )

    def headers(self) -> dict[str, str]:
        """The same as headers."""
        said = {CACHE_HEADER: self.cache, SCORE_HEADER: self.score, AGE_HEADER: self.age}
        return {name: str(value) for name, value in said.items() if value is not None}
