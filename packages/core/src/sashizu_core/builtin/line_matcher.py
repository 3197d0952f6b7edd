"""Finds the lines that a regular expression matches. A program: it imports nothing of sashizu.

A search with Python's `re` cannot be interrupted and holds the interpreter, and an expression that
a model wrote may search for ever; so it happens in a process that can be killed.

Standard input: one line of JSON, `{"pattern": …, "flags": …, "most": …}`; then for each file eight
bytes with the length of its UTF-8 text (big endian), and the text. Standard output: for each file
one line of JSON, the numbers of the first `most` matching lines, from 1.
"""

import json
import re
import signal
import sys
from typing import BinaryIO

ALARM_S = 60
"""The most seconds it lives: the parent may be gone."""


def matching_lines(expression: "re.Pattern[str]", text: str, most: int) -> "list[int]":
    """The numbers of the lines that match. Lines end in LF or CR LF."""
    found = []
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines, 1):
        if expression.search(line.removesuffix("\r")):
            found.append(number)
            if len(found) >= most:
                break
    return found


def main(source: BinaryIO, target: BinaryIO) -> None:
    if hasattr(signal, "alarm"):
        signal.alarm(ALARM_S)
    header = json.loads(source.readline())
    expression = re.compile(header["pattern"], header["flags"])
    while len(size := source.read(8)) == 8:
        text = source.read(int.from_bytes(size, "big")).decode()
        found = matching_lines(expression, text, header["most"])
        target.write(json.dumps(found).encode() + b"\n")
        target.flush()


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer)
