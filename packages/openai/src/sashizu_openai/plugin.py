"""What sashizu-openai offers."""

from __future__ import annotations
