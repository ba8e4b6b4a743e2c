"""What the cache tells, as text for a person. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from tidegate.cli.stats_page import duration, share

_LONGEST_QUESTION: Final = 72
_FIRST: Final = ("tenant", "model", "system", "history", "parameters", "response_format")
_WHY: Final = {
    "nothing_stored": "nothing is kept in this scope that could be compared",
    "below": "no question that is kept is near enough",
    "guarded": "what is near enough asks something else",
    "near": "the verifier would be asked",
    "no_embedder": "only the same question is answered here",
    "uncalibrated": "the embedder has no calibration: tidegate cache calibrate",
    "embedder_away": "the embedder does not answer",
    "store_away": "the store does not answer",
    "long_question": "too long to look for like questions",
    "templated_question": "too many lines to look for like questions",
    "temperature": "its temperature asks for variety",
    "tools": "its answer may be an action",
    "multimodal": "it is more than text",
    "no_store": "it asks not to be cached",
}


def stats_page(told: Mapping[str, Any]) -> str:
    """What the cache holds, from `GET /v1/cache/stats`."""
    rows = {
        "entries": f"{told['entries']:,}, in the {told['store']} store",
        "embedder": told["embedder"] or "none: only the same question is answered",
        "threshold": _threshold(told["threshold"], told["threshold_set"]),
        "compared": f"{told['shadowed']:,} hits with the model's own answer",
        "wrong": _wrong(told),
    }
    return "\n".join(f"{name:10} {value}" for name, value in rows.items())


def explanation_page(told: Mapping[str, Any]) -> str:
    """How a lookup would end, from `POST /v1/cache/explain`."""
    parts = ["\n".join(_verdict(told))]
    if told["candidates"]:
        parts.append("\n".join(_candidates(told)))
    return "\n\n".join(parts)


def _threshold(now: float, set_to: float) -> str:
    told = f"{now:.3g}"
    return told if now == set_to else f"{told}, set to {set_to:.3g}: too many hits were wrong"


def _wrong(told: Mapping[str, Any]) -> str:
    if told["wrong_low"] is None:
        return f"{told['wrong']:,}; nothing was compared yet"
    low, high = share(told["wrong_low"]), share(told["wrong_high"])
    return f"{told['wrong']:,} of those and of those reported: {low} to {high} of judged hits"


def _verdict(told: Mapping[str, Any]) -> Iterator[str]:
    how = told["tier"] or told["reason"] or ""
    why = _WHY.get(told["reason"] or "", "")
    yield f"verdict    {told['outcome']}, {how}{f': {why}' if why else ''}"
    if told["threshold"] is not None:
        scores = told["embedder_threshold"] or told["threshold"]
        yield f"threshold  {told['threshold']:.3g}, in scores of this embedder {scores:.3f}"
    if told["question"]:
        yield f"question   {_line(told['question'])}"
    for number, (name, value) in enumerate(sorted(told["scope"].items(), key=_place)):
        yield f"{'' if number else 'scope':10} {name:15} {_line(value) or '-'}"


def _place(fact: tuple[str, str]) -> tuple[int, str]:
    """What a person would look at comes first."""
    name, _ = fact
    return (_FIRST.index(name) if name in _FIRST else len(_FIRST), name)


def _candidates(told: Mapping[str, Any]) -> Iterator[str]:
    yield f"{'SCORE':5}  {'NEEDED':6}  {'VERDICT':8} {'AGE':>10}  {'ENTRY':36}  QUESTION"
    for each in told["candidates"]:
        needed = "-" if each.get("needed") is None else f"{each['needed']:.3f}"
        yield (
            f"{each['score']:.3f}  {needed:6}  {each['verdict']:8} {duration(each['age_s']):>10}  "
            f"{each['entry_id']:36}  {_line(each['question'])}"
        )
        for objection in each["objections"]:
            yield f"{'':7}{_line(objection)}"


def _line(text: str) -> str:
    """A text on one line; what a terminal would take for a command is left out."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    words = " ".join(plain.split())
    return words if len(words) <= _LONGEST_QUESTION else f"{words[: _LONGEST_QUESTION - 1]}…"
