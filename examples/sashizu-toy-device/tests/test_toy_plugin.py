"""Five lines each: what every plugin and every backend of devices promises."""

import pytest
from sashizu_core.devices import DeviceLost, Unknown
from sashizu_core.settings import Settings
from sashizu_core.testing import DeviceContract, PluginContract
from sashizu_toy_device import plugin


@pytest.fixture
def file(tmp_path):
    (tmp_path / "toys").write_text("left 40 1024 4096\nright - 0 4096\nhalf a line\n")
    return tmp_path / "toys"


@pytest.fixture
def backend(file):
    (spec,) = plugin.register_devices(Settings({"toy": {"file": str(file)}}))
    with spec.open() as backend:
        yield backend


class TestPlugin(PluginContract):
    module = "sashizu_toy_device.plugin"


class TestToys(DeviceContract):
    @pytest.fixture
    def backend(self, file):
        (spec,) = plugin.register_devices(Settings({"toy": {"file": str(file)}}))
        with spec.open() as backend:
            yield backend


def test_a_toy_that_does_not_tell_how_busy_it_is_is_not_idle(backend):
    assert isinstance(backend.stats("toy-right").get("busy_percent"), Unknown)
    assert backend.stats("toy-left").number("busy_percent") == 40


def test_a_toy_that_is_taken_away_is_lost(backend, file):
    file.write_text("left 40 1024 4096\n")
    with pytest.raises(DeviceLost):
        backend.stats("toy-right")


def test_without_a_file_there_are_no_toys(backend, file):
    file.unlink()
    assert backend.probe().state == "missing"
