"""Model servers that are real processes, on devices that a test describes."""

import json
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sashizu_core.devices import Devices
from sashizu_core.local_models import LocalTable
from sashizu_core.types import ModelInfo
from sashizu_gpu_driver.admission.asked import Rules
from sashizu_gpu_driver.admission.controller import Controller
from sashizu_gpu_driver.admission.file import AdmissionFile
from sashizu_gpu_driver.fake import FakeBackend, FakeDevice, FakeState
from sashizu_gpu_driver.serving.local import LocalAdmission, LocalModel
from sashizu_gpu_driver.serving.looking import Looking

SERVER = Path(__file__).with_name("model_server.py")
GIB = 1 << 30


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass
class Lab:
    """A machine with one card of 24 GiB, and models that want a place on it."""

    folder: Path
    state: FakeState
    file: AdmissionFile
    told: list[dict[str, Any]] = field(default_factory=list)
    models: dict[str, LocalModel] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.controller = Controller(self.file, Rules(settle_s=0.2))
        looking = Looking(Devices([FakeBackend(self.state)]), every_s=0.01)
        self.admission = LocalAdmission(self.controller, self.file.path, self.models, looking)

    def model(self, name: str, gib: int, *words: str, **local: Any) -> ModelInfo:
        """A model whose server is started here; `words` go to the server."""
        port = free_port()
        start = (sys.executable, str(SERVER), str(port), str(self.folder / f"{name}.log"), *words)
        table = LocalTable.model_validate(
            {"start": start, "vram": f"{gib}GiB", "start_timeout": "60s", **local}
        )
        url = f"http://127.0.0.1:{port}/v1"
        self.models[name] = LocalModel(name, url, table, gib * GIB)
        return ModelInfo(f"{name}/tiny", name, url, local=True)

    def starts(self, name: str) -> list[dict[str, Any]]:
        """Every start of a model's server: its number, and the devices that it may see."""
        log = self.folder / f"{name}.log"
        return [json.loads(line) for line in log.read_text().splitlines()]

    def outcomes(self) -> list[str]:
        return [decision["outcome"] for decision in self.told]

    @asynccontextmanager
    async def place(self, info: ModelInfo) -> AsyncIterator[None]:
        async with self.admission.place(info, lambda decision: self.told.append(dict(decision))):
            yield


@pytest.fixture
def lab(tmp_path: Path) -> Any:
    uuid = "GPU-5e1f0a3c-0000-0000-0000-000000000001"
    card = FakeDevice(
        id=uuid,
        vendor="nvidia",
        readings={"memory_total_bytes": 24 * GIB, "memory_free_bytes": 24 * GIB},
        processes=None,
    )
    file = AdmissionFile(tmp_path / "admission.sqlite")
    yield Lab(tmp_path, FakeState(devices=[card]), file)
    file.close()


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """Wait, with a limit, until a condition holds."""

    async def wait(condition: Callable[[], bool], seconds: float = 60.0) -> None:
        import anyio

        with anyio.fail_after(seconds):
            while not condition():
                await anyio.sleep(0.05)

    return wait
