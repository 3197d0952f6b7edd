"""What `winai register` writes, held against the tools of others: the bundle and the package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from sashizu_winai.registry.bundle import SOURCE

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(sys.platform == "win32", reason="has the tools of a Linux machine"),
]

MCPB = "@anthropic-ai/mcpb@2.1.2"
OPENAPPX = "openappx[sign]==0.7.0"
SUBJECT = "CN=sashizu"


def started(*words: str, code: int = 0) -> str:
    """Run a program; what it printed."""
    ended = subprocess.run(
        words, capture_output=True, text=True, timeout=300, check=False, stdin=subprocess.DEVNULL
    )
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def registration(tmp_path_factory):
    """The files, as the command writes them with the real server."""
    base = tmp_path_factory.mktemp("registration")
    environ = {**os.environ, "SASHIZU_HOME": str(base / "home"), "XDG_CONFIG_HOME": str(base)}
    program = SOURCE.replace('"mcp-server", ', "")
    hosting = [
        *("-c", 'winai.hosting.agents=["code-reviewer"]'),
        *("-c", f'winai.hosting.workspace="{base}"'),
    ]
    words = ["winai", "register", "--files-only", "--out", str(base / "out")]
    subprocess.run(
        [sys.executable, "-c", program, *hosting, *words],
        check=True,
        timeout=120,
        env=environ,
        cwd=base,
        stdout=subprocess.DEVNULL,
    )
    return base / "out"


def test_the_official_tool_takes_the_manifests_and_the_bundle(registration, tmp_path):
    npx = shutil.which("npx")
    if npx is None:
        pytest.skip("the official tool needs Node.js")
    mcpb = (npx, "--yes", MCPB)
    for manifest in ("manifest.json", "msix/Assets/manifest.json"):
        assert "passes" in started(*mcpb, "validate", str(registration / manifest))
    started(*mcpb, "unpack", str(registration / "sashizu.mcpb"), str(tmp_path / "unpacked"))
    assert (tmp_path / "unpacked/server/main.py").read_text() == SOURCE
    packed = str(tmp_path / "packed.mcpb")
    assert "passes" in started(*mcpb, "pack", str(tmp_path / "unpacked"), packed)

    broken = tmp_path / "manifest.json"
    broken.write_text((registration / "manifest.json").read_text().replace('"server"', '"servant"'))
    assert "server" in started(*mcpb, "validate", str(broken), code=1)


def test_the_package_is_packed_signed_and_verified(registration, tmp_path):
    verifier = shutil.which("osslsigncode")
    if verifier is None:
        pytest.skip("osslsigncode is not installed")
    uv = os.environ.get("UV") or shutil.which("uv") or ""
    openappx = (uv, "tool", "run", "-q", "--from", OPENAPPX, "openappx")
    package, signed = tmp_path / "a.msix", tmp_path / "signed.msix"
    certificate = tmp_path / "test"
    root = str(registration / "msix")

    started(*openappx, "pack", "--root", root, "--out", str(package), "--allow-missing")
    with zipfile.ZipFile(package) as content:
        assert "Assets/actions.json" in content.namelist()
    secret = ("--pfx-password", "for tests only")
    made = ("--make-test-cert", SUBJECT, *secret, "--cert-out", str(certificate))
    started(*openappx, "sign", *made)
    pfx = f"{certificate}.pfx"
    where = ("--package", str(package), "--out", str(signed))
    started(*openappx, "sign", *where, "--pfx", pfx, *secret)
    pem = pem_of(Path(f"{certificate}.cer"), tmp_path)
    assert "Signature verification: ok" in started(
        verifier, "verify", "-in", str(signed), "-CAfile", str(pem)
    )

    changed = bytearray(signed.read_bytes())
    changed[changed.index(b"AppxManifest.xml") + 40] ^= 1
    signed.write_bytes(changed)
    assert "Failed" in started(verifier, "verify", "-in", str(signed), "-CAfile", str(pem), code=1)


def pem_of(certificate: Path, tmp_path: Path) -> Path:
    """The certificate as text, which the verifier wants."""
    import ssl

    pem = tmp_path / "certificate.pem"
    pem.write_text(ssl.DER_cert_to_PEM_cert(certificate.read_bytes()))
    return pem
