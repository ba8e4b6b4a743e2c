"""How sure a share is that was counted on few. Pure."""

import math
from typing import Final

# The standard normal distribution's 97.5th percentile, for 95 %.
_Z: Final = 1.959963984540054


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """The Wilson score interval, 95 %, of a share of `successes` in `trials`: its low and high end.

    Of no trials: everything is possible. The formula: E. B. Wilson, "Probable Inference, the Law of
    Succession, and Statistical Inference", Journal of the American Statistical Association 22
    (1927), 209-212.

    Raises:
        ValueError: less than 0, or more successes than trials.
    """
    if not 0 <= successes <= trials:
        raise ValueError("successes are from 0 to trials")
    if trials == 0:
        return 0.0, 1.0
    share, z2 = successes / trials, _Z * _Z
    centre = share + z2 / (2 * trials)
    spread = _Z * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials))
    scale = 1 + z2 / trials
    # At the ends the formula gives the end itself, but for rounding.
    low = 0.0 if successes == 0 else max((centre - spread) / scale, 0.0)
    high = 1.0 if successes == trials else min((centre + spread) / scale, 1.0)
    return low, high
