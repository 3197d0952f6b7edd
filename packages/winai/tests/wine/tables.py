"""The binary interfaces of the Windows Runtime, as the projections have them in their tables.

Runs on a Windows CPython with the projections. `python tables.py` prints what `abi.json` records:
identities, slots and parameters of every class that a fake component stands in for, and the
numbers of every enumeration.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

CLASSES = (
    *("Windows.AI.Actions.ActionRuntime", "Windows.AI.Actions.ActionEntityFactory"),
    *("Windows.AI.Actions.ActionEntity", "Windows.AI.Actions.ActionEntityDisplayInfo"),
    *("Windows.AI.Actions.ActionFeedback", "Windows.AI.Actions.ActionInvocationContext"),
    *("Windows.AI.Actions.NamedActionEntity", "Windows.AI.Actions.TextActionEntity"),
    *("Windows.AI.Actions.FileActionEntity", "Windows.AI.Actions.PhotoActionEntity"),
    *("Windows.AI.Actions.DocumentActionEntity", "Windows.AI.Actions.StreamingTextActionEntity"),
    *("Windows.AI.Actions.UriActionEntity", "Windows.AI.Actions.ArrayActionEntity"),
    *("Windows.AI.Actions.Hosting.ActionCatalog", "Windows.AI.Actions.Hosting.ActionDefinition"),
    *("Windows.AI.Actions.Hosting.ActionEntityRegistrationInfo",),
    *("Windows.AI.Actions.Hosting.ActionInstance", "Windows.AI.Actions.Hosting.ActionOverload"),
    *("Microsoft.Windows.AI.AIFeatureReadyResult",),
    *("Microsoft.Windows.AI.Text.LanguageModel", "Microsoft.Windows.AI.Text.LanguageModelOptions"),
    *("Microsoft.Windows.AI.Text.LanguageModelResponseResult",),
    *("Microsoft.Windows.AI.Text.GenerateStructuredJsonResponseResult",),
    *("Microsoft.Windows.AI.MachineLearning.ExecutionProvider",),
    *("Microsoft.Windows.AI.MachineLearning.ExecutionProviderCatalog",),
    *("Microsoft.Windows.AI.MachineLearning.ExecutionProviderReadyResult",),
    *("Windows.AI.Agents.Mcp.McpMessageFilterResponse", "Windows.Foundation.Uri"),
    *("Windows.ApplicationModel.LimitedAccessFeatures",),
    *("Windows.ApplicationModel.LimitedAccessFeatureRequestResult",),
)
# Interfaces of no class: what Windows calls of ours, and what all operations have.
INTERFACES = (
    *("Windows.Foundation.IAsyncInfo", "Windows.Foundation.IAsyncAction"),
    *("Windows.Foundation.AsyncActionCompletedHandler",),
    *("Windows.AI.Actions.Provider.IActionProvider",),
    *("Windows.AI.Agents.Mcp.IMcpMessageFilterExperimental2",),
    *("Windows.AI.Agents.Mcp.IMcpMessageFilterResponseExperimental",),
    *("Windows.AI.Agents.Mcp.IMcpMessageFilterResponseExperimental2",),
)
ENUMS = (
    *("Windows.AI.Actions.ActionEntityKind", "Windows.AI.Actions.ActionFeedbackKind"),
    *("Windows.AI.Actions.ActionInvocationResult", "Microsoft.Windows.AI.AIFeatureReadyState"),
    *("Microsoft.Windows.AI.AIFeatureReadyResultState",),
    *("Microsoft.Windows.AI.Text.LanguageModelResponseStatus",),
    *("Microsoft.Windows.AI.Text.GenerateStructuredJsonResponseStatus",),
    *("Microsoft.Windows.AI.MachineLearning.ExecutionProviderCertification",),
    *("Microsoft.Windows.AI.MachineLearning.ExecutionProviderReadyResultState",),
    *("Microsoft.Windows.AI.MachineLearning.ExecutionProviderReadyState",),
    *("Windows.AI.Agents.Mcp.McpMessageDirection",),
    *("Windows.ApplicationModel.LimitedAccessFeatureStatus",),
)
_SIMPLE = "- bool - u8 i16 u16 i32 u32 i64 u64 f32 f64 - string guid hresult token time span object"
_NAMES = "enum enum struct interface class delegate generic reference"
_CODES = dict(enumerate([*_SIMPLE.split(), *_NAMES.split()]))
_WAYS = {0: "in", 1: "out", 2: "in-array", 3: "fill-array", 4: "out-array"}
_NAMED = {20, 21, 22, 23, 24, 26}
_CLASS = 3
_NONE = 0xFFFFFFFF


class Table:
    """One projection's table: what its numbers stand for."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.types: list[dict[str, Any]] = found["types"]
        self.namespace: str = found["namespace"]

    def name(self, at: int) -> str:
        """A type's full name, with its arguments."""
        one = self.types[at]
        given = ", ".join(self.name(arg) for arg in one["generic_args"])
        return f"{one['namespace']}.{one['name']}" + (f"<{given}>" if given else "")

    def own(self) -> list[tuple[str, dict[str, Any]]]:
        """The types of its namespace, and its instances of generic ones."""
        return [
            (self.name(at), one)
            for at, one in enumerate(self.types)
            if one["namespace"] == self.namespace or one["generic_args"]
        ]

    def parameter(self, found: dict[str, Any]) -> str:
        """Such as `out class Windows.AI.Actions.ActionEntity`."""
        way, code = _WAYS[found["category"]], found["code"]
        named = f" {self.name(found['type'])}" if code in _NAMED else ""
        return f"{way} {_CODES.get(code, code)}{named}"

    def interfaces(self, one: dict[str, Any]) -> list[str]:
        """Of a class, the default one first, and those of the class that it extends."""
        first = one["default_interface"]
        listed = ([first] if first != _NONE else []) + one["interfaces"]
        names = [self.name(at) for at in dict.fromkeys(listed)]
        if one["base"] != _NONE:
            names += self.interfaces(self.types[one["base"]])
        return names

    def methods(self, one: dict[str, Any]) -> list[tuple[str, int, list[str]]]:
        """Interface, slot, and the method's name with its parameters."""
        return [
            (
                self.name(member["declaring"]),
                member["slot"],
                [member["winrt_name"], *map(self.parameter, member["params"])],
            )
            for group in one["groups"]
            for member in group["members"]
            if member["declaring"] != _NONE
        ]


