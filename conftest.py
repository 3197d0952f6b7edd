"""What all tests share."""

import os

from hypothesis import HealthCheck, settings

pytest_plugins = ["warm_programs"]

# A busy machine is no fault of what is tested. In CI hypothesis has a profile of its own for that.
if "CI" not in os.environ:
    settings.register_profile(
        "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("patient")
