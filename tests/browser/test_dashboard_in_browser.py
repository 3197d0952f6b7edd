"""The dashboard in a real browser, with runs at work."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from selenium.common.exceptions import JavascriptException
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.browser


@pytest.fixture
def base(place, page) -> str:
    """Where a dashboard is in which the page stands."""
    address, _ = place.dashboard()
    return page.enter(address)


def in_browser(page, base, run) -> None:
    page.open(f"{base}/runs/{run.id}")
    page.shows("Live")


def answered(page, answer: str) -> None:
    """Answer the first question that the page shows."""
    page.until(lambda: page.all(f"button[value={answer}]"))
    page.all(f"button[value={answer}]")[0].click()
    page.shows("The question was answered.")


def test_a_run_that_begins_appears_with_its_budget_and_moves(place, page, base):
    page.shows("No run is at work.")
    run = place.run("reviewer", "writer")
    page.shows(run.id)
    page.shows("of 100,000")
    page.shows("2 of 2 agents at work")
    assert page.one("meter[aria-label^='Tokens: ']").get_attribute("value") == "0"

    run.go()

    page.until(lambda: int(page.one("meter[aria-label^='Tokens: ']").get_attribute("value")) > 0)
    page.until(lambda: len(page.all(".question")) == 2)
    assert page.driver.title.startswith("(2) ")
    assert page.one("#announce").get_attribute("textContent").startswith("2 questions wait")
    assert page.complaints() == []


def test_events_come_as_they_happen_and_the_parts_of_the_report_follow(place, page, base):
    run = place.run("reviewer")
    in_browser(page, base, run)
    before = len(page.all("rect.model"))

    run.go()
    answered(page, "once")
    page.shows("Live")
    run.go()

    page.until(lambda: "tool.ended" in page.one("#events").text)
    page.until(lambda: len(page.all("rect.model")) > before)
    page.until(lambda: len(page.all("rect.tool")) >= 1)
    page.shows("allowed once by control socket")
    run.ended()
    page.shows("The run has ended")
    page.until(lambda: "61" in page.one("section[aria-labelledby=artifacts]").text)
    page.until(lambda: "agent.ended" in page.one("#events").text)
    assert page.complaints() == []


def test_what_is_denied_is_told_with_its_reason(place, page, base):
    run = place.run("reviewer")
    in_browser(page, base, run)

    run.go()
    answered(page, "deny")

    refused = "section[aria-labelledby=refused]"
    page.until(lambda: "security.denied" in page.one(refused).text)
    assert "refused when asked by control socket" in page.one(refused).text


def test_a_run_is_ended_from_the_page(place, page, base):
    run = place.run("reviewer", "writer")
    in_browser(page, base, run)

    page.one("#ending summary").click()
    page.one("#ending .danger").click()

    page.shows("It was asked to end.")
    assert "cancelled" in run.ended()
    page.shows("cancelled")


def test_one_agent_is_ended_and_the_other_goes_on(place, page, base):
    run = place.run("reviewer", "writer")
    in_browser(page, base, run)
    page.shows("End one agent")

    page.until(lambda: page.all("#ending > details:nth-of-type(2) > summary"))
    page.one("#ending > details:nth-of-type(2) > summary").click()
    one = page.one("#ending li")
    name = one.find_element("tag name", "strong").text
    one.find_element("tag name", "summary").click()
    one.find_element("css selector", ".danger").click()

    page.shows("It was asked to end.")
    run.go()
    page.until(lambda: page.all(".question"))
    other = {"reviewer": "writer", "writer": "reviewer"}[name]
    assert other in page.one(".question").text
    page.until(lambda: "cancelled" in page.one("#tree + .wide").text)


def test_nothing_that_agents_say_becomes_more_than_text(place, page, base):
    run = place.run("reviewer")
    in_browser(page, base, run)
    run.go()
    answered(page, "once")
    run.go()
    run.go()
    page.until(lambda: "unknown_tool" in page.one("#events").text)

    for path in ("/", f"/runs/{run.id}", "/history"):
        page.open(f"{base}{path}")
        page.until(lambda: "<b>shop&amp;" in page.text)
        assert page.all("main img, main b:not(#events b), main script") == []
        assert "owned" not in page.driver.title
        assert "\u202e" not in page.text
    assert page.complaints() == []


def test_the_browser_itself_refuses_to_make_markup_of_text(place, page, base):
    with pytest.raises(JavascriptException, match="TrustedHTML"):
        page.js("document.body.innerHTML = '<b>x</b>'")
    page.js("const s = document.createElement('a'); s.id = 'x'; document.body.append(s)")
    with pytest.raises(JavascriptException, match="TrustedScript"):
        page.js("document.getElementById('x').setAttribute('onclick', 'document.title = 1')")


def test_what_came_while_a_page_was_paused_comes_once_when_it_goes_on(place, page, base):
    run = place.run("reviewer")
    in_browser(page, base, run)
    page.one("#pause").click()
    assert page.one("#pause").get_attribute("aria-pressed") == "true"
    before = page.one("#events").text

    run.go()
    page.until(lambda: '"questions": [\n    {' in place.sashizu("runs", "status", "last").stdout)
    assert page.one("#events").text == before
    page.one("#pause").click()

    page.until(lambda: "model.answered" in page.one("#events").text)
    page.until(lambda: page.all(".question"))
    assert page.one("#events").text.count("model.answered") == 1


def test_several_runs_are_shown_one_dies_and_the_dashboard_stays(place, page, base):
    first, second = place.run("reviewer"), place.run("writer")
    page.until(lambda: len(page.all("#at-work article")) == 2)
    assert first.id in page.one("#at-work").text

    first.process.kill()

    page.until(lambda: len(page.all("#at-work article")) == 1)
    assert second.id in page.one("#at-work").text
    page.until(lambda: "lost" in page.one(f"tr[data-key='{first.id}']").text)
    page.open(f"{base}/runs/{first.id}")
    page.shows("The process of this run is gone")
    assert page.one("section[aria-labelledby=summary] .bad").text == "lost"


def test_focus_and_what_was_opened_stay_while_the_page_changes(place, page, base):
    run = place.run("reviewer")
    in_browser(page, base, run)
    page.until(lambda: page.all("#ending summary"))
    page.js("document.querySelector('#ending summary').focus()")
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)

    run.go()
    page.until(lambda: page.all(".question"))

    assert page.js("return document.activeElement.textContent") == "End this run"
    assert page.js("return document.querySelector('#ending details').open")


def test_the_keyboard_leads_to_the_page_first(place, page, base):
    page.one("body").send_keys(Keys.TAB)

    assert page.driver.switch_to.active_element.text == "Skip to the page"
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert page.js("return document.activeElement.id") == "main"


def test_sql_is_asked_with_the_keyboard_and_refused_in_words(place, page, base):
    place.run("reviewer")
    page.open(f"{base}/sql")

    box = page.one("#sql")
    box.send_keys("select kind, count(*) as many from events where kind = 'run.started' group by 1")
    box.send_keys(Keys.CONTROL, Keys.ENTER)
    page.shows("1 row")
    assert page.one("#result tbody").text == "run.started 1"
    box = page.one("#sql")
    box.clear()
    box.send_keys("delete from events")
    page.one("main button").click()

    page.shows("only SELECT is allowed")
    assert page.one("[role=alert]").text.startswith("only SELECT")


def test_without_the_token_there_is_a_door_and_with_it_a_way_in(place, page):
    address, _ = place.dashboard()
    base, _, token = address.partition("/enter?token=")
    page.open(f"{base}/history")
    page.one("#token").send_keys("wrong", Keys.ENTER)
    page.shows("That is not the token")

    page.one("#token").send_keys(token, Keys.ENTER)

    page.shows("Runs at work")
    assert "token" not in page.driver.current_url
    assert page.js("return document.cookie") == ""


def test_a_dashboard_that_was_started_anew_says_that_it_wants_its_token(place, page):
    address, process = place.dashboard()
    page.enter(address)
    page.shows("Live")

    process.kill()

    page.shows("The connection is lost; trying again")


def test_no_page_is_wider_than_the_screen(place, page, base):
    run = place.run("reviewer", "writer")
    page.shows(run.id)
    run.go()
    page.until(lambda: len(page.all(".question")) == 2)

    for path in ("/", f"/runs/{run.id}", "/history", "/sql", "/enter"):
        page.open(f"{base}{path}")
        for width in (320, 390, 1280):
            page.look(width=width)
            assert page.js("return document.documentElement.scrollWidth") <= width, path
            sizes = "return [...document.querySelectorAll('button')].map((b) => b.offsetHeight)"
            assert all(height == 0 or height >= 24 for height in page.js(sizes)), path


def test_no_page_is_hard_to_use_for_who_sees_little_or_nothing(place, page, base, axe):
    run = place.run("reviewer", "writer")
    run.go()
    page.until(lambda: len(page.all(".question")) == 2)
    found = [*axe(page)]
    in_browser(page, base, run)
    answered(page, "deny")
    page.shows("Live")
    found += axe(page)
    for path in ("/history", "/sql?q=select%201", "/enter", "/nothing"):
        page.open(f"{base}{path}")
        found += axe(page)
    page.open(f"{base}/sql?q=select%20kind%20from%20events")
    page.one("main button").click()
    page.shows("rows")
    found += axe(page)

    assert found == []


ATTACK = """<!DOCTYPE html><title>elsewhere</title>
<iframe id="frame" src="{base}/"></iframe>
<form id="form" method="post" action="{base}/runs/{run}/cancel" target="sent"></form>
<iframe name="sent"></iframe>
<script>
document.getElementById("form").submit();
const told = {{}};
const tries = [
  fetch("{base}/", {{credentials: "include"}}).then(() => "read", () => "refused"),
  fetch("{base}/runs/{run}/cancel", {{method: "POST", mode: "no-cors", credentials: "include"}}),
  new Promise((done) => {{
    const source = new EventSource("{base}/feed", {{withCredentials: true}});
    source.onopen = () => done("heard");
    source.onerror = () => done("refused");
  }}),
];
Promise.allSettled(tries).then((all) => {{ document.title = JSON.stringify(all); }});
</script>"""


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[str]]]:
    """Another server of this machine, which says what it is given."""
    said: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = said[0].encode()
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", said
        server.shutdown()
        thread.join()


def test_a_page_of_another_server_can_do_and_read_nothing(place, page, base, elsewhere):
    run = place.run("reviewer")
    page.shows(run.id)
    address, said = elsewhere
    said.append(ATTACK.format(base=base, run=run.id))

    page.open(f"{address}/")

    page.until(lambda: "fulfilled" in page.driver.title)
    assert "read" not in page.driver.title
    assert "heard" not in page.driver.title
    assert page.driver.title.count("refused") == 2
    page.open(f"{base}/runs/{run.id}")
    page.shows("running")
    run.go()
    page.until(lambda: page.all(".question"))
    assert run.process.poll() is None
