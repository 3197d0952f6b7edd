"""The files of a registration: what they hold, and writing them without harming others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sashizu_core.errors import SashizuError, UsageError

from sashizu_winai.hosting.manifest import CLSID
from sashizu_winai.registry.answers import ServerAnswers
from sashizu_winai.registry.appx import ALIAS, LOGOS, appx_manifest, logo
from sashizu_winai.registry.bundle import (
    PROGRAM,
    SOURCE,
    bundle_manifest,
    bundle_of,
    json_bytes,
)

__all__ = ["BUNDLE", "MANIFEST", "Change", "PlannedFile", "planned", "registration_files", "write"]

BUNDLE = "sashizu.mcpb"
MANIFEST = "manifest.json"
"""What `odr mcp add` takes: the manifest of the bundle, with the program where it is."""

Change = Literal["new", "same", "other"]


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """One file, and what is there now: nothing, the same, or something else."""

    name: str
    content: bytes
    change: Change


def registration_files(
    answers: ServerAnswers,
    *,
    folder: Path,
    python: str,
    words: Sequence[str],
    publisher: str,
    actions: Mapping[str, Any] | None,
) -> dict[str, bytes]:
    """All files by their path, with `/`.

    Args:
        answers: what the server says of itself.
        folder: where they will be.
        python: the interpreter that has sashizu.
        words: further words for `sashizu mcp-server`, such as `--budget 2usd`.
        publisher: see `appx_manifest`.
        actions: the manifest of hosted agents; None for none.

    Raises:
        UsageError: the publisher is no subject.
    """
    bundle, here = (
        bundle_manifest(
            answers, kind="python", entry=PROGRAM, command=python, arguments=[program, *words]
        )
        for program in (f"${{__dirname}}/{PROGRAM}", str(folder / PROGRAM))
    )
    package = bundle_manifest(
        answers, kind="binary", entry=ALIAS, command=ALIAS, arguments=["mcp-server", *words]
    )
    clsid = CLSID if actions is not None else None
    appx = appx_manifest(version=answers.version, publisher=publisher, clsid=clsid)
    files = {
        BUNDLE: bundle_of(bundle),
        MANIFEST: json_bytes(here),
        PROGRAM: SOURCE.encode(),
        "msix/AppxManifest.xml": appx.encode(),
        "msix/Assets/manifest.json": json_bytes(package),
    }
    if actions is not None:
        files["msix/Assets/actions.json"] = json_bytes(actions)
    return files | {f"msix/Assets/{name}.png": logo(size) for name, size in LOGOS.items()}


def planned(folder: Path, files: Mapping[str, bytes]) -> list[PlannedFile]:
    """What writing these files would do.

    Raises:
        UsageError: something in the folder cannot be read.
    """
    return [
        PlannedFile(name, content, _change(folder / name, content))
        for name, content in files.items()
    ]


def write(folder: Path, plan: Sequence[PlannedFile], *, force: bool) -> None:
    """Write what is not there as it should be.

    Raises:
        UsageError: something else is there, and `force` is not given; nothing was written.
        SashizuError: a file cannot be written.
    """
    others = [one.name for one in plan if one.change == "other"]
    if others and not force:
        raise UsageError(
            f"{folder} holds other files of these names: {', '.join(others)}; look at them, then "
            "write over them with --force, or name another folder with --out"
        )
    for one in plan:
        if one.change == "same":
            continue
        path = folder / one.name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_name(f".{path.name}.new")
            fresh.write_bytes(one.content)
            fresh.replace(path)
        except OSError as error:
            raise SashizuError(f"{path} cannot be written: {error.strerror}") from error


def _change(path: Path, content: bytes) -> Change:
    try:
        return "same" if path.read_bytes() == content else "other"
    except FileNotFoundError:
        return "new"
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
