"""Agents at work in servers of their own, which this process starts and speaks to."""
