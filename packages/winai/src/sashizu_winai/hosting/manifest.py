"""The manifest of actions that a package brings, as Windows reads it.

The format is Microsoft's "Action definition JSON schema for App Actions on Windows", version 3. The
schema beside this module is ours, written after that description: it allows what is described
there, and the kind `Uri` and arrays, which Microsoft's own samples have.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any
from uuid import UUID

from sashizu_core.errors import UsageError

from sashizu_winai.entities import ActionInput
from sashizu_winai.hosting.actions import HostedAction

__all__ = ["CLSID", "check_manifest", "manifest_of"]

CLSID = UUID("460aea2e-b6ba-4ef1-b40d-474cc6eb0416")
"""The class of COM by which Windows asks for our provider."""

_VERSION = 3
_KINDS = {"text": "Text", "file": "File", "document": "Document", "photo": "Photo"}


def manifest_of(
    actions: Sequence[HostedAction], *, invokers: Sequence[str], clsid: UUID = CLSID
) -> dict[str, Any]:
    """The manifest of these actions.

    Args:
        actions: at least one.
        invokers: application user model ids of who may see them; `*` stands for everybody.
        clsid: the class that carries them out.

    Raises:
        UsageError: there are no actions, or something in it is not as Windows wants it.
    """
    if not actions:
        raise UsageError(
            "no agent is hosted: name some under 'agents' in the table [winai.hosting]"
        )
    document = {
        "version": _VERSION,
        "actions": [_entry(one, invokers, clsid) for one in actions],
    }
    check_manifest(document)
    return document


def check_manifest(document: Any) -> None:
    """Check a manifest against the schema, and that what it names is there.

    Raises:
        UsageError: it is not as the format says; tells the first place.
    """
    import jsonschema  # slow to import, and asked for by one command

    text = files("sashizu_winai.hosting").joinpath("actions.schema.json").read_text("utf-8")
    validator = jsonschema.Draft202012Validator(json.loads(text))
    for error in sorted(validator.iter_errors(document), key=lambda one: one.json_path):
        raise UsageError(f"the manifest of actions is wrong at {error.json_path}: {error.message}")
    seen: set[str] = set()
    for action in document["actions"]:
        if action["id"] in seen:
            raise UsageError(f"the manifest has two actions {action['id']!r}")
        seen.add(action["id"])
        known = {one["name"] for one in action["inputs"]}
        for combination in action["inputCombinations"]:
            if unknown := sorted(set(combination["inputs"]) - known):
                raise UsageError(
                    f"the action {action['id']!r} combines the input {unknown[0]!r}, "
                    "which it does not have"
                )


def _entry(action: HostedAction, invokers: Sequence[str], clsid: UUID) -> dict[str, Any]:
    variants = action.info.variants
    inputs = list(dict.fromkeys(one for variant in variants for one in variant))
    every = set.intersection(*(set(variant) for variant in variants))
    return {
        "id": action.info.id,
        "description": action.info.description,
        "usesGenerativeAI": action.info.generative,
        "isAvailable": action.info.available,
        "allowedAppInvokers": list(invokers),
        "inputs": [{**_named(one), "required": one in every} for one in inputs],
        "inputCombinations": [
            {"inputs": [one.name for one in variant], "description": _described(action, variant)}
            for variant in variants
        ],
        "outputs": [_named(one) for one in action.outputs],
        "invocation": {"type": "COM", "clsid": str(clsid).upper()},
    }


def _named(one: ActionInput) -> dict[str, str]:
    return {"name": one.name, "kind": _KINDS[str(one.kind)]}


def _described(action: HostedAction, variant: Sequence[ActionInput]) -> str:
    """One line for a combination; `${…}` is where Windows puts the value, so none comes from us."""
    shown = ", ".join(
        f"${{{one.name}.{'ShortText' if one.kind == 'text' else 'FileName'}}}" for one in variant
    )
    agent = action.agent.replace("$", "")
    return f"Have {agent} work on {shown}"
