"""A real browser, a real dashboard, and runs whose agents answer when they are told to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

AXE = ("axe-core", "4.14.1")
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ENOUGH_S = 60
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
FLAGS += ["--disable-dev-shm-usage"]
PROGRAM = Path(__file__).parents[1] / "programs" / "steered_run.py"
T = TypeVar("T")
SCRIPT = Path(sys.executable).with_name("sashizu")


def until(true: Callable[[], T], what: str = "") -> T:
    """Wait until something holds; what it gave."""
    end = time.monotonic() + ENOUGH_S
    while True:
        if found := true():
            return found
        if time.monotonic() > end:
            pytest.fail(f"waited {ENOUGH_S} s in vain: {what or true}")
        time.sleep(0.05)


class Run:
    """A run at work; `go` lets its agents have their next answer."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.id = process.stdout.readline().strip()
        assert self.id, "the run did not begin"

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def ended(self) -> str:
        """Let it come to its end; what it printed."""
        return self.process.communicate(timeout=ENOUGH_S)[0]


class Place:
    """A home, a workspace with a hostile name, and what was started there."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.workspace = folder / "<b>shop&amp;"
        self.workspace.mkdir()
        self._stack = stack
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder / "home"),
            "SASHIZU_HOME": str(folder / "state"),
        }

    def run(self, *names: str) -> Run:
        """Begin a run of agents with these names."""
        return Run(self._start([sys.executable, str(PROGRAM), str(self.workspace), *names]))

    def dashboard(self) -> tuple[str, subprocess.Popen[str]]:
        """Start a dashboard; the address that leads in, and its process."""
        file = self.folder / "address"
        file.unlink(missing_ok=True)
        words = ["dashboard", "--listen", "127.0.0.1:0", "--token-file", str(file)]
        process = self._start([str(SCRIPT), *words])
        until(lambda: file.exists() or process.poll() is not None, "the dashboard is ready")
        return file.read_text().strip(), process

    def sashizu(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(SCRIPT), *words],
            cwd=self.workspace,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=ENOUGH_S,
            check=True,
        )

    def _start(self, command: list[str]) -> subprocess.Popen[str]:
        with (self.folder / "stderr").open("a") as stderr:
            process = subprocess.Popen(
                command,
                cwd=self.workspace,
                env=self.env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self._stack.callback(_gone, process)
        return process


def _gone(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(tmp_path, stack)


class Page:
    """One window of the browser."""

    until = staticmethod(until)

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, address: str) -> None:
        self.driver.get(address)

    def enter(self, address: str) -> str:
        """Go in with the token; where the dashboard is."""
        self.driver.get(address)
        base = address.partition("/enter")[0]
        until(lambda: self.driver.current_url == f"{base}/", "the token is exchanged")
        return base

    def all(self, css: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def one(self, css: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, css)

    @property
    def text(self) -> str:
        return str(self.js("return document.body ? document.body.innerText : ''"))

    def shows(self, text: str) -> None:
        """Wait until the page has a text, without loading it again."""
        until(lambda: text in self.text, f"the page shows {text!r}")

    def js(self, script: str, *values: Any) -> Any:
        return self.driver.execute_script(script, *values)

    def look(self, *, width: int = 1280, dark: bool = False) -> None:
        """Be a screen of this width, dark or light."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def complaints(self) -> list[str]:
        """What the browser wrote to its console, such as that something was refused."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    steering = shutil.which("chromedriver")
    if program is None or steering is None:
        pytest.skip("Chromium or its driver is not installed (Debian: chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    profile = tmp_path_factory.mktemp("profile")
    for flag in [*FLAGS, f"--user-data-dir={profile}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(steering))
    try:
        driver.set_page_load_timeout(ENOUGH_S)
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def page(driver: webdriver.Chrome) -> Iterator[Page]:
    page = Page(driver)
    page.look()
    yield page
    driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
    driver.get("about:blank")
    page.complaints()


@pytest.fixture
def axe(from_npm: Callable[[str, str], Path]) -> Callable[[Page], list[str]]:
    """What axe finds wrong with a page, dark and light, for who does not see, or not well."""
    source = (from_npm(*AXE) / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")

    def judged(page: Page) -> list[str]:
        page.js(source)
        found = []
        for dark in (True, False):
            page.look(dark=dark)
            found += violations(page)
        return found

    def violations(page: Page) -> list[str]:
        found = page.driver.execute_async_script(
            "const done = arguments[0]; axe.run(document, {resultTypes: ['violations']})"
            ".then((found) => done(JSON.stringify(found.violations)))"
            ".catch((error) => done(JSON.stringify([{id: String(error), nodes: []}])))"
        )
        return [
            f"{one['id']}: {node['html'][:200]} {node.get('failureSummary', '')}"
            for one in json.loads(found)
            for node in one["nodes"] or [{"html": ""}]
        ]

    return judged
