"""The command `dashboard` as it is started, asked and ended, without a browser."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlencode

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and Unix sockets")
ENOUGH_S = 60
SCRIPT = Path(sys.executable).with_name("sashizu")
PROGRAM = Path(__file__).parent / "programs" / "steered_run.py"


class Place:
    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.stack = stack
        (folder / "work").mkdir()
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder / "home"),
            "SASHIZU_HOME": str(folder / "state"),
        }

    def start(self, *command: str | Path, **env: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command,
            cwd=self.folder / "work",
            env={**self.env, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.stack.callback(_gone, process)
        return process

    def run(self, *names: str) -> tuple[subprocess.Popen[str], str]:
        """A run that waits for lines, and its id."""
        process = self.start(sys.executable, PROGRAM, self.folder / "work", *names)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()


def _gone(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(tmp_path, stack)


class Dashboard:
    """A dashboard that was started, and the cookie that it gave."""

    def __init__(self, place: Place, **env: str) -> None:
        self._stack = place.stack
        self.process = place.start(SCRIPT, "dashboard", "--listen", "127.0.0.1:0", **env)
        assert self.process.stderr is not None
        self.said = self.process.stderr.readline()
        found = re.search(r"open http://127\.0\.0\.1:(\d+)(/enter\?token=(\S+))\n", self.said)
        assert found, self.said
        self.port, entry = int(found[1]), found[2]
        given = self.ask("GET", entry, cookie="").getheader("set-cookie", "")
        self.cookie = given.partition(";")[0]

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> HTTPResponse:
        """One request on a connection of its own, which stays open until the test ends."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=ENOUGH_S)
        self._stack.callback(connection.close)
        host = f"127.0.0.1:{self.port}"
        given = {"host": host, "origin": f"http://{host}", **headers}
        given = {name.replace("_", "-"): value for name, value in given.items()}
        if "cookie" not in given:
            given["cookie"] = self.cookie
        connection.request(method, path, body or None, given)
        answer = connection.getresponse()
        self._stack.callback(answer.close)
        return answer

    def text(self, path: str) -> str:
        return self.ask("GET", path).read().decode()

    def place(self, run_id: str) -> str:
        """Where the newest event of what a run's page shows stands; `.0` when none was heard."""
        found = re.search(r'data-place="([^"]+)"', self.text(f"/runs/{run_id}"))
        assert found
        return found[1]

    def form(self) -> str:
        found = re.search(r'name="form" value="([^"]+)"', self.text("/sql"))
        assert found
        return found[1]

    def heard(self, path: str, wanted: str, **headers: str) -> tuple[str, list[str]]:
        """Listen until a kind of event was heard: the last place, and the kinds of all."""
        answer = self.ask("GET", path, **headers)
        assert answer.status == 200
        place, kinds, end = "", [], time.monotonic() + ENOUGH_S
        while wanted not in kinds or not place:
            line = answer.readline().decode()
            assert line, "the stream has ended"
            assert "missed" not in line
            assert time.monotonic() < end, f"{wanted} did not come, only {kinds}"  # beats do
            if line.startswith("id: "):
                place = line[4:].strip()
            if line.startswith("data: {"):
                place = ""  # the one that comes after it is meant
                kinds += re.findall(r'"kind": "([a-z.]+)"', line)
        return place, kinds


def until(true, what: str) -> None:
    end = time.monotonic() + ENOUGH_S
    while not true():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.05)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_ends_in_good_order_while_somebody_listens(place, how):
    dashboard = Dashboard(place)
    run, run_id = place.run("reviewer")
    stream = dashboard.ask("GET", "/feed?after=x")
    assert stream.readline() == b"retry: 1000\n"

    dashboard.process.send_signal(how)
    out, err = dashboard.process.communicate(timeout=ENOUGH_S)

    assert (dashboard.process.returncode, out, err) == (0, "", "")
    assert run.poll() is None
    listed = place.start(SCRIPT, "runs", "status", run_id).communicate(timeout=ENOUGH_S)[0]
    assert '"status": "running"' in listed


