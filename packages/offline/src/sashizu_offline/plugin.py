"""What sashizu-offline offers."""

from __future__ import annotations
