"""What a machine computes with, as labels that work can ask for."""

import pytest
from sashizu_cluster.device_labels import labels_of
from sashizu_core.devices import Device, Known, Snapshot, Stats, Unknown

GIB = 1024**3


def snapshot(*devices: tuple[Device, object]) -> Snapshot:
    stats = {
        device.id: Stats(device.id, {"memory_total_bytes": memory}) for device, memory in devices
    }
    return Snapshot(0, tuple(device for device, _ in devices), stats, {}, ())


@pytest.mark.parametrize(
    ("vendor", "memory", "labels"),
    [
        ("nvidia", Known(24 * GIB - 300_000_000, "nvml", 0), {"gpu:cuda:24g"}),
        ("amd", Known(16 * GIB, "drm", 0), {"gpu:rocm:16g"}),
        ("nvidia", Unknown("nobody tells"), {"gpu:none"}),
        ("virtio", Known(GIB, "drm", 0), {"gpu:none"}),
    ],
)
def test_a_gpu_is_told_by_its_interface_and_its_memory(vendor, memory, labels):
    assert labels_of(snapshot((Device("0", "a card", vendor), memory))) == labels


def test_two_of_a_kind_are_one_label_and_an_npu_is_none():
    card, other = Device("0", "a card", "nvidia"), Device("1", "a card", "nvidia")
    npu = Device("2", "an npu", "intel", kind="npu")
    memory = Known(80 * GIB, "nvml", 0)
    assert labels_of(snapshot((card, memory), (other, memory), (npu, memory))) == {"gpu:cuda:80g"}
    assert labels_of(snapshot()) == {"gpu:none"}
