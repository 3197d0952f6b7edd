"""Questions that are asked again and again: the files of `queries`.

A file begins with what it answers and with its parameters, each a comment:

```sql
-- What each agent cost, by day.
-- param days: days = 30: how many days back
SELECT … WHERE ts_ns >= $days
```

A parameter is `text`, `integer`, `days` (given as so many days back, seen by the query as that
instant in Unix nanoseconds) or `run` (given as an id, the beginning of one or `last`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from time import time_ns

from sashizu_core.errors import UsageError, nearest

__all__ = ["Canned", "Parameter", "all_canned", "find_canned"]

_PARAMETER = re.compile(r"-- param (\w+): (text|integer|days|run) = (.*?): (.+)")
_DAY_NS = 86_400 * 10**9


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a question takes; `default` is as it would be given."""

    name: str
    kind: str
    default: str
    summary: str


@dataclass(frozen=True, slots=True)
class Canned:
    """A question with a name."""

    name: str
    summary: str
    parameters: tuple[Parameter, ...]
    sql: str

    def values(self, given: Sequence[str], run_id: Callable[[str], str]) -> Mapping[str, object]:
        """The values of all parameters; `given` are texts `NAME=VALUE`, `run_id` finds a run.

        Raises:
            UsageError: one is unknown, given twice, or has no value of its kind.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        texts: dict[str, str] = {}
        for one in given:
            name, equals, text = one.partition("=")
            if not equals:
                raise UsageError(f"a parameter is given as NAME=VALUE, not {one!r}")
            if name not in known:
                told = ", ".join(known) or "none"
                raise UsageError(
                    f"the query {self.name!r} takes no {name!r}{nearest(name, known)}; "
                    f"its parameters: {told}"
                )
            if name in texts:
                raise UsageError(f"{name!r} was given twice")
            texts[name] = text
        return {
            name: _value(parameter, texts.get(name, parameter.default), run_id)
            for name, parameter in known.items()
        }


def all_canned() -> list[Canned]:
    """Every question, by name."""
    folder = files("sashizu_audit").joinpath("queries")
    return sorted(
        (
            _read(item.name.removesuffix(".sql"), item.read_text("utf-8"))
            for item in folder.iterdir()
            if item.name.endswith(".sql")
        ),
        key=lambda canned: canned.name,
    )


def find_canned(name: str) -> Canned:
    """The question of this name.

    Raises:
        UsageError: there is none.
    """
    known = {canned.name: canned for canned in all_canned()}
    if name not in known:
        raise UsageError(
            f"there is no query {name!r}{nearest(name, known)}; `sashizu audit query` lists them"
        )
    return known[name]


def _read(name: str, text: str) -> Canned:
    first, *rest = text.splitlines()
    found = filter(None, map(_PARAMETER.fullmatch, rest))
    parameters = [Parameter(*match.groups()) for match in found]
    sql = "\n".join(line for line in rest if not line.startswith("-- ")).strip()
    return Canned(name, first.removeprefix("-- "), tuple(parameters), sql)


def _value(parameter: Parameter, text: str, run_id: Callable[[str], str]) -> object:
    if parameter.kind == "text":
        return text
    if parameter.kind == "run":
        return run_id(text)
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise UsageError(f"{parameter.name!r} takes a whole number, not {text!r}")
    return int(text) if parameter.kind == "integer" else time_ns() - int(text) * _DAY_NS
