"""What sashizu-cluster offers to the registry; import-light."""

from __future__ import annotations

__all__: list[str] = []
