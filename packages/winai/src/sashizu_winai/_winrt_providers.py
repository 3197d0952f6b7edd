"""The catalogue of execution providers of Windows ML. Unverified on Windows, like `_winrt`."""

from __future__ import annotations

from winrt.microsoft.windows.ai.machinelearning import (
    ExecutionProvider as FoundProvider,
)
from winrt.microsoft.windows.ai.machinelearning import (
    ExecutionProviderCatalog,
    ExecutionProviderCertification,
    ExecutionProviderReadyResultState,
    ExecutionProviderReadyState,
)

from sashizu_winai.apartment import Apartment, translated
from sashizu_winai.errors import Missing, NotReady, error_of
from sashizu_winai.onnx.providers import ExecutionProvider, ProviderState

__all__ = ["all_providers", "made_ready"]

_STATES: dict[int, ProviderState] = {
    ExecutionProviderReadyState.READY: "ready",
    ExecutionProviderReadyState.NOT_READY: "not_ready",
    ExecutionProviderReadyState.NOT_PRESENT: "not_present",
}


def all_providers() -> list[ExecutionProvider]:
    """What fits this machine. The Windows App Runtime has to be loaded."""
    return [_told(one) for one in ExecutionProviderCatalog.get_default().find_all_providers()]


async def made_ready(apartment: Apartment, name: str) -> ExecutionProvider:
    """Have one made ready.

    Raises:
        Missing: there is none of the name.
        NotReady: it did not become ready.
        WindowsAiError: anything else.
    """
    operation = f"prepare the execution provider {name!r}"
    found = await apartment.call(operation, _named, name, operation)
    result = await apartment.finished(operation, found.ensure_ready_async)
    with translated(operation):
        if result.status != ExecutionProviderReadyResultState.SUCCESS:
            code = result.extended_error & 0xFFFFFFFF
            if code:
                raise error_of(operation, code, result.diagnostic_text)
            raise NotReady(operation, result.diagnostic_text or "it did not become ready")
    return await apartment.call(operation, _told, found)


def _named(name: str, operation: str) -> FoundProvider:
    known = list(ExecutionProviderCatalog.get_default().find_all_providers())
    found = next((one for one in known if one.name == name), None)
    if found is None:
        names = ", ".join(one.name for one in known) or "none"
        raise Missing(operation, f"the catalogue has none of this name; it has {names}")
    return found


def _told(found: FoundProvider) -> ExecutionProvider:
    return ExecutionProvider(
        found.name,
        _STATES.get(found.ready_state, "not_ready"),
        found.library_path,
        found.certification == ExecutionProviderCertification.CERTIFIED,
    )
