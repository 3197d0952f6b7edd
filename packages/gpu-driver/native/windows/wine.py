"""Loads the Windows driver under Wine and has programs of Windows use it.

    python packages/gpu-driver/native/windows/wine.py .winpython

builds the driver for Wine, loads it, runs `tests/windows_checks.py` with the Windows Python that
`winpython.py` has put into that folder, and unloads it. Tests use what is here. Nothing outside of
a temporary folder is changed.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

NATIVE = Path(__file__).resolve().parent.parent
SOURCES = (NATIVE.parent / "src", NATIVE.parents[1] / "core" / "src")
CHECKS = NATIVE / "windows" / "tests" / "windows_checks.py"
WINE = Path("/usr/lib/wine/wine64")  # the program itself: its wrapper complains of 32 bits
SERVER = Path("/usr/lib/wine/wineserver64")
LIBRARIES = Path("/usr/lib/x86_64-linux-gnu/wine/x86_64-windows")
PYTEST = ("pytest", "_pytest", "py", "pluggy", "iniconfig", "packaging", "pygments")
SERVICE = "sashizu"
DRIVER = r"C:\windows\system32\drivers\sashizu.sys"
# How long the service manager waits for a service; its ten seconds are short on a busy machine.
PATIENCE = (r"HKLM\System\CurrentControlSet\Control", "/v", "ServicesPipeTimeout")
LIMIT = 300.0  # seconds, for one program
OPTIONS = (
    *("-q", "-p", "no:cacheprovider", "--noconftest", "-c", "NUL", "--import-mode=importlib"),
    *("-W", "error", "-W", "ignore::pytest.PytestUnknownMarkWarning"),
)


def missing(python: Path) -> str:
    """What is not there, as a sentence; empty if all is. `python`: the folder of the Python."""
    if not (WINE.exists() and SERVER.exists() and (LIBRARIES / "ntoskrnl.exe").exists()):
        return "there is no Wine: install wine64"
    if not (python / "python.exe").exists():
        script = "packages/gpu-driver/native/windows/winpython.py"
        return f"there is no Windows Python: run python3.11 {script} {python}"
    return ""


def spelled(path: Path) -> str:
    """A path of this machine as programs under Wine name it."""
    return "Z:" + str(path).replace("/", "\\")


class Wine:
    """A Windows of its own in a folder, up for as long as the block lasts.

    Its server stays for all that time, so that a driver stays loaded between two programs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._prefix = folder / "prefix"
        self._env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "WINEPREFIX": str(self._prefix),
            "WINEDEBUG": "-all",
            "WINEDLLOVERRIDES": "mscoree,mshtml=",  # or it asks for downloads
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPYCACHEPREFIX": spelled(folder / "compiled"),
        }

    def __enter__(self) -> Self:
        self._prefix.mkdir(parents=True)
        try:
            self._check("wineboot", "-i")
            self._check("reg", "add", *PATIENCE, "/t", "REG_SZ", "/d", f"{1000 * LIMIT:.0f}")
            # The first session ends before the next begins: a service manager that is still being
            # set up takes calls and never answers them.
            self._server("-w")
            self._server("-p")
            self._until_up()
        except BaseException:
            self._server("-k")
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server("-k")

    def load(self, driver: Path) -> None:
        """Install this file as a service, and start it."""
        shutil.copy(driver, self._prefix / "drive_c" / "windows" / "system32" / "drivers")
        words = ("type=", "kernel", "start=", "demand", "binPath=", DRIVER)
        self._check("sc", "create", SERVICE, *words)
        self._check("net", "start", SERVICE)

    def unload(self) -> None:
        """Stop it, which runs what the driver does at its end, and remove the service."""
        self._check("net", "stop", SERVICE)
        self._check("sc", "delete", SERVICE)

    def is_windows_10(self) -> None:
        """Tell programs from now on that they run on Windows 10; Wine begins with 7."""
        self._check("winecfg", "/v", "win10")

    def python(
        self,
        python: Path,
        words: Sequence[str],
        modules: Sequence[Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        limit_s: float = LIMIT,
    ) -> subprocess.CompletedProcess[str]:
        """Run the Windows Python; `modules` are folders that it shall find modules in.

        Two may run at once.

        Raises:
            TimeoutExpired: it took longer; it has been killed, and what it started may go on.
        """
        path = ";".join(map(spelled, modules))
        # it cannot write into a file of this machine, but into a pipe
        shell = ("bash", "-c", '"$@" 2>&1 | cat; exit "${PIPESTATUS[0]}"', "bash")
        words = (*shell, str(WINE), spelled(python / "python.exe"), *words)
        more = {**(env or {}), "PYTHONPATH": path}
        return self._run(*words, cwd=cwd, limit_s=limit_s, **more)

    def on_pipes(
        self, python: Path, words: Sequence[str], env: Mapping[str, str]
    ) -> tuple[list[str], dict[str, str]]:
        """The words and the environment that start it for whoever talks to it through pipes."""
        shell = ("bash", "-c", '{ "$@" 2>&1 >&3 3>&- | cat >&2; } 3>&1', "bash")
        words = [*shell, str(WINE), spelled(python / "python.exe"), *words]
        return words, {**self._env, **env}

    def checks(self, python: Path, *more: str) -> subprocess.CompletedProcess[str]:
        """Have the client check the loaded driver; `more` are options of pytest."""
        site = self._folder / "site"
        if not site.exists():
            _link_pytest(site)
        here = spelled(CHECKS.parent)  # and nothing above: other folders come and go
        roots = (f"--rootdir={here}", f"--confcutdir={here}")
        words = ("-m", "pytest", *OPTIONS, *roots, spelled(CHECKS), *more)
        return self.python(python, words, [NATIVE / "tests", site, *SOURCES])

    def _until_up(self) -> None:
        last = time.monotonic() + LIMIT
        while self._run(str(WINE), "sc", "query", "MountMgr").returncode:
            if time.monotonic() > last:
                raise RuntimeError(f"Wine's service manager was not there within {LIMIT:.0f} s")

    def _check(self, *words: str) -> None:
        ended = self._run(str(WINE), *words)
        if ended.returncode:
            said = ended.stdout.strip()
            raise RuntimeError(f"{' '.join(words)} ended with {ended.returncode}: {said}")

    def _run(
        self, *words: str, cwd: Path | None = None, limit_s: float = LIMIT, **env: str
    ) -> subprocess.CompletedProcess[str]:
        # Not a pipe: what Wine leaves in the background would keep it open for ever.
        with tempfile.TemporaryFile("w+b", dir=self._folder) as said:
            ended = subprocess.run(
                ["nice", "-n", "10", *words],
                env={**self._env, **env},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                timeout=limit_s,
                check=False,
                cwd=cwd or self._folder,
            )
            said.seek(0)
            text = said.read().decode("utf-8", "replace").replace("\r", "")
        return subprocess.CompletedProcess(words, ended.returncode, text)

    def _server(self, word: str) -> None:
        null = subprocess.DEVNULL
        words = [str(SERVER), word]
        subprocess.run(
            words, env=self._env, stdin=null, stdout=null, stderr=null, timeout=LIMIT, check=False
        )


def _link_pytest(site: Path) -> None:
    """A folder with pytest and what it needs, and nothing that is built for this machine."""
    site.mkdir()
    for name in PYTEST:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise RuntimeError(f"{name} is not installed here, and pytest needs it")
        origin = Path(spec.origin)
        found = origin.parent if origin.name == "__init__.py" else origin
        (site / found.name).symlink_to(found)


def main(words: list[str]) -> int:
    if len(words) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    import build

    python = Path(words[0]).resolve()
    if lack := build.missing() or missing(python):
        print(lack, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        driver = build.build(Path(folder) / "driver", wine=True)
        with Wine(Path(folder)) as wine:
            wine.load(driver)
            ended = wine.checks(python)
            print(ended.stdout)
            wine.unload()
    return ended.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
