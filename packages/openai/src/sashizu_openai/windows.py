"""How much the models of api.openai.com can read and write, and how hard they think, by name.

As OpenAI's model pages and the catalogues that repeat them gave it in November 2026. A model that
is not here has no known window: say it in `[models.openai]`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Window", "window_of"]


@dataclass(frozen=True, slots=True)
class Window:
    """Both in tokens, None if unknown. `context` holds input and output together.

    `efforts` are the reasoning efforts that the model takes, the lowest first.
    """

    context: int | None
    output: int | None
    efforts: tuple[str, ...] = ()


_EFFORTS = ("low", "medium", "high")
"""What every reasoning model of this list takes; some take more."""

_MILLION = Window(1_050_000, 128_000, _EFFORTS)
_LARGE = Window(400_000, 128_000, _EFFORTS)
_OMNI = Window(128_000, 16_384)
_GPT_4_1 = Window(1_047_576, 32_768)
_O_SERIES = Window(200_000, 100_000, _EFFORTS)

_WINDOWS = {
    "gpt-6-astra": _MILLION,
    "gpt-6-sol": _MILLION,
    "gpt-6-luna": _MILLION,
    "gpt-6.1-sol": _MILLION,
    "gpt-6.1-terra": _MILLION,
    "gpt-5.6-sol": _MILLION,
    "gpt-5.6-terra": _MILLION,
    "gpt-5.6-luna": _MILLION,
    "gpt-5.5": _MILLION,
    "gpt-5.4": _MILLION,
    "gpt-5.4-mini": _LARGE,
    "gpt-5.4-nano": _LARGE,
    "gpt-5.2": _LARGE,
    "gpt-5.1": _LARGE,
    "gpt-5": _LARGE,
    "gpt-5-mini": _LARGE,
    "gpt-5-nano": _LARGE,
    "gpt-4.1": _GPT_4_1,
    "gpt-4.1-mini": _GPT_4_1,
    "gpt-4.1-nano": _GPT_4_1,
    "gpt-4o": _OMNI,
    "gpt-4o-mini": _OMNI,
    "o4-mini": _O_SERIES,
    "o3": _O_SERIES,
    "o3-mini": _O_SERIES,
    "o1": _O_SERIES,
}

_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")


def window_of(model: str) -> Window | None:
    """The window of a model, or of the model that a dated snapshot belongs to."""
    return _WINDOWS.get(_SNAPSHOT.sub("", model))
