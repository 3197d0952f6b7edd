"""ONNX sessions on the real ONNX Runtime, with a model that is made here."""

from __future__ import annotations

import pytest
from sashizu_core.errors import UsageError
from sashizu_winai.capabilities import Capability
from sashizu_winai.errors import Failed, Missing, Unsupported
from sashizu_winai.fake import FakeBackend
from sashizu_winai.onnx import catalogue, probing, session, ways
from sashizu_winai.onnx.providers import ExecutionProvider
from sashizu_winai.onnx.session import open_session
from sashizu_winai.runtime import WindowsAiRuntime

np = pytest.importorskip("numpy")  # both come with the extra
pytest.importorskip("onnxruntime")


def field(number: int, value: int | bytes) -> bytes:
    """One field of a protocol buffer; small numbers only."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    return bytes([number << 3 | 2, len(value)]) + value


def tensor(name: bytes) -> bytes:
    """A float tensor of two elements, as a graph declares it (ValueInfoProto)."""
    shape = field(2, field(1, field(1, 2)))
    return field(1, name) + field(2, field(1, field(1, 1) + shape))


def doubling() -> bytes:
    """A model that adds its input `x` to itself as `y` (ModelProto, opset 13)."""
    node = field(1, b"x") + field(1, b"x") + field(2, b"y") + field(4, b"Add")
    graph = field(1, node) + field(2, b"g") + field(11, tensor(b"x")) + field(12, tensor(b"y"))
    return field(1, 8) + field(7, graph) + field(8, field(1, b"") + field(2, 13))


VALUES = {"x": np.array([1.5, 2.0], dtype=np.float32)}


@pytest.mark.parametrize("policy", ["default", "cpu"])
async def test_a_model_is_run_from_bytes_and_from_a_file(tmp_path, policy):
    file = tmp_path / "model.onnx"
    file.write_bytes(doubling())
    for model in (doubling(), file):
        opened = await open_session(model, policy=policy)
        given = await opened.run(VALUES)

        assert given["y"].tolist() == [3.0, 4.0]
        assert opened.providers == ("CPUExecutionProvider",)
        assert opened.fell_back == ""
        assert (opened.inputs, opened.outputs) == (("x",), ("y",))


@pytest.mark.parametrize("policy", ["directml", "npu"])
async def test_going_on_on_the_cpu_is_told_or_refused(policy):
    opened = await open_session(doubling(), policy=policy)

    assert policy in opened.fell_back
    assert "CPU" in opened.fell_back
    assert (await opened.run(VALUES))["y"].tolist() == [3.0, 4.0]
    with pytest.raises(Unsupported, match="the CPU would have to run it"):
        await open_session(doubling(), policy=policy, allow_cpu=False)


async def test_a_provider_that_is_listed_and_runs_nothing_is_found_out(monkeypatch):
    """Azure's provider is in every build, is accepted by every session, and takes no operator."""
    monkeypatch.setitem(ways._PROVIDERS, "npu", frozenset({"Listed"}))
    real = probing.onnxruntime()

    class Runtime:
        SessionOptions = real.SessionOptions

        @staticmethod
        def get_available_providers():
            return ["Listed", "CPUExecutionProvider"]

        @staticmethod
        def get_ep_devices():
            return []

        @staticmethod
        def InferenceSession(given, options, providers, **more):  # noqa: N802 - as the library
            assert providers
            return real.InferenceSession(
                given,
                options,
                providers=["AzureExecutionProvider" if p == "Listed" else p for p in providers],
                **more,
            )

    monkeypatch.setattr(session, "onnxruntime", lambda: Runtime)
    opened = await open_session(doubling(), policy="npu")

    assert "AzureExecutionProvider" in opened.providers  # and so the list proves nothing
    assert "the CPU runs all or part of it" in opened.fell_back
    with pytest.raises(Unsupported):
        await open_session(doubling(), policy="npu", allow_cpu=False)


@pytest.mark.parametrize("policy", ["default", "directml", "gpu"])
async def test_a_provider_whose_device_is_not_there_leaves_the_model_to_the_cpu(
    monkeypatch, policy
):
    """As the builds for Windows do where there is no DirectML: they list it, and cannot begin."""
    real = probing.onnxruntime()

    class Runtime:
        SessionOptions = real.SessionOptions

        @staticmethod
        def get_available_providers():
            return ["DmlExecutionProvider", "CPUExecutionProvider"]

        @staticmethod
        def get_ep_devices():
            return []

        @staticmethod
        def InferenceSession(given, options, providers, **more):  # noqa: N802 - as the library
            if "DmlExecutionProvider" in providers:
                raise RuntimeError("Failed to load dxcore.dll.")
            return real.InferenceSession(given, options, providers=providers, **more)

    monkeypatch.setattr(session, "onnxruntime", lambda: Runtime)
    opened = await open_session(doubling(), policy=policy)

    assert (await opened.run(VALUES))["y"].tolist() == [3.0, 4.0]
    assert opened.providers == ("CPUExecutionProvider",)
    assert f"asked for {policy!r}; the CPU runs all of it: Failed to load" in opened.fell_back
    with pytest.raises(Unsupported, match="Failed to load"):
        await open_session(doubling(), policy=policy, allow_cpu=False)
    with pytest.raises(Failed, match="open the ONNX model"):
        await open_session(b"no model", policy=policy)


