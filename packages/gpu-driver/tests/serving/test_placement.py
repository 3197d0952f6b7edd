"""The variables by which a server sees the device that it was given, and no other."""

import pytest
from sashizu_core.devices import Device, Devices
from sashizu_gpu_driver.fake import FakeBackend, FakeDevice, FakeState
from sashizu_gpu_driver.serving import looking as looking_module
from sashizu_gpu_driver.serving.looking import Looking
from sashizu_gpu_driver.serving.placement import environment

GIB = 1 << 30
NVIDIA = Device("GPU-5e1f", "H100", "nvidia", also=("0000:65:00.0",))
AMD = Device("0000:03:00.0", "MI300", "amd", also=("GPU-0123456789abcdef",))
ARCS = [Device(f"0000:{bus}:00.0", "Arc", "intel") for bus in ("b3", "03")]
NPU = Device("0000:00:0b.0", "NPU", "intel", "npu")


@pytest.mark.parametrize(
    ("device", "seen"),
    [
        (None, ("", "", "-1")),
        (NVIDIA, ("GPU-5e1f", "", "-1")),
        (AMD, ("", "GPU-0123456789abcdef", "0")),
    ],
)
def test_cuda_rocm_and_hip_see_the_one_device(device, seen):
    names = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
    told = environment(device, [NVIDIA, AMD])

    assert tuple(told[name] for name in names) == seen


def test_intels_runtime_is_told_the_position_in_the_order_of_the_bus():
    told = [environment(arc, [NPU, NVIDIA, *ARCS])["ZE_AFFINITY_MASK"] for arc in ARCS]

    assert told == ["1", "0"]
    assert environment(ARCS[0], ARCS)["ZE_ENABLE_PCI_ID_DEVICE_ORDER"] == "1"


def test_a_device_that_cannot_be_named_leaves_all_visible():
    assert environment(Device("0000:03:00.0", "old card", "amd"), ()) == {}
    assert environment(Device("arm:gpu", "Mali", "panfrost"), ()) == {}


def looking(*devices):
    return Looking(Devices([FakeBackend(FakeState(devices=list(devices)))]), every_s=0)


def card(id_, busy=0, **more):
    readings = {"memory_total_bytes": 24 * GIB, "busy_percent": busy}
    return FakeDevice(id=id_, vendor="nvidia", readings=readings, processes=None, **more)


def test_the_parts_of_a_device_are_placed_upon_and_not_the_whole():
    whole, part = looking(card("GPU-1"), card("MIG-1", parent="GPU-1"))("gpu").cards

    assert "partitioned" in whole.unusable
    assert not part.unusable


def test_no_model_is_placed_on_an_npu():
    sight = looking(card("GPU-1"), card("NPU-1", kind="npu"))("gpu")

    assert [one.device for one in sight.cards] == ["GPU-1"]


def test_how_busy_a_device_is_is_averaged_over_the_last_seconds(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(looking_module.time, "monotonic", lambda: now[0])
    one = card("GPU-1", 90)
    look = looking(one)
    assert look("gpu").cards[0].busy == 0.9
    one.readings["busy_percent"] = 10
    now[0] += 5

    assert look("gpu").cards[0].busy == 0.5
    now[0] += 6
    assert look("gpu").cards[0].busy == 0.1


def test_a_device_with_the_memory_of_the_machine_shares_it():
    (unified,) = looking(card("GPU-1", memory="unified"))("gpu").cards

    assert unified.pool == "host"


def test_a_device_that_stops_answering_is_away_for_a_while_and_then_unusable(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(looking_module.time, "monotonic", lambda: now[0])
    state = FakeState(devices=[card("GPU-1")])
    look = Looking(Devices([FakeBackend(state)]), every_s=0)
    assert not look("gpu").cards[0].unusable
    state.devices.clear()
    now[0] += 5

    (away,) = look("gpu").cards
    assert (away.away, away.total) == (True, 24 * GIB)
    assert away.unusable
    now[0] += looking_module.AWAY_S
    assert [one for one in look("gpu").cards if one.away or not one.unusable] == []
