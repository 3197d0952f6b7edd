"""Opens the admission of a process, from the settings and the devices that backends tell of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from pydantic import TypeAdapter, ValidationError
from sashizu_core.devices import DeviceSpec, open_devices
from sashizu_core.errors import ConfigError
from sashizu_core.home import state_home
from sashizu_core.local_models import LocalTable
from sashizu_core.protocols import Admission
from sashizu_core.settings import Settings

from sashizu_gpu_driver.admission.asked import Rules
from sashizu_gpu_driver.admission.controller import Controller
from sashizu_gpu_driver.admission.file import AdmissionFile
from sashizu_gpu_driver.admission.need import need_of
from sashizu_gpu_driver.serving.beating import beating
from sashizu_gpu_driver.serving.local import LocalAdmission, LocalModel
from sashizu_gpu_driver.serving.looking import Looking
from sashizu_gpu_driver.settings import gpu_settings

__all__ = ["local_models", "open_admission"]


def local_models(settings: Settings) -> dict[str, LocalModel]:
    """The models whose servers are started here, by the name of their table.

    Raises:
        ConfigError: a table is wrong. Weights that cannot be read are a `problem` of their model.
    """
    found: dict[str, LocalModel] = {}
    rank = int(gpu_settings(settings).priority == "batch")
    for name, table in settings.tables.get("models", {}).items():
        local = table.get("local")
        if not isinstance(local, dict) or "start" not in local:
            continue
        try:
            read = TypeAdapter(LocalTable).validate_python(local)
        except ValidationError as error:
            raise ConfigError(f"[models.{name}] local: {error.errors()[0]['msg']}") from None
        url = str(table.get("base_url", "")).rstrip("/")
        if not url.startswith(("http://127.0.0.1:", "http://localhost:", "http://[::1]:")):
            raise ConfigError(
                f"[models.{name}]: a server that is started here answers here: "
                f"base_url has to begin with 'http://127.0.0.1:PORT', not {url!r}"
            )
        other = next((one for one in found.values() if one.url == url), None)
        if other is not None and other.local.start != read.start:
            raise ConfigError(
                f"[models.{name}]: {url!r} is the base_url of [models.{other.name}] too, whose "
                "server is started by another command; give one of them another port"
            )
        try:
            found[name] = LocalModel(name, url, read, need_of(name, read), rank)
        except ConfigError as error:  # the others can be used all the same
            found[name] = LocalModel(name, url, read, 0, rank, problem=str(error))
    return found


@asynccontextmanager
async def open_admission(
    settings: Settings, devices: Sequence[DeviceSpec]
) -> AsyncIterator[Admission]:
    """The admission of this process.

    Raises:
        ConfigError: as `local_models` says.
    """
    models = local_models(settings)
    path = state_home() / "admission.sqlite"
    with open_devices(devices) as opened:
        file = AdmissionFile(path)
        try:
            rules = Rules(per_agent=gpu_settings(settings).calls_per_agent)
            controller = Controller(file, rules)
            with beating(controller):
                yield LocalAdmission(controller, path, models, Looking(opened))
        finally:
            file.close()
