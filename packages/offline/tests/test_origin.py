"""Where values come from, as far as one function tells."""

import ast

import pytest
from sashizu_offline.checks.origin import origin_of
from sashizu_offline.checks.tree import PythonFile


@pytest.mark.parametrize(
    ("body", "origin"),
    [
        ("'a' + 'b'", "fixed"),
        ("LIMIT", "fixed"),
        ("NAMES[0]", "fixed"),
        ("', '.join('?' for _ in given)", "fixed"),
        ("shlex.quote(given)", "fixed"),
        ("int(given)", "fixed"),
        ("fixed_name", "fixed"),
        ("f'{given}'", "parameter"),
        ("given.strip().lower()", "parameter"),
        ("local", "parameter"),
        ("input()", "outside"),
        ("sys.argv[1]", "outside"),
        ("os.environ['X']", "outside"),
        ("request.args['x']", "request"),
        ("'a %s' % request.form.get('x')", "request"),
        ("self.thing", "internal"),
        ("unknown()", "internal"),
    ],
)
def test_the_least_trusted_part_decides(body: str, origin: str) -> None:
    text = (
        "import os, shlex, sys\nfrom flask import request\nNAMES = ('a', 'b')\n"
        "def f(self, given):\n    fixed_name = 'x'\n    for part in NAMES:\n"
        "        fixed_name = part\n    local = given or 'y'\n"
        f"    return {body}\n"
    )
    file = PythonFile.parse("m.py", text)
    returned = next(node for node in file.nodes if isinstance(node, ast.Return))
    assert origin_of(file, returned.value) == origin


def test_names_that_depend_on_each_other_are_told_quickly() -> None:
    names = [f"v{number}" for number in range(60)]
    lines = [f"    {name} = {' + '.join(names)}" for name in names]
    file = PythonFile.parse("m.py", "def f():\n" + "\n".join(lines) + "\n    return v0\n")
    returned = next(node for node in file.nodes if isinstance(node, ast.Return))
    # Every path through the names would take longer than anybody waits.
    assert origin_of(file, returned.value) in ("fixed", "internal")
