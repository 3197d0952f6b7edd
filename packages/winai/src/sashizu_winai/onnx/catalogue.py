"""Execution providers of Windows, made ready and added to ONNX Runtime in this process."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import anyio.to_thread

from sashizu_winai.backend import Backend
from sashizu_winai.errors import Failed, Missing
from sashizu_winai.onnx.probing import INSTALL, onnxruntime
from sashizu_winai.onnx.providers import ExecutionProvider

__all__ = ["add_provider", "add_providers"]

_added: dict[str, str] = {}
"""Providers by name, and the library that each was added from; ONNX Runtime takes each once."""

_adding = threading.Lock()


async def add_providers(
    backend: Backend, names: Sequence[str] | None = None
) -> tuple[ExecutionProvider, ...]:
    """Make providers ready, and have ONNX Runtime know their devices.

    Args:
        backend: who has the catalogue.
        names: which ones; None for all that Microsoft has certified.

    Raises:
        Missing: there is no provider of a name, or no ONNX Runtime.
        Failed: ONNX Runtime does not take a library.
        WindowsAiError: one cannot be made ready.
    """
    if names is None:
        names = [one.name for one in await backend.execution_providers() if one.certified]
    found = []
    for name in names:
        ready = await backend.ready_provider(name)
        await anyio.to_thread.run_sync(add_provider, ready)
        found.append(ready)
    return tuple(found)


def add_provider(provider: ExecutionProvider) -> None:
    """Add one that is ready; a second time it is there already.

    Raises:
        Missing: there is no ONNX Runtime.
        Failed: it does not take the library, or has the provider from another one.
    """
    operation = f"add the execution provider {provider.name!r}"
    try:
        ort = onnxruntime()
    except (ImportError, OSError) as error:
        found = f"ONNX Runtime cannot be loaded: {error}"
        raise Missing(operation, found, remedy=INSTALL) from error
    with _adding:
        before = _added.get(provider.name)
        if before == provider.library:
            return
        if before is not None:
            raise Failed(operation, f"it was added from {before!r} before", remedy="start anew")
        try:
            ort.register_execution_provider_library(provider.name, provider.library)
        except Exception as error:  # the library raises several kinds, none with a public base
            told = "".join(c if c.isprintable() else " " for c in str(error))[:300]
            remedy = "use the ONNX Runtime that goes with Windows ML"
            raise Failed(operation, told, remedy=remedy) from error
        _added[provider.name] = provider.library
