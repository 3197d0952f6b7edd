"""How much memory a model is thought to take, in bytes."""

from __future__ import annotations

from sashizu_core.errors import ConfigError
from sashizu_core.local_models import LocalTable

__all__ = ["need_of"]

WEIGHTS = 1.1
"""What loaded weights take of their files' size; the rest is buffers."""

RUNTIME = 600 * 1024**2
"""What the runtime of a device takes before the first weight, in bytes."""


def need_of(name: str, local: LocalTable) -> int:
    """What the settings say, else the size of the weights and what it takes to run them.

    What a long context takes on top is not in the files: give `vram` where it is large. What turns
    out to be too small is remembered.

    Raises:
        ConfigError: there are no weights.
    """
    if local.vram is not None:
        return local.vram
    assert local.weights is not None
    path = local.weights.expanduser()
    try:
        files = [one for one in path.rglob("*") if one.is_file()] if path.is_dir() else [path]
        size = sum(one.stat().st_size for one in files)
    except OSError as error:
        raise ConfigError(
            f"[models.{name}]: the weights {str(path)!r} cannot be read: {error.strerror}"
        ) from error
    return int(size * WEIGHTS) + RUNTIME
