"""A warm program is as the new one that the same words start."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import anyio
import pytest
from warm_programs import OFF

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked there")

TOLD = """\
import json, os, signal, sys, threading
print(json.dumps({
    "argv": sys.argv, "orig_argv": sys.orig_argv, "path": sys.path, "flags": [*sys.flags][:3],
    "dont_write": sys.dont_write_bytecode, "cwd": os.getcwd(), "env": dict(os.environ),
    "file": globals().get("__file__"), "name": __name__, "main": sys.modules["__main__"].__name__,
    "signals": {int(n): str(signal.getsignal(n)).split(" at ")[0] for n in signal.valid_signals()},
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "threads": threading.active_count(),
    "streams": [[s.encoding, s.errors, s.line_buffering, s.isatty(), s.mode, s.name, s.fileno()]
                for s in (sys.stdin, sys.stdout, sys.stderr)],
    "group": os.getpgid(0) == os.getpid(), "session": os.getsid(0) == os.getpid(),
    "descriptors": sorted(int(n) for n in os.listdir("/dev/fd"))[:3],
    "umask": os.umask(0), "read": sys.stdin.read(),
}))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "on_path").mkdir()
    (tmp_path / "on_path/of_a_test.py").write_text(TOLD)
    (tmp_path / "script.py").write_text(TOLD)
    return tmp_path


def both(warm, words, **options):
    """What the warm and the new program do."""
    # said in full: a library may have told the system of variables that Python does not know of
    options = {"capture_output": True, "timeout": 60, "env": {**os.environ}, **options}
    found = [each(words, **options) for each in (warm.run, subprocess.run)]
    return [(done.returncode, done.stdout, done.stderr) for done in found]


def is_warm(warm, words, **options):
    with warm.start(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **options
    ) as process:
        return type(process) is not subprocess.Popen


@pytest.mark.parametrize("how", ["-c", "-m", "script", "session", "minimal", "-I", "-P"])
def test_it_finds_the_same_around_it(warm, folder, how):
    env = {**os.environ, "PYTHONPATH": str(folder / "on_path"), "OF_THE_TEST": "sa\udcffme"}
    if how == "minimal":
        env = {"HOME": "/", "PYTHONPATH": "", "TZ": "Asia/Tokyo", "PYTHONDONTWRITEBYTECODE": "1"}
    words = {"-m": ["-m", "of_a_test"], "script": ["script.py"]}.get(how, ["-c", TOLD])
    command = [sys.executable, *([how] if how in ("-I", "-P") else []), *words, "one", "-c"]
    options = {"cwd": folder, "env": env, "start_new_session": how == "session"}

    new, other = both(warm, command, input=b"\xe2\x82\xac\n", **options)

    assert other[0] == 0, other[2]
    assert json.loads(new[1]) == json.loads(other[1])
    assert (new[0], new[2]) == (other[0], other[2])


ENDS = {
    "by itself": "print('out'); import sys; print('err', file=sys.stderr)",
    "with a number": "raise SystemExit(300)",
    "with words": "raise SystemExit('why')",
    "with nothing": "import sys; sys.exit()",
    "with an error": "def f():\n    1 / 0\nf()",
    "with a chain": "try:\n    1 / 0\nexcept Exception as e:\n    raise KeyError from e",
    "with bad syntax": "a b",
    "by a signal": "import os; os.kill(os.getpid(), 9)",
    "by Ctrl-C": "import os; os.kill(os.getpid(), 2); print('went on')",
    "by SIGTERM": "import os; os.kill(os.getpid(), 15); print('went on')",
    "at once": "import os; print('lost'); os._exit(3)",
    "with what was registered": "import atexit; atexit.register(print, 'later'); print('first')",
    "with its threads": (
        "import threading, time\n"
        "threading.Thread(target=lambda: (time.sleep(0.1), print('late'))).start()"
    ),
    "unheard": "import os, sys; r, w = os.pipe(); os.close(r); os.dup2(w, 1); print('x')",
}


@pytest.mark.parametrize("how", ENDS)
def test_it_ends_the_same(warm, tmp_path, how):
    new, other = both(warm, [sys.executable, "-c", ENDS[how]], cwd=tmp_path)

    assert new[:2] == other[:2]
    assert new[2] == other[2]


def test_a_script_that_is_installed_is_the_same(warm, tmp_path):
    script = tmp_path / "installed"
    script.write_text(f"#!{sys.executable}\n{TOLD}")
    script.chmod(0o755)

    new, other = both(warm, [str(script), "word"], cwd="/", stdin=subprocess.DEVNULL)

    assert is_warm(warm, [script])
    assert json.loads(new[1]) == json.loads(other[1])


def test_it_is_talked_with_signalled_and_waited_for_as_any_process(warm):
    code = textwrap.dedent("""\
        import signal, sys
        signal.signal(signal.SIGTERM, lambda *_: print("told", flush=True))
        for line in sys.stdin:
            print(line.strip().upper(), flush=True)
            signal.pause()
        raise SystemExit(5)
        """)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with warm.start([sys.executable, "-c", code], **pipes) as process:
        process.stdin.write("one\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ONE\n"
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        process.terminate()
        assert process.stdout.readline() == "told\n"
        process.stdin.close()
        assert process.wait(60) == 5
    with warm.start([sys.executable, "-c", "input()"], **pipes) as process:
        process.kill()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("options", "env"),
    [
        (["-E"], {}),
        (["-B"], {}),
        ([], {"PYTHONWARNINGS": "error"}),
        ([], {"LC_ALL": "C"}),
        ([], {OFF: "0"}),
    ],
    ids=str,
)
def test_what_cannot_be_the_same_is_started_anew(warm, monkeypatch, options, env):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert not is_warm(warm, [sys.executable, *options, "-c", ""])


def test_a_site_of_its_own_is_started_anew(warm, tmp_path):
    words = [sys.executable, "-c", ""]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    assert is_warm(warm, words, env=env)
    (tmp_path / "sitecustomize.py").write_text("")
    assert not is_warm(warm, words, env=env)


async def test_it_can_be_awaited(warm):
    code = "import sys; print(sys.stdin.read()[::-1]); print('err', file=sys.stderr); sys.exit(4)"
    text = b"many bytes" * 30_000
    async with await warm.open_process([sys.executable, "-I", "-c", code]) as process:
        seen = []

        async def hear():
            seen.extend([data async for data in process.stdout])

        async with anyio.create_task_group() as group:
            group.start_soon(hear)
            await process.stdin.send(text)
            await process.stdin.aclose()
        assert b"".join(seen) == text[::-1] + b"\n"
        assert await process.stderr.receive() == b"err\n"
        assert await process.wait() == 4
    async with await warm.open_process([sys.executable, "-c", "input()"]) as process:
        with anyio.move_on_after(0.01):
            await process.stdout.receive()
        assert process.returncode is None
        process.kill()
    assert process.returncode == -signal.SIGKILL
