"""The command `gpu`, over devices that a file plays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sashizu_core.errors import UsageError
from sashizu_gpu_driver.cli import app
from sashizu_gpu_driver.fake import FakeDevice, FakeProcess, FakeState, write_state
from typer.testing import CliRunner

GIB = 1024**3
GPU = FakeDevice(
    id="fake-0",
    name="Imaginary \x1b[31m 1",
    readings={
        "busy_percent": 40,
        "memory_total_bytes": 8 * GIB,
        "memory_used_bytes": 2 * GIB,
        "throttle": "none",
    },
    unknown={"power_w": "needs root"},
    processes=[FakeProcess(pid=42, used_bytes=GIB, name="llama-server")],
)

Gpu = Callable[..., str]


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    file = tmp_path / "devices.json"
    write_state(file, FakeState(devices=[GPU]))
    return file


@pytest.fixture
def gpu(tmp_path: Path, devices: Path, monkeypatch: pytest.MonkeyPatch) -> Gpu:
    config = tmp_path / "config"
    (config / "sashizu").mkdir(parents=True)
    (config / "sashizu/sashizu.toml").write_text(
        f"[gpu]\nfake = {str(devices)!r}\n[devices]\nbackends = ['fake']\nsample = 0.1\n"
    )
    monkeypatch.setenv("XDG_CONFIG_HOME", str(config))
    monkeypatch.chdir(tmp_path)

    def run(*words: str, ok: bool = True) -> str:
        result = CliRunner().invoke(app, list(words), catch_exceptions=False)
        assert (result.exit_code == 0) is ok, result.output
        return result.output

    return run


def test_list_shows_devices(gpu: Gpu) -> None:
    assert gpu("list").splitlines() == [
        "fake-0: Imaginary ?[31m 1, fake gpu, dedicated memory",
    ]


def test_list_as_json_has_backends_that_cannot_be_used(gpu: Gpu, devices: Path) -> None:
    write_state(devices, FakeState(probe="forbidden", reason="not yours"))
    told = json.loads(gpu("list", "--json"))
    assert told["devices"] == []
    assert told["backends"] == [
        {"name": "fake", "state": "forbidden", "reason": "not yours", "remedy": ""}
    ]


def test_stats_tell_value_and_source_or_reason(gpu: Gpu) -> None:
    lines = gpu("stats").splitlines()
    assert "  busy_percent: 40 % (fake)" in lines
    assert "  memory_used_bytes: 2.0 GiB (fake)" in lines
    assert "  power_w: unknown: needs root" in lines


def test_stats_as_json_never_have_a_number_for_what_is_unknown(gpu: Gpu) -> None:
    (told,) = json.loads(gpu("stats", "--json"))
    assert told["power_w"] == {"unknown": "needs root", "source": "fake"}
    assert told["busy_percent"]["value"] == 40
    assert told["busy_percent"]["age_s"] < 60


def test_stats_for_prometheus_leave_out_what_is_unknown(gpu: Gpu) -> None:
    text = gpu("stats", "--prometheus")
    labels = 'device="fake-0",name="Imaginary ?[31m 1"'
    assert f"sashizu_device_up{{{labels}}} 1" in text
    assert f'sashizu_device_busy_percent{{{labels},source="fake"}} 40' in text
    assert "power_w" not in text
    assert "throttle" not in text


def test_a_lost_device_is_down_and_says_why(gpu: Gpu, devices: Path) -> None:
    write_state(devices, FakeState(devices=[GPU.model_copy(update={"lost": True})]))
    assert "lost: the device 'fake-0' has fallen off the bus" in gpu("stats")
    assert "} 0" in gpu("stats", "--prometheus")


def test_ps_shows_processes_with_what_is_known_of_them(gpu: Gpu) -> None:
    assert "  42 llama-server [compute]: memory 1.0 GiB (fake); busy unknown:" in gpu("ps")
    (told,) = json.loads(gpu("ps", "--json"))
    assert told["processes"][0]["pid"] == 42


def test_top_as_json_is_a_line_for_each_look(gpu: Gpu) -> None:
    lines = gpu("top", "--json", "--count", "2").splitlines()
    assert len(lines) == 2
    assert json.loads(lines[1])["devices"][0]["busy_percent"]["value"] == 40


def test_top_without_a_terminal_prints_tables(gpu: Gpu) -> None:
    text = gpu("top", "--count", "1")
    assert "llama-server" in text
    assert "40 %" in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    "words",
    [
        ("stats", "nobody"),
        ("ps", "nobody"),
        ("stats", "--json", "--prometheus"),
        ("top", "--every", "0"),
    ],
)
def test_wrong_use_is_told_with_what_there_is(gpu: Gpu, words: tuple[str, ...]) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", "from sashizu_gpu_driver.cli import app; app()", *words],
        capture_output=True,
        text=True,
        env=dict(os.environ),
        check=False,
    )
    assert ran.returncode != 0
    assert "UsageError" in ran.stderr


def test_capture_writes_a_new_file_and_replaces_none(gpu: Gpu, tmp_path: Path) -> None:
    gpu("capture", "-o", str(tmp_path / "capture.json"))
    assert json.loads((tmp_path / "capture.json").read_text())["format"] == 1
    with pytest.raises(UsageError, match="File exists"):
        gpu("capture", "-o", str(tmp_path / "capture.json"))
