"""Which local model may be loaded where, and who waits."""
