"""Docstring examples that say something else than the code does."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from sashizu_offline.checks.tree import PythonFile
from sashizu_offline.derive.examples import examples
from sashizu_offline.derive.machine import Machine
from sashizu_offline.derive.scopes import Meter
from sashizu_offline.findings import Finding

__all__ = ["example_findings"]


def example_findings(file: PythonFile) -> Iterator[Finding]:
    """Examples of module functions whose value is certain and another than the docstring says."""
    meter = Meter(stock=300_000)

    def make(replaced: Mapping[str, ast.FunctionDef]) -> Machine:
        return Machine(file.tree, replaced=replaced, meter=meter)

    for node in file.tree.body:
        if isinstance(node, ast.FunctionDef) and not node.decorator_list:
            for line, text in examples(make, node).wrong:
                yield Finding(file.path, line, "wrong-example", "medium", f"{text}; correct one")
