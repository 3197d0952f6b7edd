"""What sashizu-budget offers."""

from __future__ import annotations
