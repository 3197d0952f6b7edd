"""What a person sees on a terminal."""

import re

import pytest

ESCAPE = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|\][^\x07]*\x07)")
MODEL = ("--model", "openai/test")


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_the_live_display_fits_the_terminal_and_the_report_follows_it(place, service, columns):
    service.answer = "# Fine\n\n- **one**\n- two"

    code, seen = place.on_terminal(
        columns, "delegate-parallel", "plain,other", *MODEL, "--budget", "60000", **service.env
    )

    plain = ESCAPE.sub("", seen)
    live, _, report = seen.rpartition("\x1b[?25h")  # the cursor comes back before the report
    assert code == 0, seen
    assert "\x1b[?25l" in live
    assert "of 2 done" in plain
    assert "/60.0k" in plain
    assert report.index("plain: answered") < report.index("other: answered")
    assert "2 of 2 agents succeeded" in report
    lines = [line for line in re.split(r"[\r\n]+", ESCAPE.sub("", live)) if line.strip()]
    assert max(map(len, lines)) <= columns


def test_no_color_takes_colours_away(place, service):
    _, coloured = place.on_terminal(80, "delegate", "plain", *MODEL, **service.env)
    _, bare = place.on_terminal(80, "delegate", "plain", *MODEL, NO_COLOR="1", **service.env)

    colour = re.compile(r"\x1b\[[0-9;]*3[0-7][0-9;]*m")
    assert colour.search(coloured)
    assert not colour.search(bare)


def test_a_dumb_terminal_gets_plain_lines(place, service):
    code, seen = place.on_terminal(80, "delegate", "plain", *MODEL, TERM="dumb", **service.env)

    assert code == 0
    assert "\x1b" not in seen
    assert "sashizu: plain: started" in seen


def test_hostile_text_cannot_steer_the_terminal_through_the_rendered_answer(place, service):
    service.answer = "\x1b]0;owned\x07 [here](https://elsewhere.example) \x1b[2J[bold]x[/bold]"

    _, seen = place.on_terminal(80, "delegate", "plain", *MODEL, **service.env)

    assert "\x1b]0;" not in seen
    assert "\x1b]8;" not in seen
    assert "\x1b[2J" not in seen
    assert "[bold]x[/bold]" in ESCAPE.sub("", seen)
    assert "https://elsewhere.example" in ESCAPE.sub("", seen)
