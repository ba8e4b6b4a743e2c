"""The pictures of bench.autoscaler: of each trace how long the oldest job waits, and replicas."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bench._autoscaler_rounds import Round

_COLOURS: Final = {"tidegate": "#0b7285", "keda": "#c0392b", "keda-tuned": "#b8860b"}
_WIDTHS: Final = {"tidegate": 2.0, "keda": 1.6, "keda-tuned": 0.9}
# More points than this are not to be seen.
_POINTS: Final = 600
_HOURS_FROM: Final = 4 * 3600.0


def draw(rounds: Sequence[Round], folder: Path) -> None:
    """Writes autoscaler-<trace>.svg into a folder, the same each time. Needs matplotlib."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    mpl.rcParams["svg.hashsalt"] = "tidegate"
    # Text stays text: smaller, and it can be searched.
    mpl.rcParams["svg.fonttype"] = "none"
    for trace in dict.fromkeys(found.trace.name for found in rounds):
        some = [found for found in rounds if found.trace.name == trace]
        figure, axes = pyplot.subplots(2, 1, figsize=(8, 4.6), sharex=True, layout="constrained")
        _picture(axes, some)
        path = folder / f"autoscaler-{trace}.svg"
        figure.savefig(path, metadata={"Date": None})
        pyplot.close(figure)
        print(f"drew {path}")


def _picture(panels: Any, rounds: Sequence[Round]) -> None:
    ages, replicas = panels
    trace, setting = rounds[0].trace, rounds[0].setting
    unit, seconds = ("hours", 3600.0) if trace.seconds > _HOURS_FROM else ("minutes", 60.0)
    # The first side above the others.
    for found in reversed(rounds):
        name = found.side.name
        look = {"color": _COLOURS[name], "linewidth": _WIDTHS[name], "label": found.side.title}
        ages.plot(*_highest(found.waiting, seconds), **look)
        steps = [*found.changes, (trace.seconds, found.changes[-1][1])]
        across, up = zip(*steps, strict=True)
        replicas.step([at / seconds for at in across], up, where="post", **look)
    ages.axhline(setting.objective, color="0.5", linewidth=0.8, linestyle=":")
    ages.set_ylabel("oldest waits, s")
    ages.set_ylim(bottom=0)
    ages.set_title(trace.title, fontsize=11)
    replicas.set_ylabel("replicas")
    replicas.set_ylim(bottom=0)
    replicas.set_xlabel(unit)
    replicas.set_xlim(0, trace.seconds / seconds)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
        if trace.outage is not None:
            begins, ends = trace.outage
            axes.axvspan(begins / seconds, ends / seconds, color="0.9", linewidth=0)
    handles, titles = ages.get_legend_handles_labels()
    ages.figure.legend(
        handles[::-1],
        titles[::-1],
        loc="outside lower center",
        ncols=len(handles),
        frameon=False,
        fontsize=9,
    )


def _highest(ages: Sequence[tuple[float, float]], unit: float) -> tuple[list[float], list[float]]:
    """The highest of each stretch of time, where there are more points than can be seen."""
    stretch = max(1, round(len(ages) / _POINTS))
    some = [ages[at : at + stretch] for at in range(0, len(ages), stretch)]
    return [each[0][0] / unit for each in some], [max(age for _, age in each) for each in some]
