"""How much memory a model is thought to take, in bytes."""

from __future__ import annotations

from pathlib import Path

from sashizu_core.errors import ConfigError
from sashizu_core.local_models import LocalTable

from sashizu_gpu_driver.admission.shape import ShapeError, shape_of

__all__ = ["MOST", "need_of"]

MOST = 1 << 50
"""No model takes more, in bytes: as in `vram` of the settings."""

WEIGHTS = 1.1
"""What loaded weights take of their files' size; the rest is buffers."""

RUNTIME = 600 * 1024**2
"""What the runtime of a device takes before the first weight, in bytes."""


def need_of(name: str, local: LocalTable) -> int:
    """What the settings say, else the size of the weights and what it takes to run them.

    With `context` that is also what the model remembers of each token of each call at once: a key
    and a value for every layer, by the sizes that its own files tell. What turns out to be too
    small is remembered.

    Raises:
        ConfigError: there are no weights, or their files do not tell the sizes, or absurd ones.
    """
    if local.vram is not None:
        return local.vram
    assert local.weights is not None
    try:
        path = local.weights.expanduser()
        files = [one for one in path.rglob("*") if one.is_file()] if path.is_dir() else [path]
        size = sum(one.stat().st_size for one in files)
    except (OSError, ValueError, RuntimeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            f"[models.{name}]: the weights {str(local.weights)!r} cannot be read: {why}"
        ) from error
    need = int(size * WEIGHTS) + RUNTIME + _remembered(name, path, local)
    if need > MOST:
        raise ConfigError(
            f"[models.{name}]: {str(path)!r} with {local.context} tokens for each of "
            f"{local.slots or 1} calls takes {need:.3g} bytes by its files: give vram = '6GiB'"
        )
    return need


def _remembered(name: str, weights: Path, local: LocalTable) -> int:
    """The keys and values of all calls that are served at once."""
    if local.context is None:
        return 0
    try:
        shape = shape_of(weights)
    except ShapeError as error:
        raise ConfigError(
            f"[models.{name}] context: {str(weights)!r} does not tell what a token takes: "
            f"{error}; give vram = '6GiB' instead of context"
        ) from error
    tokens = local.context * (local.slots or 1)
    return shape.numbers * tokens * local.kv_bits // 8
