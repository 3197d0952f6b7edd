import sys

import pytest
from sashizu_cli.windows_checks import lacking_on_windows, platform_name


@pytest.mark.skipif(sys.platform != "win32", reason="other systems are not Windows")
def test_what_windows_lacks_is_told_with_what_stands_in_its_place():
    found = dict(lacking_on_windows())

    assert list(found) == ["openat2", "file modes", "run sockets", "hooks"]
    assert all(text.startswith("unsupported: ") for text in found.values())


@pytest.mark.skipif(sys.platform == "win32", reason="there it lacks something")
def test_nothing_of_it_is_told_elsewhere():
    assert list(lacking_on_windows()) == []
    assert "Wine" not in platform_name()
