"""Runs: resolve, start, execute and report agents."""

from sashizu_core.runtime.delegation import delegate, delegate_parallel

__all__ = ["delegate", "delegate_parallel"]
