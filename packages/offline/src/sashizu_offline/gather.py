"""The first turns of a job: which tools to call to learn what the report needs."""

from __future__ import annotations

from collections.abc import Iterator

from sashizu_core.types import ModelRequest, ToolCall

from sashizu_offline.conversation import Conversation, Exchange
from sashizu_offline.jobs import Job
from sashizu_offline.reading import readings
from sashizu_offline.research import Research, as_pattern, file_names, question_words, read_hits
from sashizu_offline.results import Result, read_lines
from sashizu_offline.targets import targets
from sashizu_offline.tokens import input_tokens

__all__ = ["analysis", "gather_analysis", "gather_words"]

_ANALYSIS_BYTES = {"review": 16_000, "security": 16_000, "tests": 28_000}
"""How long the answer of `analyze` may be where the budget says nothing: 4,000 to 7,000 tokens."""

_READ_AROUND = 12
"""Lines read before and after a hit."""


def analysis(conversation: Conversation) -> Result | None:
    for exchange in conversation.answers("analyze"):
        if not exchange.is_error and (result := read_lines(exchange.content)) is not None:
            return result
    return None


def gather_analysis(
    conversation: Conversation, job: Job, request: ModelRequest
) -> Iterator[ToolCall]:
    """First the analysis, and a look at files that are to be written; then, without it, files."""
    scope = list(conversation.brief.scope) or None
    if not conversation.exchanges:
        if "analyze" in conversation.tools:
            size = _analysis_bytes(conversation, job, request)
            checks = list(job.checks)
            yield conversation.call(1, "analyze", paths=scope, checks=checks, max_bytes=size)
        else:
            yield from _listings(conversation)
        yield from _looks(conversation)
    elif analysis(conversation) is None and not conversation.answers("list_files"):
        if "analyze" in conversation.tools and not readings(conversation):
            yield from _listings(conversation)
    elif conversation.answers("list_files") and len(_turns(conversation)) == 1:
        yield from _reads(conversation, request)


def _turns(conversation: Conversation) -> list[Exchange]:
    """The reads that are no look at a file to be written, one for the listing if there is none."""
    done = readings(conversation)
    return [*conversation.answers("list_files")[:1], *done]


def _analysis_bytes(conversation: Conversation, job: Job, request: ModelRequest) -> int:
    """What is left, less three calls of today's size, is shared by the analysis and the report."""
    most = _ANALYSIS_BYTES.get(job.name, 16_000)
    left = conversation.brief.tokens_left
    if left is None:
        return most
    return max(1_000, min(most, left - 3 * input_tokens(request) - 600))


def _listings(conversation: Conversation) -> Iterator[ToolCall]:
    if "list_files" in conversation.tools and "read_file" in conversation.tools:
        for number, path in enumerate(conversation.brief.scope or (None,), 1):
            yield conversation.call(number, "list_files", path=path, limit=400)


def _looks(conversation: Conversation) -> Iterator[ToolCall]:
    """What is at the places that are to be written: nothing, an earlier report, or a person's."""
    if "read_file" in conversation.tools and "write_file" in conversation.tools:
        for number, path in enumerate(targets(conversation), 50):
            yield conversation.call(number, "read_file", path=path, first=1, last=4)


def _reads(conversation: Conversation, request: ModelRequest) -> Iterator[ToolCall]:
    """Files to read one by one, as many as the budget bears."""
    left = conversation.brief.tokens_left
    room = 12 if left is None else max(1, min(12, (left - 4 * input_tokens(request)) // 3_000))
    names = [
        line
        for exchange in conversation.answers("list_files")
        if not exchange.is_error
        for line in exchange.content.split("\n")
        if line and not line.startswith("[") and not line.endswith("/")
    ]
    wanted = sorted(names, key=lambda name: (not name.endswith(".py"), name))
    for number, name in enumerate(wanted[:room], 1):
        yield conversation.call(number, "read_file", path=name)


def gather_words(
    conversation: Conversation, _job: Job, request: ModelRequest
) -> Iterator[ToolCall]:
    """First search, then read around what was found."""
    goal = conversation.brief.goal
    words, names = question_words(goal), file_names(goal)
    if not conversation.exchanges:
        yield from _searches(conversation, words, names)
        yield from _looks(conversation)
    elif not readings(conversation) and "read_file" in conversation.tools:
        yield from _reads_around(conversation, request)


def _searches(conversation: Conversation, words: list[str], names: list[str]) -> Iterator[ToolCall]:
    scope = conversation.brief.scope or (None,)
    if "read_file" in conversation.tools:
        for number, name in enumerate(names, 1):
            yield conversation.call(number, "read_file", path=name)
    if words and "codebase_search" in conversation.tools:
        yield conversation.call(20, "codebase_search", query=" ".join(words))
    if words and "grep" in conversation.tools:
        for number, path in enumerate(scope, 21):
            pattern = as_pattern(words)
            yield conversation.call(
                number, "grep", pattern=pattern, path=path, ignore_case=True, limit=60
            )
    if conversation.has_brief and "list_files" in conversation.tools:
        for number, path in enumerate(scope, 30):
            yield conversation.call(number, "list_files", path=path, limit=200)


def _reads_around(conversation: Conversation, request: ModelRequest) -> Iterator[ToolCall]:
    left = conversation.brief.tokens_left
    if left is not None and left < 6 * input_tokens(request):
        return
    found = Research.of(conversation)
    first: dict[str, int] = {}
    for hit in read_hits([*conversation.answers("grep"), *conversation.answers("codebase_search")]):
        first.setdefault(hit.path, hit.line)
    for number, path in enumerate(found.files[:4], 1):
        start = max(1, first.get(path, 1) - _READ_AROUND)
        yield conversation.call(
            number, "read_file", path=path, first=start, last=start + 4 * _READ_AROUND
        )
