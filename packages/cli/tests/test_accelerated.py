"""`--kernel-accelerated`: the driver answers, or nothing is done."""

from contextlib import contextmanager

import pytest
from sashizu_cli.session import Session
from sashizu_core.devices import DeviceBackend, DeviceSpec, Probe
from sashizu_core.plugins import Registry


class Driver(DeviceBackend):
    name = "native"

    def __init__(self, probe):
        self.asked = 0
        self._probe = probe

    def probe(self):
        self.asked += 1
        return self._probe

    def devices(self):
        return ()

    def stats(self, device):
        raise AssertionError(device)


@pytest.fixture
def installed(world, monkeypatch):
    """Installs a driver that answers like this."""

    def install(probe):
        driver = Driver(probe)

        @contextmanager
        def opened():
            yield driver

        registry = Registry(devices={"native": DeviceSpec("native", "a driver", opened)})
        monkeypatch.setattr(Session, "registry", registry)
        return driver

    return install


@pytest.mark.parametrize("words", [["config", "show"], ["plugins", "list"]])
@pytest.mark.parametrize("before", [True, False])
def test_a_driver_that_answers_is_named_and_the_command_runs(cli, installed, words, before):
    driver = installed(Probe("ok", "linux driver, interface 1.0"))
    flag = ["--kernel-accelerated"]

    code, _, err = cli(*(flag + words if before else words + flag))

    assert code == 0
    assert err == ("--kernel-accelerated: backend native answered: linux driver, interface 1.0\n")
    assert driver.asked == 1


@pytest.mark.parametrize("state", ["missing", "forbidden"])
def test_without_an_answer_nothing_is_done(cli, installed, state, world):
    installed(Probe(state, "no driver\nis loaded", "load it"))

    code, out, err = cli("init", "--kernel-accelerated")

    assert (code, out) == (2, "")
    assert "--kernel-accelerated: no driver is loaded; load it" in err
    assert not (world.folder / "sashizu.toml").exists()


def test_without_the_package_its_name_is_told(cli, world, monkeypatch):
    monkeypatch.setattr(Session, "registry", Registry())

    code, _, err = cli("config", "show", "--kernel-accelerated")

    assert code == 2
    assert "pip install sashizu-gpu-driver" in err


def test_without_the_flag_no_driver_is_asked(cli, installed):
    driver = installed(Probe("ok", "x"))
    assert cli("config", "show")[0] == 0
    assert driver.asked == 0
