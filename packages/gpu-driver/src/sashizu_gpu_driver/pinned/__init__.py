"""Memory that processes share without copying, pinned where the system allows it."""

from sashizu_gpu_driver.pinned.memory import SharedMemory, adopt
from sashizu_gpu_driver.pinned.pool import MemoryPool

__all__ = ["MemoryPool", "SharedMemory", "adopt"]
