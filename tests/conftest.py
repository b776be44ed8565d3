"""One rule for all laws: the same examples in every run, and no clock that decides whether a test passes."""

import gc
import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "seeded", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("searching", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "seeded"))


def pytest_collection_finish() -> None:
    """Thousands of collected tests stay: nobody needs to look through them for garbage again and again."""
    gc.collect()
    gc.freeze()
