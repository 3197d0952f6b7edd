"""Arguments held against a schema that a server wrote: it may not take long, nor reach anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sashizu_core.errors import ArgumentsError

__all__ = ["ArgumentsCheck", "UnusableSchema"]

MOST_BYTES = 64 * 1024
"""Of a schema, as JSON."""

MOST_ARGUMENTS_BYTES = 1024 * 1024
"""Of the arguments of one call, as JSON."""

DEEPEST = 32

MOST_REFERENCES = 5_000
"""References that are followed for one call; nested ones multiply."""

_MAPS = frozenset({"properties", "$defs", "definitions", "dependentSchemas"})
_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_SINGLE = frozenset(
    {
        *("additionalProperties", "unevaluatedProperties", "items", "unevaluatedItems"),
        *("contains", "not", "if", "then", "else", "propertyNames"),
    }
)
_PLAIN = frozenset(
    {
        *("$ref", "type", "enum", "const", "required", "minimum", "maximum", "exclusiveMinimum"),
        *("exclusiveMaximum", "multipleOf", "minLength", "maxLength", "minItems", "maxItems"),
        *("uniqueItems", "minProperties", "maxProperties", "minContains", "maxContains"),
        "dependentRequired",
    }
)
_CHECKED = _MAPS | _LISTS | _SINGLE | _PLAIN
"""Keywords that are checked here. Expressions are not: one can be made to take for ever."""


class UnusableSchema(Exception):
    """A schema cannot be used; says why."""


class _TooMany(Exception):
    pass


class ArgumentsCheck:
    """Checks arguments of one tool. What its schema says of expressions is left to the server.

    Raises:
        UnusableSchema: it is too large or too deep, no schema of an object, or refers elsewhere.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        try:
            size = len(json.dumps(schema).encode("utf-8", "surrogatepass"))
        except (TypeError, ValueError, RecursionError) as error:
            raise UnusableSchema("its schema is no JSON") from error
        if size > MOST_BYTES:
            raise UnusableSchema(f"its schema is larger than {MOST_BYTES} bytes")
        if schema.get("type") != "object":
            raise UnusableSchema("its schema is none of an object")
        self._schema = _checked(schema, 0)
        self._validator: Any = None
        self._followed = 0

    def parse(self, tool: str, arguments: str) -> dict[str, Any]:
        """The arguments as an object.

        Raises:
            ArgumentsError: they are none, or do not fit.
        """
        if len(arguments) > MOST_ARGUMENTS_BYTES:
            raise ArgumentsError(f"{tool}: more than {MOST_ARGUMENTS_BYTES} bytes of arguments")
        try:
            found = json.loads(arguments or "{}", parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise ArgumentsError(f"{tool}: the arguments are no JSON: {error}") from error
        if not isinstance(found, dict):
            raise ArgumentsError(f"{tool}: the arguments have to be a JSON object")
        if problem := self._problem(found):
            raise ArgumentsError(f"{tool}: {problem}")
        return found

    def _problem(self, found: dict[str, Any]) -> str:
        self._followed = 0
        try:
            for error in self._errors(found):
                where = error.json_path.removeprefix("$").lstrip(".")
                said = error.message[:300]
                return f"{where}: {said}" if where else str(said)
        except (_TooMany, RecursionError):
            return ""  # the server has to say itself what it takes
        except Exception as error:  # noqa: BLE001 - a schema that breaks its checker checks nothing
            del error
            return ""
        return ""

    def _errors(self, found: dict[str, Any]) -> Iterator[Any]:
        if self._validator is None:
            self._validator = self._made()
        errors: Iterator[Any] = self._validator.iter_errors(found)
        return errors

    def _made(self) -> Any:
        import jsonschema  # needed by few runs, and slow to import
        from jsonschema import validators
        from referencing import Registry

        base = jsonschema.Draft202012Validator
        follow: Any = base.VALIDATORS["$ref"]

        def counted(validator: Any, ref: Any, instance: Any, schema: Any) -> Iterator[Any]:
            self._followed += 1
            if self._followed > MOST_REFERENCES:
                raise _TooMany
            yield from follow(validator, ref, instance, schema) or ()

        extend: Any = validators.extend
        kind = extend(base, {"$ref": counted})
        return kind(self._schema, registry=Registry())


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _checked(schema: Any, depth: int) -> Any:
    """The part of a schema that is checked.

    Raises:
        UnusableSchema: it is nested too deeply, or refers elsewhere.
    """
    if isinstance(schema, bool):
        return schema
    if not isinstance(schema, Mapping):
        return True
    if depth > DEEPEST:
        raise UnusableSchema(f"its schema is nested deeper than {DEEPEST} levels")
    reference = schema.get("$ref")
    if reference is not None and not (isinstance(reference, str) and reference.startswith("#")):
        raise UnusableSchema("its schema refers to another one elsewhere")
    kept = {
        key: _keyword(key, value, depth + 1)
        for key, value in schema.items()
        if key in _CHECKED and (key not in _LISTS or value)
    }
    if schema.get("patternProperties"):  # what else there may be is not known without them
        kept.pop("additionalProperties", None)
        kept.pop("unevaluatedProperties", None)
    return kept


def _keyword(key: str, value: Any, depth: int) -> Any:
    if key in _MAPS and isinstance(value, Mapping):
        return {name: _checked(item, depth) for name, item in value.items()}
    if key in _LISTS and isinstance(value, list):
        return [_checked(item, depth) for item in value]
    return _checked(value, depth) if key in _SINGLE else value
