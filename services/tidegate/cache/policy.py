"""The policy that the settings ask for."""

from tidegate.cache.decision import Policy
from tidegate.cache.settings import CacheDecisionSettings


def policy_of(settings: CacheDecisionSettings, *, band_low: float | None = None) -> Policy:
    """Thresholds and discounts; `band_low` None: there is no verifier."""
    threshold = settings.cache_threshold
    return Policy(
        threshold=threshold,
        accounted=threshold - settings.cache_accounted_discount,
        extra=threshold - settings.cache_extra_discount,
        rival_margin=settings.cache_rival_margin,
        band_low=band_low,
        foreign_margin=settings.cache_foreign_margin,
    )
