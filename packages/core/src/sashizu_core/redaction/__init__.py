"""Takes secrets out of text before it is recorded, hashed or shown.

In this order: values that are known to be secret, values under names that say so, formats of
well-known tokens, assignments to such names, patterns of the operator. What is taken out leaves a
mark, `[redacted:KIND:DIGEST]`: equal secrets have equal marks within one run, and nobody can guess
the secret from the mark.
"""

from __future__ import annotations

from sashizu_core.redaction.live import LiveText
from sashizu_core.redaction.redactor import Redactor
from sashizu_core.redaction.values import named_like_a_secret, secret_variables

__all__ = ["LiveText", "Redactor", "named_like_a_secret", "secret_variables"]
