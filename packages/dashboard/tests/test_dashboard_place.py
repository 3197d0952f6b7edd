"""Where the dashboard listens."""

from __future__ import annotations

import pytest
from sashizu_dashboard.serving import Address, address_of


@pytest.mark.parametrize("text", ["localhost:8798", ":8798", "127.0.0.1:8798"])
def test_the_address_that_is_printed_is_the_one_that_is_listened_on(text: str) -> None:
    assert address_of(text) == Address("127.0.0.1", 8798)
