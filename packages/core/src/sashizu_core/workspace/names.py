"""Names of files: from whatever text a model wrote to the one name a file has.

A name is relative to the workspace, with `/`, without `.`, `..` or empty components; `"."` is the
workspace itself. Files in the workspace's further roots have absolute names (on Windows
`/C:/folder/file`). Nothing here touches a file.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from sashizu_core.errors import ToolError

__all__ = ["Names", "is_git_folder", "joined", "parts_of"]

MAX_NAME_BYTES = 4096
"""The longest path the kernel takes (PATH_MAX of Linux, `linux/limits.h`)."""

_WINDOWS_FORBIDDEN = re.compile(r'[<>:"|?*\x00-\x1f]')
_WINDOWS_DEVICE = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])", re.IGNORECASE
)
_DRIVE = re.compile(r"/?([A-Za-z]:)(?=/|$)")


def parts_of(name: str) -> tuple[str, ...]:
    """The components of a name; none for `"."` and `"/"`."""
    return tuple(part for part in name.split("/") if part not in ("", "."))


def joined(folder: str, name: str) -> str:
    """The name of an entry of a folder."""
    if folder == ".":
        return name
    return f"{folder.rstrip('/')}/{name}"


def is_git_folder(component: str) -> bool:
    """Whether some file system would take a component for `.git`.

    Case is ignored, so are characters that HFS+ ignores, and `git~1` is its short name on NTFS.
    """
    plain = "".join(char for char in component if unicodedata.category(char) != "Cf")
    return plain.casefold() in (".git", "git~1")


def _windows_fault(component: str) -> str | None:
    """Why Windows would not take a component for a plain file name, or None."""
    if _WINDOWS_FORBIDDEN.search(component):
        return "has a character that Windows does not allow"
    if component != component.rstrip(". "):
        return "ends in a dot or a blank, which Windows drops"
    if _WINDOWS_DEVICE.fullmatch(component.split(".", maxsplit=1)[0].rstrip()):
        return "names a device"
    return None


def _collapse(parts: Sequence[str]) -> list[str]:
    """Take `..` back, lexically; at the top it stays at the top."""
    kept: list[str] = []
    for part in parts:
        if part == "..":
            del kept[-1:]
        else:
            kept.append(part)
    return kept


def _beneath(path: Sequence[str], folder: Sequence[str]) -> list[str] | None:
    """What of a path is left below a folder, or None when it lies elsewhere."""
    count = len(folder)
    return list(path[count:]) if list(path[:count]) == list(folder) else None


@dataclass(frozen=True, slots=True)
class Names:
    r"""How texts become names in one workspace.

    `root` and `extra` are absolute, resolved paths; `aliases` are the pairs of another absolute
    path to one of them and that path. On `windows`, `\` separates too and drives exist.
    """

    root: str
    extra: tuple[str, ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    windows: bool = False

    def of(self, text: str, *, is_glob: bool = False) -> str:
        """The name that a text means, or the glob over names.

        Raises:
            ToolError: it means no file of the workspace.
        """
        self._check_text(text)
        path = text.replace("\\", "/") if self.windows else text
        absolute, parts = self._split(path)
        if self.windows and not is_glob:
            self._check_windows(text, parts[1:] if absolute else parts)
        base = [] if absolute else list(parts_of(self.root))
        full = _collapse([*base, *parts])
        found = self._place(full)
        if found is None:
            raise ToolError(
                f"{text!r} lies outside the workspace; use a path relative to it, without '..'"
            )
        return found

    def in_extra(self, name: str) -> tuple[str, str] | None:
        """The further root an absolute name lies in, and what is left below it."""
        parts = parts_of(name)
        for folder in sorted(self.extra, key=len, reverse=True):
            rest = _beneath(parts, parts_of(folder))
            if rest is not None:
                return folder, "/".join(rest) or "."
        return None

    def _place(self, full: Sequence[str]) -> str | None:
        known = ((self.root, self.root), *((path, path) for path in self.extra), *self.aliases)
        for shown, real in known:
            rest = _beneath(full, parts_of(shown))
            if rest is None:
                continue
            inside = _beneath([*parts_of(real), *rest], parts_of(self.root))
            if inside is not None:
                return "/".join(inside) or "."
            return "/" + "/".join([*parts_of(real), *rest])
        return None

    def _split(self, path: str) -> tuple[bool, tuple[str, ...]]:
        if self.windows and (drive := _DRIVE.match(path)):
            return True, (drive[1].upper(), *parts_of(path[drive.end() :]))
        return path.startswith("/"), parts_of(path)

    def _check_text(self, text: str) -> None:
        if not text.strip():
            raise ToolError("the path is empty; '.' is the workspace")
        if "\0" in text:
            raise ToolError(f"{text[:100]!r} holds a NUL character, which no path can")
        try:
            size = len(text.encode())
        except UnicodeEncodeError as error:
            raise ToolError("the path is not valid Unicode text") from error
        if size > MAX_NAME_BYTES:
            raise ToolError(f"the path has {size} bytes; at most {MAX_NAME_BYTES} are possible")

    def _check_windows(self, text: str, parts: Sequence[str]) -> None:
        for part in parts:
            if part != ".." and (fault := _windows_fault(part)):
                raise ToolError(f"{text!r}: {part!r} {fault}")
