"""Tests derived from code that is never run: a small interpreter says what would happen."""
