"""What pytest is told inside the Windows Python: the fakes, and how far our modules were run.

A plugin of `-p served`. `SASHIZU_FAKES` is the folder of the libraries that are built for it,
`SASHIZU_COVERAGE` the file of the figures, which is in JSON.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import coverage
import pytest
from hypothesis import HealthCheck, settings

FAKES = Path(os.environ["SASHIZU_FAKES"])
_measured = coverage.Coverage(data_file=None, source_pkgs=["sashizu_winai"], config_file=False)
_measured.start()  # before any module of ours is there
# A busy machine is no fault of what is tested.
settings.register_profile("wine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("wine")


class Bootstrap:
    """The library that loads the Windows App Runtime."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(str(FAKES / "Microsoft.WindowsAppRuntime.Bootstrap.dll"))

    def ends(self, code: int) -> None:
        self._library.bootstrap_ends(ctypes.c_int32(code - (1 << 32) if code >> 31 else code))

    @property
    def loaded(self) -> int:
        return int(self._library.bootstrap_loaded())


# Before the projections are: they look for a library of this name, and find the one that is there.
_bootstrap = Bootstrap()


@pytest.fixture(scope="session")
def bootstrap() -> Bootstrap:
    return _bootstrap


@pytest.fixture
def unmeasured() -> Iterator[None]:
    """Without a look at each line, which costs more than most of them."""
    _measured.stop()
    yield
    _measured.start()


@pytest.fixture(scope="session")
def unserved() -> Exception | None:
    """What Windows says of a class before anything serves it. It is only asked once."""
    from winrt.runtime import ApartmentType, init_apartment
    from winrt.windows.ai.actions import ActionRuntime

    init_apartment(ApartmentType.MULTI_THREADED)
    try:
        ActionRuntime.get_default()
    except OSError as error:
        return error
    return None


@pytest.fixture(scope="session")
def served(unserved: Exception | None) -> Iterator[Any]:
    """The components of this process. What finds them once keeps its factory for ever."""
    import actions
    import com
    import features
    import model
    import providers

    windows = com.windows(FAKES / "component.dll")
    windows.actions = actions.serve(windows)  # type: ignore[attr-defined]
    windows.models = model.serve(windows)  # type: ignore[attr-defined]
    windows.features = features.serve(windows)  # type: ignore[attr-defined]
    providers.serve(windows)
    yield windows
    windows.remove()


@pytest.fixture
def windows(served: Any, bootstrap: Bootstrap) -> Iterator[Any]:
    """The components as new."""
    import actions
    import com
    import model

    factory = served.factories[actions.Runtime.of]
    factory.runtime = served.runtime = actions.Runtime()
    served.models.__init__(model.Model())
    served.model = served.models.model
    served.features.reset()
    for one in served.factories.values():
        one.failing.clear()
    bootstrap.ends(0)
    yield served
    faults, served.faults[:] = list(served.faults), []
    assert not faults, "\n".join(faults)
    assert com.windows(FAKES) is served


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what runs on trio, which needs what Wine 8 lacks; the same runs on asyncio."""
    trio = [item for item in items if "trio" in item.name.partition("[")[2]]
    config.hook.pytest_deselected(items=trio)
    items[:] = [item for item in items if item not in set(trio)]
    for item in items:  # the names of pytest do not tell it of files outside of its root
        item.user_properties.append(("module", item.path.stem))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Save the figures, and end at once: late releases would run while Python goes down."""
    _measured.stop()
    if file := os.environ.get("SASHIZU_COVERAGE"):
        _measured.json_report(outfile=file)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(config.stash.get(_STATUS, 3))


_STATUS = pytest.StashKey[int]()
