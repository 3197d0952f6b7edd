"""What sashizu-audit offers."""

from __future__ import annotations
