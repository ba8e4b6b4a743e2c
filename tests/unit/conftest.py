"""How properties are tested: no timing decides, and a run stays short on a busy machine."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "tidegate",
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tidegate")
