"""What sashizu-openai offers: `openai/*`, and every endpoint of `[models.NAME]`."""

from __future__ import annotations

from collections.abc import Sequence

from sashizu_core.hookspecs import hookimpl
from sashizu_core.settings import Settings
from sashizu_core.specs import ModelSpec


@hookimpl
def register_models(settings: Settings) -> Sequence[ModelSpec]:
    from sashizu_openai.offers import model_specs

    return model_specs(settings)
