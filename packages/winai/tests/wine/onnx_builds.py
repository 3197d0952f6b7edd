"""What our sessions do on the ONNX Runtime that is here: the same lines for every build of it.

`python onnx_builds.py MODEL` prints it as JSON; on Linux a test asks `told` itself. The model takes
`x`, two rows of three numbers, and gives `y` and `p`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, get_args

import anyio
import numpy as np
from sashizu_winai.errors import WindowsAiError
from sashizu_winai.onnx.probing import onnxruntime, paths_of_onnx, probe_directml, probe_onnx
from sashizu_winai.onnx.session import ProviderPolicy, open_session

VALUES = [[1.0, -2.0, 3.0], [0.5, 4.0, -1.5]]
MARK = "told of ONNX: "


async def told(model: Path) -> dict[str, Any]:
    """The build, and for every policy what ran the model, why, and what it gave."""
    runtime = onnxruntime()
    sessions, refused = {}, {}
    for policy in get_args(ProviderPolicy):
        sessions[policy] = await opened(model, policy)
        try:
            await open_session(model, policy=policy, allow_cpu=False)
        except WindowsAiError as error:
            refused[policy] = f"{type(error).__name__}: {error}"
    return {
        "version": runtime.__version__,
        "built": runtime.get_available_providers(),
        "onnx": probe_onnx().state,
        "directml": probe_directml().state,
        "paths": sorted(paths_of_onnx()),
        "sessions": sessions,
        "refused": refused,
        "silent": silent(model),
    }


async def opened(model: Path, policy: ProviderPolicy) -> dict[str, Any]:
    """One session of ours, opened and run."""
    session = await open_session(model, policy=policy)
    given = await session.run({"x": np.array(VALUES, dtype=np.float32)})
    return {
        "providers": session.providers,
        "fell_back": session.fell_back,
        "given": {name: one.tolist() for name, one in given.items()},
        "types": {name: str(one.dtype) for name, one in given.items()},
    }


def silent(model: Path) -> list[str]:
    """What really runs the model where all that is built in is asked for, and nothing is looked at.

    The library complains on its standard output, and raises nothing.
    """
    runtime = onnxruntime()
    session = runtime.InferenceSession(str(model), providers=runtime.get_available_providers())
    return list(session.get_providers())


if __name__ == "__main__":
    print(MARK + json.dumps(anyio.run(told, Path(sys.argv[1]))), flush=True)
