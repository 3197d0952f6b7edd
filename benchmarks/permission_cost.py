"""What one decision about a tool call costs.

    uv run python benchmarks/permission_cost.py [--rounds 7] [--calls 2000]

Microseconds of CPU for one request of each kind, judged over a chain of one, three and eight levels
with 20 grants of each kind and 10 rules a level, when the request was never seen before: the caches
of paths, patterns and names are emptied before each round, and each call asks for something new.
Beside it the same request asked again, and what a search pays for each file. Cells are visited in
shuffled order in every round and are medians over the rounds.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

from sashizu_core import granted_paths, granted_urls, secret_files
from sashizu_core.grants import (
    ExecRequest,
    Grants,
    McpRequest,
    NetRequest,
    PathRequest,
    PermissionRequest,
    Rule,
    Subject,
    Touched,
)
from sashizu_core.permissions import authorize, effective, readable

LEVELS = (1, 3, 8)
COUNT = 20


def chain(levels: int) -> tuple[Grants, ...]:
    """Levels that all allow the same, each with rules of its own that never apply."""
    touches: tuple[Touched, ...] = ("read", "write", "exec", "net", "tool")
    return tuple(
        Grants(
            tools=frozenset(f"server/tool{n}" for n in range(COUNT)),
            fs_read=tuple(f"area{n}/src" for n in range(COUNT)),
            fs_write=tuple(f"area{n}/out" for n in range(COUNT)),
            net=tuple(f"https://host{n}.example.org/api/*" for n in range(COUNT)),
            exec=tuple(f"program{n} run" for n in range(COUNT)),
            rules=tuple(Rule("deny", touches[n % 5], f"never{level}-{n}.test") for n in range(10)),
        )
        for level in range(levels)
    )


def paths() -> Iterator[PermissionRequest]:
    return (PathRequest(f"area{COUNT - 1}/src/a/module_{n}.py", "read") for n in range(10**9))


def writes() -> Iterator[PermissionRequest]:
    return (PathRequest(f"area{COUNT - 1}/out/a/report_{n}.md", "write") for n in range(10**9))


def urls() -> Iterator[PermissionRequest]:
    host = f"host{COUNT - 1}.example.org"
    return (NetRequest("https", host, 443, f"/api/v1/items/{n}") for n in range(10**9))


def commands() -> Iterator[PermissionRequest]:
    name = f"program{COUNT - 1}"
    return (ExecRequest((name, "run", "-n", str(n)), f"/usr/bin/{name}") for n in range(10**9))


def tools() -> Iterator[PermissionRequest]:
    return (McpRequest("server", f"tool{COUNT - 1}", f"{n:064x}") for n in range(10**9))


KINDS: dict[str, Callable[[], Iterator[PermissionRequest]]] = {
    "read a path": paths,
    "write a path": writes,
    "connect": urls,
    "run a program": commands,
    "call a server's tool": tools,
}


def forget() -> None:
    for cached in (
        granted_paths.clean,
        granted_urls.url_pattern,
        granted_urls._host,
        secret_files.folded_paths,
        secret_files.secret_depth,
    ):
        cached.cache_clear()


def timed(act: Callable[[], object], calls: int) -> float:
    """Microseconds of CPU for one of so many calls."""
    started = time.process_time_ns()
    for _ in range(calls):
        act()
    return (time.process_time_ns() - started) / calls / 1000


def new_requests(kind: str, levels: int) -> Callable[[], object]:
    subject, source = Subject("id", "agent", chain(levels)), KINDS[kind]()

    def act() -> None:
        assert authorize((next(source),), subject).allowed

    return act


def same_request(kind: str, levels: int) -> Callable[[], object]:
    subject, request = Subject("id", "agent", chain(levels)), (next(KINDS[kind]()),)
    return lambda: authorize(request, subject)


def searched(levels: int) -> Callable[[], object]:
    may_read = readable(Subject("id", "agent", chain(levels)))
    names = (f"area{COUNT - 1}/src/a/module_{n}.py" for n in range(10**9))
    return lambda: may_read(next(names))


def cases() -> dict[tuple[str, int], Callable[[], object]]:
    found: dict[tuple[str, int], Callable[[], object]] = {}
    for levels in LEVELS:
        for kind in KINDS:
            found[f"{kind}, new", levels] = new_requests(kind, levels)
            found[f"{kind}, again", levels] = same_request(kind, levels)
        found["one file of a search", levels] = searched(levels)
        found["effective grants of a chain", levels] = partial(effective, chain(levels))
    return found


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--rounds", type=int, default=7)
    flags.add_argument("--calls", type=int, default=2000)
    asked = flags.parse_args()
    acts = cases()
    samples: dict[tuple[str, int], list[float]] = {cell: [] for cell in acts}
    for _ in range(asked.rounds):
        order = list(acts)
        random.shuffle(order)
        for cell in order:
            forget()
            calls = max(1, asked.calls // 100) if cell[0].startswith("effective") else asked.calls
            samples[cell].append(timed(acts[cell], calls))
    head = "us of CPU by levels"
    print(f"{head:32}" + "".join(f"{levels:>10}" for levels in LEVELS))
    for name in dict.fromkeys(name for name, _ in acts):
        cells = (statistics.median(samples[name, levels]) for levels in LEVELS)
        print(f"{name:32}" + "".join(f"{cell:10.1f}" for cell in cells))


if __name__ == "__main__":
    main()
