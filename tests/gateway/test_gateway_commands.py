"""The commands `gateway` and `exec-with-budget`, as processes."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest
from warm_programs import Warm

SCRIPT = Path(sys.executable).with_name("sashizu")
ASKS = """
import json, os, sys, urllib.request
url, key = os.environ["OPENAI_BASE_URL"], os.environ["OPENAI_API_KEY"]
statuses = []
for number in range(int(sys.argv[1])):
    body = json.dumps({"model": "gpt-5", "input": "hello", "max_output_tokens": 500}).encode()
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{url}/responses", body, headers)) as a:
            a.read()
            statuses.append(a.status)
    except urllib.error.HTTPError as error:
        statuses.append(error.code)
        sys.stderr.write(error.read().decode())
print(json.dumps({"statuses": statuses, "environment": dict(os.environ)}))
sys.exit(int(sys.argv[2]))
"""


LEAVES = """
import json, os, urllib.request
url, key = os.environ["OPENAI_BASE_URL"], os.environ["OPENAI_API_KEY"]
told = {"model": "gpt-5", "input": "hello", "metadata": {"pid": str(os.getpid())}}
headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
body = json.dumps(told).encode()
urllib.request.urlopen(urllib.request.Request(f"{url}/responses", body, headers))
"""


def _until_gone(pid: int) -> None:
    """Wait until a process has ended and whoever started it knows."""
    for _ in range(3000):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        counting = self.path.endswith("/input_tokens")
        used = self.server.usage  # type: ignore[attr-defined]
        told = {"input_tokens": 400} if counting else {"status": "completed", "usage": used}
        body = json.dumps(told).encode()
        self.server.keys.append(self.headers["authorization"])  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if "pid" in asked.get("metadata", {}):
            _until_gone(int(asked["metadata"]["pid"]))
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.keys = []  # type: ignore[attr-defined]
    server.usage = {"input_tokens": 400, "output_tokens": 100}  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@dataclass(frozen=True)
class Place:
    """A workspace and its environment, and how programs start there."""

    at: tuple[Path, dict[str, str]]
    warm: Warm


@pytest.fixture
def place(tmp_path: Path, upstream: ThreadingHTTPServer, warm: Warm) -> Place:
    config = tmp_path / "config" / "sashizu"
    config.mkdir(parents=True)
    (config / "sashizu.toml").write_text(
        f"[gateway.openai]\nbase_url = 'http://127.0.0.1:{upstream.server_port}/v1'\n"
        "key_env = 'THE_KEY'\n"
    )
    (tmp_path / "work").mkdir()
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "SASHIZU_HOME": str(tmp_path / "state"),
        "THE_KEY": "sk-real-0123456789",
    }
    return Place((tmp_path / "work", env), warm)


def run(place: Place, *words: str, expected: int = 0) -> subprocess.CompletedProcess[str]:
    folder, env = place.at
    found = place.warm.run(
        [str(SCRIPT), *words],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert found.returncode == expected, found.stderr
    return found


def test_a_program_spends_no_more_than_its_budget(place, upstream):
    words = ["exec-with-budget", "--budget", "2400", "--", sys.executable, "-c", ASKS, "8", "0"]

    found = run(place, *words)

    statuses = json.loads(found.stdout)["statuses"]
    assert statuses.count(200) == 4
    assert statuses[4:] == [400] * 4
    assert "sashizu: used 2,000 tokens of 2,400" in found.stderr
    assert "left" in found.stderr


def test_a_program_that_ends_before_its_answer_has_come_pays_the_bill(place, upstream):
    found = run(place, "exec-with-budget", "--budget", "90000", "--", sys.executable, "-c", LEAVES)

    assert "used 500 tokens of 90,000, 1 requests" in found.stderr
    assert "in doubt" not in found.stderr


def test_what_no_bill_said_is_charged_and_told(place, upstream):
    upstream.usage = None
    words = ["exec-with-budget", "--budget", "9000", "--", sys.executable, "-c", ASKS, "1", "0"]

    found = run(place, *words)

    (line,) = [line for line in found.stderr.splitlines() if "in doubt" in line]
    tokens = line.split()[2]
    assert line.endswith(f"{tokens} tokens ({tokens} in doubt: no bill came) in 1 requests")
    assert f"sashizu: used {tokens} tokens of 9,000, 1 requests" in found.stderr
    assert int(tokens.replace(",", "")) > 500


def test_a_bill_above_its_hold_ends_what_a_program_may_do_and_is_told(place, upstream):
    upstream.usage = {"input_tokens": 40_000, "output_tokens": 100}
    words = ["exec-with-budget", "--budget", "9000", "--", sys.executable, "-c", ASKS, "2", "0"]

    found = run(place, *words)

    assert json.loads(found.stdout)["statuses"] == [200, 400]
    assert "used 40,100 tokens of 9,000" in found.stderr
    assert "sashizu: warning: a provider billed " in found.stderr
    assert "more than was held for its calls" in found.stderr


def test_a_window_that_is_nearly_used_up_is_told_before_a_program_starts(place, upstream):
    run(place, "budget", "set", "--day", "5000")
    words = ["exec-with-budget", "--", sys.executable, "-c", ASKS]
    run(place, *words, "8", "0")

    found = run(place, *words, "1", "0")

    told = found.stderr.splitlines()[0]
    assert told.startswith("sashizu: nearly used up: day ")
    assert ": 1,000 of 5,000 tokens left, starts anew " in told


def test_what_programs_spend_counts_in_a_window_of_all_runs(place, upstream):
    run(place, "budget", "set", "--day", "1450")
    ask = ["exec-with-budget", "--", sys.executable, "-c", ASKS]

    first = run(place, *ask, "1", "0")
    second = run(place, *ask, "2", "0")

    assert json.loads(first.stdout)["statuses"] == [200]
    assert json.loads(second.stdout)["statuses"] == [200, 400]
    assert "'sashizu budget set --day LIMIT' changes it" in second.stderr
    status = json.loads(run(place, "budget", "status", "--json").stdout)
    assert status["windows"][0]["spent"]["tokens"] == 1000
    assert status["windows"][0]["held"]["tokens"] == 0

    run(place, "budget", "set", "--day", "1000")
    refused = run(place, *ask, "1", "0", expected=2)
    assert "nothing was started" in refused.stderr


def test_dollars_of_a_window_need_the_price_of_what_a_program_asks_for(place, upstream):
    run(place, "budget", "set", "--month", "5usd")
    body = ASKS.replace("gpt-5", "nobody-knows")

    found = run(place, "exec-with-budget", "--", sys.executable, "-c", body, "1", "0")

    assert json.loads(found.stdout)["statuses"] == [400]
    assert "no price is known for 'openai/nobody-knows'" in found.stderr
    assert upstream.keys == []


def test_a_program_gets_no_key_of_the_service(place, upstream):
    folder, env = place.at
    with (folder.parent / "config/sashizu/sashizu.toml").open("a") as file:
        file.write("headers = {'x-team' = '$TEAM_KEY'}\n")
    env["TEAM_KEY"] = "sk-real-of-the-team"
    words = ["exec-with-budget", "--", sys.executable, "-c", ASKS, "1", "0"]

    found = run(place, *words)

    environment = json.loads(found.stdout)["environment"]
    assert "THE_KEY" not in environment
    assert "sk-real" not in json.dumps(environment)
    assert environment["OPENAI_API_KEY"].startswith("sk-sashizu-")
    assert upstream.keys == ["Bearer sk-real-0123456789"]


def test_a_program_behind_a_proxy_reaches_the_gateway_without_it(place, upstream):
    _, env = place.at
    env["http_proxy"] = "http://127.0.0.1:9"
    env["no_proxy"] = "127.0.0.1"  # for the gateway, whose service is on this machine as well
    alone = "import os; [os.environ.pop(n, 0) for n in ('no_proxy',)]\n" + ASKS

    found = run(place, "exec-with-budget", "--", sys.executable, "-c", alone, "1", "0")

    assert json.loads(found.stdout)["statuses"] == [200]


def test_the_exit_code_is_that_of_the_program(place):
    run(
        place, "exec-with-budget", "--", sys.executable, "-c", "import sys; sys.exit(7)", expected=7
    )


def test_a_program_that_a_signal_ends_has_the_code_of_a_shell(place):
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"

    run(place, "exec-with-budget", "--", sys.executable, "-c", code, expected=137)


def test_a_program_that_is_not_there_is_told(place):
    found = run(place, "exec-with-budget", "--", "no-such-program", expected=127)

    assert "'no-such-program' cannot be started" in found.stderr


def test_a_program_is_ended_at_its_deadline(place):
    code = "import time; time.sleep(60)"

    run(
        *(place, "exec-with-budget", "--deadline", "1s", "--", sys.executable, "-c", code),
        expected=124,
    )


def test_without_a_service_nothing_is_started(place):
    folder, env = place.at
    del env["THE_KEY"]

    found = run(place, "exec-with-budget", "--", "touch", "made", expected=2)

    assert "THE_KEY" in found.stderr
    assert not (folder / "made").exists()


def test_what_a_program_asked_for_is_on_record(place):
    words = ["exec-with-budget", "--budget", "50000", "--", sys.executable, "-c", ASKS, "2", "0"]
    run(place, *words)

    found = run(
        place,
        *("audit", "sql", "--format", "json"),
        "select kind, count(*) as number from events "
        "where kind like 'model.%' or kind like 'budget.%' or kind like 'run.%' group by 1",
    )

    counted = {row["kind"]: row["number"] for row in json.loads(found.stdout)}
    assert counted == {
        "run.started": 1,
        "run.ended": 1,
        "budget.held": 2,
        "model.requested": 2,
        "model.answered": 2,
        "budget.settled": 2,
    }


def test_a_gateway_serves_clients_with_a_token_each_until_it_is_told_to_end(place, tmp_path):
    folder, env = place.at
    tokens = tmp_path / "tokens.json"
    words = ["gateway", "--listen", "127.0.0.1:0", "--client", "a", "--client", "b"]
    words += ["--budget", "50000", "--budget", "b=800", "--token-file", str(tokens)]
    process = place.warm.start(
        [str(SCRIPT), *words], cwd=folder, env=env, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        first = process.stderr.readline()
        assert "listening on http://127.0.0.1:" in first
        assert str(tokens) in process.stderr.readline()
        assert tokens.stat().st_mode & 0o777 == 0o600
        told = json.loads(tokens.read_text())
        body = {"model": "gpt-5", "input": "hi", "max_output_tokens": 500}
        statuses = {}
        with httpx2.Client(base_url=told["base_url"], trust_env=False) as client:
            for name, token in told["tokens"].items():
                headers = {"authorization": f"Bearer {token}"}
                asked = [client.post("/responses", json=body, headers=headers) for _ in range(2)]
                statuses[name] = [answer.status_code for answer in asked]
        shown = run(place, "runs", "list")
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert statuses == {"a": [200, 200], "b": [200, 400]}
    assert "running" in shown.stdout
    assert "a: 1,000 tokens in 2 requests" in rest
    assert "1 refused" in rest
    assert not any(token in first + rest for token in told["tokens"].values())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--listen", "0.0.0.0:80"], "this machine only"),
        (["--budget", "nobody=5", "--client", "a"], "no --client"),
        (["--budget", "lots"], "cannot read"),
        (["--openai-url", "nowhere"], "no base URL"),
        (["--openai-url", "http://host:99999/v1"], "no base URL"),
        (["--client", ""], "name of a client"),
        (["--client", "a\x1b[31m"], "name of a client"),
    ],
)
def test_what_cannot_be_meant_is_told(place, words, said):
    found = run(place, "gateway", *words, expected=2)

    assert said in " ".join(found.stderr.split())


def test_a_call_that_the_end_of_the_gateway_cuts_is_booked_before_its_agent_ends(
    place, tmp_path, upstream
):
    folder, env = place.at
    came, go_on = threading.Event(), threading.Event()

    class Slow(Handler):
        def do_POST(self) -> None:
            came.set()
            go_on.wait(60)

    upstream.RequestHandlerClass = Slow
    tokens = tmp_path / "tokens.json"
    words = ["gateway", "--listen", "127.0.0.1:0", "--budget", "50000"]
    words += ["--token-file", str(tokens)]
    process = place.warm.start(
        [str(SCRIPT), *words], cwd=folder, env=env, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        for _ in range(2):
            process.stderr.readline()
        told = json.loads(tokens.read_text())
        asking = threading.Thread(target=ask_and_be_cut, args=(told,))
        asking.start()
        assert came.wait(60)
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=60)
        asking.join()
    finally:
        go_on.set()
        process.kill()
        process.wait()

    assert process.returncode == 0, rest
    sql = "select kind, attrs from events where agent_id is not null order by ts_ns, seq"
    found = json.loads(run(place, "audit", "sql", "--format", "json", sql).stdout)
    kinds = [event["kind"] for event in found]
    assert kinds[-2:] == ["budget.settled", "agent.ended"]
    settled, ended = (json.loads(event["attrs"]) for event in found[-2:])
    assert settled["in_doubt"] is True
    assert ended["doubtful_tokens"] > 500
    assert ended["requests"] == 1


def ask_and_be_cut(told) -> None:
    body = {"model": "gpt-5", "input": "hi", "max_output_tokens": 500}
    (token,) = told["tokens"].values()
    with httpx2.Client(base_url=told["base_url"], trust_env=False, timeout=60) as client:
        try:
            client.post("/responses", json=body, headers={"authorization": f"Bearer {token}"})
        except httpx2.HTTPError:
            return
