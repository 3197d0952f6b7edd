"""The files that are to be written: their names, and what lies there already."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from sashizu_offline.conversation import Conversation, Exchange
from sashizu_offline.jobs import JOBS, choose_job
from sashizu_offline.report import MARK

__all__ = ["digest_at", "may_write", "targets"]

_DIGEST = re.compile(r"sha256 ([0-9a-f]{64})")


def targets(conversation: Conversation) -> list[str]:
    """The files to write: declared ones, patterns made concrete, derived tests beside a report."""
    paths = [_concrete(target.path) for target in conversation.brief.artifacts]
    is_tests = choose_job(conversation.brief) is JOBS["tests"]
    if paths and is_tests and not any(path.endswith(".py") for path in paths):
        paths.append(str(PurePosixPath(paths[0]).with_name("test_derived.py")))
    return list(dict.fromkeys(paths))


def _concrete(path: str) -> str:
    """One name that a pattern matches."""
    parts = [part for part in path.split("/") if part != "**"]
    return "/".join(re.sub(r"\[[^\]]*\]|\?", "x", part).replace("*", "derived") for part in parts)


def _look_at(conversation: Conversation, path: str) -> Exchange | None:
    for exchange in conversation.answers("read_file"):
        if exchange.arguments.get("path") == path and not exchange.is_error:
            return exchange
    return None


def digest_at(conversation: Conversation, path: str) -> str | None:
    look = _look_at(conversation, path)
    found = _DIGEST.findall(look.content) if look else []
    return found[-1] if found else None


def may_write(conversation: Conversation, path: str) -> bool:
    """Nothing is there, or what an earlier run of this model wrote."""
    look = _look_at(conversation, path)
    return look is None or MARK in look.content
