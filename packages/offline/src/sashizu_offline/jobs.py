"""What kind of work is asked for: by the agent's name, its role, the goal and the criteria."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sashizu_core.prompt import Brief

from sashizu_offline.findings import Check

__all__ = ["JOBS", "Job", "choose_job"]


@dataclass(frozen=True, slots=True)
class Job:
    """A kind of work. `words` speak for it; `limits` says what the model can not do of it."""

    name: str
    title: str
    checks: tuple[Check, ...]
    words: frozenset[str]
    limits: str


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


REVIEW = Job(
    "review",
    "Code review",
    ("review",),
    frozenset(
        ("review", "reviewer", "quality", "bug", "bugs", "defect", "defects", "lint", "refactor")
    ),
    "Design, naming, algorithms, performance and whether the code does what its users want are not "
    "judged.",
)
SECURITY = Job(
    "security",
    "Security audit",
    ("security",),
    _words(
        "security secure vulnerability vulnerabilities audit attack attacker secret secrets "
        "exploit injection owasp weakness weaknesses sec pentest cve"
    ),
    "Values are followed within one function only. Known vulnerabilities of dependencies, the "
    "configuration of servers, and logic such as who may see what, are not judged.",
)
TESTS = Job(
    "tests",
    "Derived tests",
    ("tests",),
    frozenset(("test", "tests", "testing", "pytest", "coverage", "untested", "unittest")),
    "A test is written only where the code or its documentation says what is expected; nothing was "
    "run. What needs objects, files, a network or a third-party package is left.",
)
RESEARCH = Job(
    "research",
    "What the files say",
    (),
    _words(
        "research researcher question explain find where how understand architecture document "
        "describe summarise summarize investigate learn overview"
    ),
    "Files were found by their words, not by their meaning; nothing is concluded from them.",
)
JOBS = {job.name: job for job in (REVIEW, SECURITY, TESTS, RESEARCH)}

_BY_AGENT = {
    "code-reviewer": REVIEW,
    "sec-audit": SECURITY,
    "test-gen": TESTS,
    "researcher": RESEARCH,
}


def _score(job: Job, text: str) -> int:
    return sum(word in job.words for word in re.findall(r"[a-z]+", text.lower()))


def choose_job(brief: Brief) -> Job:
    """The kind of work that most of the words speak for; research where none does.

    The name of a shipped agent decides at once. The goal counts twice: it is the task itself.
    """
    if brief.agent in _BY_AGENT:
        return _BY_AGENT[brief.agent]
    about = " ".join((brief.agent, brief.role, *brief.criteria))
    scores = {job.name: 2 * _score(job, brief.goal) + _score(job, about) for job in JOBS.values()}
    best = max(scores.values())
    if best == 0:
        return RESEARCH
    return next(JOBS[name] for name, score in scores.items() if score == best)
