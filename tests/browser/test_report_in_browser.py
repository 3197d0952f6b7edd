"""The page of `sashizu report` in a real browser, made while a run is at work and after it."""

import pytest

pytestmark = pytest.mark.browser


@pytest.fixture
def run(place):
    """A run in which agents wait for answers of their models, after one was refused a call."""
    run = place.run("reviewer", "writer")
    run.go()
    return run


def reported(place, page) -> None:
    place.sashizu("report", "last", "-o", "report.html", "--force")
    page.open((place.workspace / "report.html").as_uri())


def test_a_run_at_work_is_shown_as_far_as_it_is(place, page, run):
    page.until(lambda: '"questions": [\n    {' in place.sashizu("runs", "status", "last").stdout)

    reported(place, page)

    assert page.one("h1").text == f"Run {run.id}"
    assert "no end on record" in page.text
    assert len(page.all("rect.life")) == 2
    assert len(page.all("rect.model")) == 2
    assert page.complaints() == []


def test_a_report_can_be_used_by_who_sees_little_or_nothing(place, page, run, axe):
    reported(place, page)
    page.one("summary").click()

    assert axe(page) == []


def test_a_report_is_no_wider_than_the_screen(place, page, run):
    reported(place, page)

    for width in (320, 390, 1280):
        page.look(width=width)
        assert page.js("return document.documentElement.scrollWidth") <= width


def test_a_report_runs_no_script_and_shows_hostile_text(place, page, run):
    reported(place, page)

    assert "<b>shop&amp;" in page.text
    assert page.all("script, img, main b") == []
    assert page.js("return performance.getEntriesByType('resource').length") == 0
