"""What is known of a device."""

import json
from math import inf, nan

import pytest
from sashizu_core.devices import Known, Stats, Unknown


@pytest.mark.parametrize("value", [inf, -inf, nan])
def test_what_is_no_number_is_unknown_and_can_be_told_as_json(value):
    readings = {"busy_percent": Known(value, "odd", 0), "power_w": Known(5.5, "odd", 0)}
    stats = Stats("card", readings)

    assert stats.get("busy_percent") == Unknown("what was told is no number", "odd")
    assert stats.number("power_w") == 5.5
    assert json.loads(json.dumps(stats.as_json(0), allow_nan=False))["power_w"]["value"] == 5.5
