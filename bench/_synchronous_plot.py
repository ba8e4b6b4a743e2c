"""The picture of bench.synchronous: p95 until a reply and until the first token, by users."""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from bench._child import quantile
from bench._synchronous_load import Asked, Load
from bench._synchronous_rounds import Round

_LOOKS: Final = {
    "sync": ("#c0392b", "s"),
    "async": ("#b8860b", "^"),
    "tidegate": ("#0b7285", "o"),
}
_LOWEST: Final = 0.003
# Where a percentile is drawn that is never reached, above all times that were measured.
_NEVER: Final = 120.0
_TICKS: Final = {
    0.01: "10 ms",
    0.1: "0.1 s",
    1.0: "1 s",
    10.0: "10 s",
    30.0: "30 s",
    _NEVER: "never",
}


def draw(rounds: Sequence[Round], load: Load, path: Path) -> None:
    """Writes a PNG of 1,200 pixels, made to be read at 800. Needs matplotlib."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(
        1, 2, figsize=(8, 4.3), sharey=True, layout="constrained"
    )
    _panel(left, rounds, lambda each: each.reply)
    _panel(right, rounds, lambda each: each.first)
    left.set_title("until a reply is in hand", fontsize=11)
    right.set_title("until the first token", fontsize=11)
    left.set_ylabel("p95 of all users, from the scheduled moment")
    handles, _ = left.get_legend_handles_labels()
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    figure.suptitle(
        f"A call of {load.call_seconds:.0f} s, {load.ttft:g} s to its first token; "
        f"users arrive over {load.arrival:g} s; percentages got no answer",
        fontsize=11,
    )
    figure.savefig(path, dpi=150)
    print(f"drew {path}")


def _panel(axes: Any, rounds: Sequence[Round], pick: Callable[[Asked], float]) -> None:
    for name, (colour, marker) in _LOOKS.items():
        found = [each for each in rounds if each.side.name == name]
        if not found:
            continue
        across = sorted({each.users for each in found})
        up = [_median([each for each in found if each.users == users], pick) for users in across]
        label = f"{found[0].side.title} (reply: {found[0].side.reply})"
        axes.plot(across, up, color=colour, marker=marker, label=label, linewidth=2)
        for users, height in zip(across, up, strict=True):
            _annotate(axes, [each for each in found if each.users == users], height)
    axes.set_xscale("log")
    axes.set_yscale("log")
    numbers = sorted({each.users for each in rounds})
    axes.set_xticks(numbers, [_short(number) for number in numbers], minor=False)
    axes.set_xticks([], minor=True)
    axes.set_yticks(list(_TICKS), list(_TICKS.values()), minor=False)
    axes.set_yticks([], minor=True)
    axes.set_ylim(_LOWEST, _NEVER * 1.9)
    axes.margins(x=0.12)
    axes.axhline(_NEVER, color="0.6", linewidth=0.8, linestyle=":")
    axes.set_xlabel("concurrent users")
    axes.grid(axis="y", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _median(found: Sequence[Round], pick: Callable[[Asked], float]) -> float:
    """Of the rounds' p95."""
    rounds = [quantile([pick(asked) for asked in each.asked], 0.95) for each in found]
    return min(statistics.median(rounds), _NEVER)


def _short(number: int) -> str:
    """1,000 and 2,000 stand too near each other to be written out."""
    return f"{number / 1000:g}k" if number >= 1000 else str(number)


def _annotate(axes: Any, found: Sequence[Round], up: float) -> None:
    """How many got no answer in all rounds, beside the point."""
    side, users = found[0].side, found[0].users
    failed = 1 - sum(each.served for each in found) / sum(each.users for each in found)
    if failed:
        colour, _ = _LOOKS[side.name]
        share = f"{failed:.0%}".replace("%", " %") if failed >= 0.01 else "< 1 %"
        # The other side's may stand at the same place.
        offset = (0, 7) if side.name == "sync" else (0, -15)
        axes.annotate(
            share,
            (users, up),
            offset,
            textcoords="offset points",
            color=colour,
            ha="center",
            fontsize=9,
        )