async def test_the_cpu_alone_cannot_be_forbidden_where_it_is_all_there_is():
    with pytest.raises(Unsupported):
        await open_session(doubling(), allow_cpu=False)


async def test_what_is_no_model_fails_in_words(tmp_path):
    with pytest.raises(Failed, match="open the ONNX model"):
        await open_session(b"no model")
    with pytest.raises(UsageError, match="no file"):
        await open_session(tmp_path / "none.onnx")
    with pytest.raises(UsageError, match="no policy"):
        await open_session(doubling(), policy="fast")


async def test_wrong_names_and_wrong_values_are_told_apart():
    opened = await open_session(doubling())
    with pytest.raises(UsageError, match=r"takes \['x'\]"):
        await opened.run({})
    with pytest.raises(UsageError, match="asked for"):
        await opened.run(VALUES, ["z"])
    with pytest.raises(Failed):
        await opened.run({"x": np.array([1], dtype=np.int64)})


async def test_without_the_runtime_the_extra_is_named(monkeypatch):
    def missing():
        raise ImportError("no module")

    monkeypatch.setattr(session, "onnxruntime", missing)
    monkeypatch.setattr(probing, "onnxruntime", missing)

    with pytest.raises(Missing, match=r"sashizu-winai\[onnx\]"):
        await open_session(doubling())
    assert probing.probe_onnx().state == "missing"
    assert probing.probe_directml("win32").state == "missing"


def test_a_build_without_directml_says_so_on_windows_and_elsewhere():
    assert probing.probe_onnx().capability is Capability.ONNX
    assert probing.probe_onnx().ready
    assert probing.probe_directml("linux").state == "unsupported"
    assert probing.probe_directml("win32").state == "missing"


# --- providers of Windows -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "policy", ["prefer_gpu", "prefer_npu", "max_performance", "max_efficiency", "min_power"]
)
async def test_what_the_runtime_may_choose_is_told_where_it_chose_the_cpu(policy):
    opened = await open_session(doubling(), policy=policy)

    assert (await opened.run(VALUES))["y"].tolist() == [3.0, 4.0]
    assert policy in opened.fell_back
    with pytest.raises(Unsupported, match="the CPU would have to run it"):
        await open_session(doubling(), policy=policy, allow_cpu=False)


class Added:
    """ONNX Runtime with a provider that was added, whose device is really the CPU."""

    def __init__(self, real):
        self._real = real
        self.libraries: list[tuple[str, str]] = []

    def __getattr__(self, name):
        return getattr(self._real, name)

    def register_execution_provider_library(self, name, library):
        if library.endswith("bad.dll"):
            raise RuntimeError("not a library\x1b")
        self.libraries.append((name, library))

    def get_ep_devices(self):
        (cpu,) = [one for one in self._real.get_ep_devices() if one.device.type.name == "CPU"]

        class Device:
            ep_name = "QNNExecutionProvider"
            real = cpu

        return [cpu, *(Device for _ in self.libraries)]

    def SessionOptions(self):  # noqa: N802 - as the library
        options = self._real.SessionOptions()

        class Options:
            added: list[str] = []  # noqa: RUF012

            def __getattr__(self, name):
                return getattr(options, name)

            def add_provider_for_devices(self, devices, more):
                self.added += [one.ep_name for one in devices]
                options.add_provider_for_devices([one.real for one in devices], more)

        self.options = Options()
        return self.options


@pytest.fixture
def added(monkeypatch):
    found = Added(probing.onnxruntime())
    for module in (catalogue, session):
        monkeypatch.setattr(module, "onnxruntime", lambda: found)
    monkeypatch.setattr(catalogue, "_added", {})
    return found


async def test_providers_of_windows_are_made_ready_and_added_once(added):
    fake = FakeBackend()
    runtime = await WindowsAiRuntime.create(backend=fake)
    try:
        listed = {one.name: one.state for one in await runtime.execution_providers()}
        assert listed["FakeExecutionProvider"] == "not_present"

        for _ in range(2):
            (ready,) = await runtime.add_providers()
        assert (ready.name, ready.state) == ("FakeExecutionProvider", "ready")
        assert added.libraries == [("FakeExecutionProvider", ready.library)]
        with pytest.raises(Missing, match="none of this name"):
            await runtime.add_providers(["Other"])
    finally:
        await runtime.aclose()


def test_a_library_that_is_not_taken_is_told(added):
    bad = ExecutionProvider("A", "ready", "bad.dll", certified=True)
    with pytest.raises(Failed, match="not a library "):
        catalogue.add_provider(bad)
    catalogue.add_provider(ExecutionProvider("A", "ready", "good.dll", certified=True))
    with pytest.raises(Failed, match=r"from 'good\.dll' before"):
        catalogue.add_provider(ExecutionProvider("A", "ready", "other.dll", certified=True))


def test_a_policy_takes_the_devices_of_what_was_added(added):
    assert ways.way_of(added, "npu").nowhere
    catalogue.add_provider(ExecutionProvider("QNNExecutionProvider", "ready", "q.dll", True))

    way = ways.way_of(added, "npu")
    assert [name for name, _ in way.devices] == ["QNNExecutionProvider"]
    assert ways.way_of(added, "gpu").nowhere
    assert ways.way_of(added, "cpu").nowhere

    options = added.SessionOptions()
    assert way.apply(added, options, cpu=True) == ()
    assert options.added == ["QNNExecutionProvider"]
    assert options.has_providers()
