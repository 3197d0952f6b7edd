"""The limited access features as a component of Windows."""

from __future__ import annotations

from com import ABI, Component, Factory, Windows

_MODEL = "Windows.ApplicationModel"
STATUSES = ABI["enums"][f"{_MODEL}.LimitedAccessFeatureStatus"]


class Result(Component):
    of = f"{_MODEL}.LimitedAccessFeatureRequestResult"

    def __init__(self, feature: str, status: int) -> None:
        super().__init__()
        self.feature_id, self.status = feature, status


class Features(Factory):
    """Answers with `status`; `asked` are the feature, the token and the attestation each time."""

    def __init__(self) -> None:
        super().__init__(f"{_MODEL}.LimitedAccessFeatures")
        self.reset()

    def reset(self) -> None:
        self.status = STATUSES["AVAILABLE"]
        self.asked: list[tuple[str, str, str]] = []

    def try_unlock_feature(self, feature: str, token: str, attestation: str) -> Result:
        self.asked.append((feature, token, attestation))
        return Result(feature, self.status)


def serve(windows: Windows) -> Features:
    """Have Windows find them."""
    factory = Features()
    windows.serve(factory)
    return factory
