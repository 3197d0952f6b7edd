"""What core itself offers."""

from __future__ import annotations
