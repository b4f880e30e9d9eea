"""The same examples in every run, unless MASQCLIP_FUZZ is set: then new ones, more of them."""

import os

from hypothesis import HealthCheck, settings

_COMMON = {
    "deadline": None,
    "suppress_health_check": (HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large),
}
settings.register_profile("suite", max_examples=40, derandomize=True, database=None, **_COMMON)
settings.register_profile("long", max_examples=400, database=None, print_blob=True, **_COMMON)
settings.load_profile("long" if os.environ.get("MASQCLIP_FUZZ") else "suite")