def test_an_address_that_somebody_has_is_told(place):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        process = place.start(SCRIPT, "dashboard", "--listen", address)
        _, err = process.communicate(timeout=ENOUGH_S)

    assert process.returncode == 2
    assert f"cannot listen on {address}: address already in use" in err
    assert "--listen 127.0.0.1:0" in err


@pytest.mark.parametrize(
    "address", ["0.0.0.0:0", "example.org:80", "[::]:0", "8798", "127.0.0.1:x"]
)
def test_only_this_machine_is_listened_to(place, address):
    process = place.start(SCRIPT, "dashboard", "--listen", address)
    _, err = process.communicate(timeout=ENOUGH_S)

    assert process.returncode == 2
    assert "the dashboard listens on" in err


def test_the_address_goes_into_a_file_of_its_owner_instead_of_to_the_terminal(place):
    file = place.folder / "address"

    process = place.start(SCRIPT, "dashboard", "--listen", "127.0.0.1:0", "--token-file", str(file))
    assert process.stderr is not None
    said = process.stderr.readline()

    assert "token=" not in said
    assert str(file) in said
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/enter\?token=\S{43}\n", file.read_text())
    assert file.stat().st_mode & 0o777 == 0o600


def test_who_comes_back_hears_what_was_missed_and_nothing_twice(place):
    dashboard = Dashboard(place)
    run, run_id = place.run("reviewer")
    assert run.stdin is not None
    until(lambda: not dashboard.place(run_id).endswith(".0"), "the run is heard")
    first = dashboard.place(run_id)
    run.stdin.write("go\n")
    run.stdin.flush()
    place_seen, kinds = dashboard.heard(f"/feed?run={run_id}&after={first}", "budget.settled")
    assert kinds[:2] == ["model.answered", "budget.settled"]
    until(lambda: "Allow once" in dashboard.text(f"/runs/{run_id}"), "the agent asks")
    fields = {"form": dashboard.form(), "question": "1", "answer": "once"}
    done = dashboard.ask("POST", f"/runs/{run_id}/answer", urlencode(fields))
    assert done.getheader("location") == f"/runs/{run_id}?said=answered"
    _, later = dashboard.heard(f"/feed?run={run_id}", "tool.ended", last_event_id=place_seen)
    assert "model.answered" not in later
    assert later[:2] == ["tool.requested", "tool.decided"]


def test_a_request_that_names_another_host_or_brings_no_cookie_gets_nothing(place):
    dashboard = Dashboard(place)

    refused = [
        dashboard.ask("GET", "/", host="evil.example").status,
        dashboard.ask("GET", "/", cookie="").status,
        dashboard.ask("GET", "/feed", cookie="").status,
        dashboard.ask("POST", "/sql", "sql=select+1", origin="http://evil.example").status,
        dashboard.ask("POST", "/sql", "sql=select+1").status,
    ]

    assert refused == [421, 401, 401, 403, 400]


def test_without_a_record_runs_are_shown_as_far_as_they_were_watched(place):
    dashboard = Dashboard(place, SASHIZU_DISABLE="audit")
    _, run_id = place.run("reviewer")

    until(lambda: "1 of 1 agents at work" in dashboard.text("/"), "the run is watched")

    page = dashboard.text(f"/runs/{run_id}")
    assert "sashizu-audit" in page
    assert "reviewer" in page


def test_a_run_that_was_killed_is_lost_and_told_from_the_record(place):
    dashboard = Dashboard(place)
    run, run_id = place.run("reviewer")
    until(lambda: run_id in dashboard.text("/"), "the run is watched")

    run.kill()

    until(lambda: "No run is at work" in dashboard.text("/"), "the run is seen to be gone")
    until(lambda: "not checked" in dashboard.text(f"/runs/{run_id}"), "its record is told")
    page = dashboard.text(f"/runs/{run_id}")
    assert '<dd class="bad">lost</dd>' in page
    assert "The process of this run is gone" in page
