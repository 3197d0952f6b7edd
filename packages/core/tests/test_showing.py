"""Lines of tools on their way to the display."""

from __future__ import annotations

from sashizu_core.ids import AgentId
from sashizu_core.redaction import Redactor
from sashizu_core.runtime.showing import shown_lines

AGENT = AgentId("agent")


def test_lines_are_shown_as_fast_as_somebody_reads_and_no_faster() -> None:
    shown: list[tuple[str, str]] = []
    times = [0.0]
    progress = shown_lines(
        lambda *said: shown.append(said), AGENT, Redactor(), clock=lambda: times[-1]
    )
    assert progress is not None
    for at, line in ((0.0, "one"), (0.05, "two"), (0.2, "three"), (0.21, "four")):
        times.append(at)
        progress(line)
    assert shown == [("agent", "one"), ("agent", "three")]


def test_no_secret_is_shown() -> None:
    shown: list[str] = []
    progress = shown_lines(lambda _, line: shown.append(line), AGENT, Redactor())
    assert progress is not None
    progress("password = 'correct-horse-9f8e7d6c5b4a'")
    assert "correct-horse" not in shown[0]


def test_where_nobody_looks_nothing_is_done() -> None:
    assert shown_lines(None, AGENT, Redactor()) is None
