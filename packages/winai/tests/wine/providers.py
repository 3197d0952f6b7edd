"""The catalogue of execution providers of Windows ML as a component of Windows."""

from __future__ import annotations

from com import ABI, Component, Factory, Later, Windows

_ML = "Microsoft.Windows.AI.MachineLearning"
STATES = ABI["enums"][f"{_ML}.ExecutionProviderReadyState"]
CERTIFICATIONS = ABI["enums"][f"{_ML}.ExecutionProviderCertification"]
RESULT_STATES = ABI["enums"][f"{_ML}.ExecutionProviderReadyResultState"]


class ReadyResult(Component):
    of = f"{_ML}.ExecutionProviderReadyResult"

    def __init__(self, status: str, error: int = 0, text: str = "") -> None:
        super().__init__()
        self.status, self.extended_error = RESULT_STATES[status], error
        self.diagnostic_text = text


class Provider(Component):
    of = f"{_ML}.ExecutionProvider"

    def __init__(self, name: str, state: str = "READY", certified: str = "CERTIFIED") -> None:
        super().__init__()
        self.name = name
        self.library_path = rf"C:\providers\{name}.dll" if state == "READY" else ""
        self.ready_state, self.certification = STATES[state], CERTIFICATIONS[certified]
        self.ready = Later(ReadyResult("SUCCESS"), (0.5, 1.0))

    def ensure_ready_async(self) -> Later:
        return self.ready


class Catalog(Component):
    of = f"{_ML}.ExecutionProviderCatalog"

    def __init__(self) -> None:
        super().__init__()
        self.providers = [Provider("QNN"), Provider("OpenVINO", "NOT_PRESENT", "UNKNOWN")]

    def find_all_providers(self) -> list[Provider]:
        return self.providers


class CatalogFactory(Factory):
    def __init__(self) -> None:
        super().__init__(Catalog.of)
        self.catalog = Catalog()

    def get_default(self) -> Catalog:
        return self.catalog


def serve(windows: Windows) -> CatalogFactory:
    """Have Windows find a catalogue."""
    factory = CatalogFactory()
    windows.serve(factory)
    return factory
