"""A span of time as an option of a command."""

import re
from typing import Final

import click
from typing_extensions import override

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_SPAN: Final = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([smhd])")
_LONGEST: Final = 10**9


class _Seconds(click.ParamType[float]):
    """A number with its unit: 90s, 15m, 24h, 7d; without one it is not known which is meant."""

    name = "time"

    @override
    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        span = _SPAN.fullmatch(value.strip())
        seconds = float(span[1]) * _UNITS[span[2]] if span else _LONGEST + 1
        if seconds > _LONGEST:
            self.fail(f"{value!r} is no time such as 90s, 15m, 24h or 7d", param, ctx)
        return seconds


SECONDS: Final = _Seconds()