def tables() -> list[Table]:
    """Every projection that is installed."""
    import winrt._winrt as winrt

    root = Path(winrt.__file__).parent
    return [
        Table(winrt.read_table(file.read_bytes())) for file in sorted(root.rglob("_table.pywinrt"))
    ]


def record() -> dict[str, Any]:
    """What `abi.json` has, as the installed projections have it."""
    known = tables()
    return {
        "classes": _classes(known),
        "interfaces": _interfaces(known),
        "enums": _enums(known),
    }


def _classes(known: list[Table]) -> dict[str, Any]:
    found = {
        name: {
            "interfaces": table.interfaces(one),
            "factories": [table.name(at) for at in one["factories"] + one["composable_factories"]],
        }
        for table in known
        for name, one in table.own()
        if one["category"] == _CLASS and name in CLASSES
    }
    return {name: found[name] for name in CLASSES}


def _interfaces(known: list[Table]) -> dict[str, Any]:
    ids: dict[str, str] = {}
    slots: dict[str, dict[int, list[str]]] = {}
    for table in known:
        for name, one in table.own():
            if one["guid"] is not None:
                ids[name] = str(uuid.UUID(bytes_le=bytes(one["guid"])))
            for declaring, slot, method in table.methods(one):
                slots.setdefault(declaring, {})[slot] = method
    wanted = _wanted(_classes(known), slots)
    return {
        name: {
            "id": ids[name],
            "slots": {str(slot): method for slot, method in sorted(slots.get(name, {}).items())},
        }
        for name in sorted(wanted)
    }


def _wanted(classes: dict[str, Any], slots: dict[str, dict[int, list[str]]]) -> set[str]:
    """The interfaces of the classes, and the generic ones that their methods give."""
    wanted = {one for found in classes.values() for part in found.values() for one in part}
    wanted |= set(INTERFACES)
    for name in list(wanted):
        for method in slots.get(name, {}).values():
            for word in method[1:]:
                if word.startswith("out generic Windows.Foundation.IAsync"):
                    wanted.add(word.removeprefix("out generic "))
    return wanted


def _enums(known: list[Table]) -> dict[str, Any]:
    found = {
        name: {constant["py_name"]: constant["value"] for constant in one["constants"]}
        for table in known
        for name, one in table.own()
        if name in ENUMS
    }
    return {name: found[name] for name in ENUMS}


def lines(found: dict[str, Any]) -> str:
    """JSON with one line for each class, slot and enumeration."""
    parts = [f'  "{part}": {{\n{_part(body)}\n  }}' for part, body in found.items()]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _part(body: dict[str, Any]) -> str:
    return ",\n".join(f"    {json.dumps(name)}: {_entry(one)}" for name, one in body.items())


def _entry(one: dict[str, Any]) -> str:
    if not one.get("slots"):
        return json.dumps(one)
    slots = ",\n".join(
        f"      {json.dumps(slot)}: {json.dumps(method)}" for slot, method in one["slots"].items()
    )
    return f'{{"id": {json.dumps(one["id"])}, "slots": {{\n{slots}}}}}'


if __name__ == "__main__":
    print(lines(record()), end="")
