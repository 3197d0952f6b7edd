"""Runs on many machines: executor, workers, spending and record on PostgreSQL."""
