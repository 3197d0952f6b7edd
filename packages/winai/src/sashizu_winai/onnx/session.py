"""One ONNX model, opened: what was asked for is compared with what really runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import anyio
import anyio.to_thread
from sashizu_core.errors import UsageError

from sashizu_winai.errors import Failed, Missing, Unsupported
from sashizu_winai.onnx.probing import INSTALL, onnxruntime
from sashizu_winai.onnx.ways import ProviderPolicy, Way, way_of

__all__ = ["OnnxSession", "ProviderPolicy", "open_session"]

_MOST_TEXT = 300


@dataclass(frozen=True, slots=True)
class OnnxSession:
    """An opened model.

    `providers` are those that have a part in it, the first before the later ones; `fell_back` says
    that and why the CPU runs some of it although something else was asked for, empty if not.
    Calls may be made from several tasks at once.
    """

    providers: tuple[str, ...]
    fell_back: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    _session: Any

    async def run(
        self, values: Mapping[str, Any], outputs: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Run the model once, in a thread.

        Args:
            values: an array for each of `inputs`, of the type and shape that the model has.
            outputs: which of `outputs` are wanted; None for all.

        Returns:
            An array for each output that was asked for.

        Raises:
            UsageError: names are unknown or missing.
            Failed: the runtime refused the values, or failed.
        """
        wanted = self.outputs if outputs is None else tuple(outputs)
        if set(values) != set(self.inputs) or not set(wanted) <= set(self.outputs):
            raise UsageError(
                f"the model takes {list(self.inputs)} and gives {list(self.outputs)}; "
                f"given were {sorted(values)}, asked for were {list(wanted)}"
            )
        try:
            found = await anyio.to_thread.run_sync(self._session.run, list(wanted), dict(values))
        except Exception as error:  # the library raises several kinds, none with a public base
            raise Failed("run the ONNX model", _told(error)) from error
        return dict(zip(wanted, found, strict=True))


async def open_session(
    model: Path | bytes, *, policy: ProviderPolicy = "default", allow_cpu: bool = True
) -> OnnxSession:
    """Open an ONNX model.

    Args:
        model: its file, or its bytes.
        policy: what has to run it.
        allow_cpu: whether the CPU may, where what was asked for cannot. It then says so in
            `fell_back`; without it, it is refused.

    Raises:
        UsageError: there is no such policy or file.
        Missing: ONNX Runtime is not installed.
        Unsupported: the CPU would have to run some of it, and may not.
        Failed: the model cannot be loaded.
    """
    if policy not in get_args(ProviderPolicy):
        raise UsageError(f"there is no policy {policy!r}; known: {get_args(ProviderPolicy)}")
    if isinstance(model, Path) and not await anyio.Path(model).is_file():
        raise UsageError(f"there is no file {str(model)!r}")
    return await anyio.to_thread.run_sync(_opened, model, policy, allow_cpu)


def _opened(model: Path | bytes, policy: ProviderPolicy, allow_cpu: bool) -> OnnxSession:
    try:
        ort = onnxruntime()
    except (ImportError, OSError) as error:
        found = f"ONNX Runtime cannot be loaded: {error}"
        raise Missing("open an ONNX model", found, remedy=INSTALL) from error
    way = way_of(ort, policy)
    if policy == "cpu" or (policy == "default" and allow_cpu):
        return _with_cpu(ort, model, way, f"asked for {policy!r}", "")
    reason = way.lacking
    if not way.nowhere:
        try:  # the one way to learn of it: a listed provider may have taken nothing of the model
            return _shown(_session(ort, model, way, cpu=False), "")
        except Failed as error:
            reason = error.found
    if not allow_cpu:
        raise Unsupported(
            f"open an ONNX model on {policy!r} alone",
            f"the CPU would have to run it: {reason}",
            remedy="allow the CPU, or use a machine and a build with the provider",
        )
    asked = f"asked for {policy!r}"
    return _with_cpu(ort, model, way, asked, f"{asked}; the CPU runs all or part of it: {reason}")


def _with_cpu(ort: Any, model: Path | bytes, way: Way, asked: str, fell_back: str) -> OnnxSession:
    """A session that the CPU may take part in; it is the CPU's alone where the rest cannot begin.

    A build lists its providers also where their device or a library of theirs is not there.
    """
    try:
        return _shown(_session(ort, model, way, cpu=True), fell_back)
    except Failed as error:
        if way.nowhere:
            raise
        alone = _session(ort, model, Way(), cpu=True)
        return _shown(alone, f"{asked}; the CPU runs all of it: {error.found}")


def _session(ort: Any, model: Path | bytes, way: Way, *, cpu: bool) -> Any:
    """A session; without `cpu` it fails where the CPU would have to run any part of the model."""
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what is worth knowing is raised, or told in `fell_back`
    if not cpu:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    given = model if isinstance(model, bytes) else str(model)
    try:
        providers = list(way.apply(ort, options, cpu=cpu)) or None
        session = ort.InferenceSession(given, options, providers=providers, enable_fallback=False)
    except Exception as error:  # the library raises several kinds, without a public base
        raise Failed("open the ONNX model", _told(error)) from error
    session.disable_fallback()  # or a run that fails goes on silently on the CPU
    return session


def _shown(session: Any, fell_back: str) -> OnnxSession:
    return OnnxSession(
        tuple(session.get_providers()),
        fell_back,
        tuple(one.name for one in session.get_inputs()),
        tuple(one.name for one in session.get_outputs()),
        session,
    )


def _told(error: Exception) -> str:
    return "".join(c if c.isprintable() else " " for c in str(error))[:_MOST_TEXT]
