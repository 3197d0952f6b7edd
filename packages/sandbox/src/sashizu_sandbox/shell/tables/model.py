"""What a table of a program's options says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast

__all__ = ["Kind", "Table", "code", "each", "named", "never", "table"]

Kind = Literal["text", "read", "write", "revision", "archive", "format", "sed", "jq"]
"""What a value is: text that reaches no file, a path that is read or written, a revision of git or
a path, an archive that is read and whose name must not be that of another machine, a format that
begins with `+`, or a script in a language of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Which arguments of a program are understood, and what they touch.

    `flags` take no value, `values` take as many as they have kinds, `optional` one that has to be
    attached; in both, one that may be the next word. `refused` maps options to the reason why not
    and what to do instead; what is in no list is a doubt. `operands` are the kinds of the first
    arguments that are no options, `rest` that of all further ones (None: there are none), `last`
    that of the last, if it differs; `instead` are options that take the place of the first operand,
    `writing` those that make a program write what it otherwise reads, `looking` those that make it
    read only. With `numbers`, `-5` is an option. A program without any path among its operands
    reads the folder it runs in `always`, `alone` (unless something is piped into it), or `with` one
    of the options in `walking`. One that `fills`, or gets one of the options in `filling`, writes
    into the folder it runs in, unless it is told another or gets one of those in `looking`.
    `touches` are paths of the workspace that it reads or writes whatever its arguments are, `alone`
    those without a subcommand. `inserted` goes in front of the operands when it runs, and
    `environment` is set. `dropped` options mean nothing here and are left out.

    With `old_style` the first argument may be a bundle of options without its dash. A program with
    `subcommands` takes its own options before one of them. `style` is `getopt`, that of `find`,
    whose options are an expression, or `plain`, which has no options. `never` says why a program
    does not run at all. With `any_code` a program runs what it is given or finds: nothing else
    about it is understood.
    """

    flags: frozenset[str] = frozenset()
    values: Mapping[str, tuple[Kind, ...]] = field(default_factory=dict)
    optional: Mapping[str, Kind] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    operands: tuple[Kind, ...] = ()
    rest: Kind | None = None
    last: Kind | None = None
    instead: frozenset[str] = frozenset()
    writing: frozenset[str] = frozenset()
    looking: frozenset[str] = frozenset()
    numbers: bool = False
    reads_cwd: Literal["", "always", "alone", "with"] = ""
    walking: frozenset[str] = frozenset()
    fills: bool = False
    filling: frozenset[str] = frozenset()
    old_style: bool = False
    touches: tuple[tuple[str, Literal["read", "write"]], ...] = ()
    alone: tuple[tuple[str, Literal["read", "write"]], ...] = ()
    inserted: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()
    subcommands: Mapping[str, Table] = field(default_factory=dict)
    style: Literal["getopt", "find", "plain"] = "getopt"
    never: str = ""
    any_code: bool = False


def named(text: str) -> dict[str, str]:
    """`-x:write` items, separated by blanks, as a mapping; `text` is what has no kind."""
    return {
        name: kind or "text" for name, _, kind in (item.partition(":") for item in text.split())
    }


def _kinds(text: str) -> tuple[Kind, ...]:
    return tuple(cast("list[Kind]", text.split(",")))


def table(
    flags: str = "",
    values: str = "",
    optional: str = "",
    *,
    operands: str = "",
    instead: str = "",
    writing: str = "",
    looking: str = "",
    walking: str = "",
    filling: str = "",
    dropped: str = "",
    **rest: object,
) -> Table:
    """A table, with its lists as texts: `"-a --all"`, `"-n -o:write --arg:text,text"`."""
    return Table(
        flags=frozenset(flags.split()),
        values={name: _kinds(kind) for name, kind in named(values).items()},
        optional=named(optional),  # type: ignore[arg-type]
        operands=tuple(operands.split()),  # type: ignore[arg-type]
        instead=frozenset(instead.split()),
        writing=frozenset(writing.split()),
        looking=frozenset(looking.split()),
        walking=frozenset(walking.split()),
        filling=frozenset(filling.split()),
        dropped=frozenset(dropped.split()),
        **rest,  # type: ignore[arg-type]
    )


def code(refused: Mapping[str, str] | None = None) -> Table:
    """A program that runs any code: its options are its own business, but for those refused."""
    return Table(any_code=True, refused=refused or {})


def never(why: str) -> Table:
    """A program that does not run, and why."""
    return Table(never=why)


def each(names: str, of: Table) -> dict[str, Table]:
    """The same table for several programs."""
    return dict.fromkeys(names.split(), of)
