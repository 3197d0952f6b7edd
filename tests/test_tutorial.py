"""The tutorial can be followed, step by step, by somebody who has nothing but the command."""

import os
import re
import subprocess
import sys
from pathlib import Path

TUTORIAL = Path(__file__).resolve().parent.parent / "docs" / "tutorial.md"
STEP = re.compile(
    r"^<!-- (file: (?P<file>\S+)|runs|exits (?P<code>\d+)) -->\n```\w+\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


def test_every_step_of_the_tutorial_does_what_it_says(tmp_path):
    env = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path / "home"),
        "SASHIZU_HOME": str(tmp_path / "state"),
    }
    here = tmp_path / "here"
    here.mkdir()
    said = ""

    for step in STEP.finditer(TUTORIAL.read_text("utf-8")):
        if step["file"]:
            (here / step["file"]).parent.mkdir(parents=True)
            (here / step["file"]).write_text(step["text"])
            continue
        run = subprocess.run(
            ["bash", "-ec", step["text"]],
            cwd=here,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        said += run.stdout + run.stderr
        assert run.returncode == int(step["code"] or 0), step["text"] + run.stdout + run.stderr

    assert "shop/prices.py:17" in said
    assert "discount: example" in said
    assert re.search(r"refused \d+ tokens: 1500 left", said)
    assert {path.name for path in (here / "shop").iterdir()} == {"prices.py"}
    assert (here / "report.json").is_file()
    assert (here / "sashizu-wordcount").is_dir()
