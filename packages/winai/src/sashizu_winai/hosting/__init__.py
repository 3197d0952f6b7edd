"""Agents of sashizu as App Actions of Windows."""
