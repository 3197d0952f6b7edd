"""The sparse package: an identity for the `sashizu.exe` that pip has installed.

A sparse package holds a manifest and pictures; the programs stay where they are, in the folder that
is named when it is added (the external location). It declares the MCP server for the on-device
agent registry, and the App Actions where agents are hosted.
"""

from __future__ import annotations

import re
import struct
import zlib
from importlib.resources import files
from string import Template
from uuid import UUID
from xml.sax.saxutils import escape, quoteattr

from sashizu_core.errors import UsageError

__all__ = ["ALIAS", "LOGOS", "PROGRAM", "appx_manifest", "appx_version", "logo"]

PROGRAM = "sashizu.exe"
"""The program in the external location: what pip makes of the entry point."""

ALIAS = "sashizu-agents.exe"
"""The name by which Windows starts the program with the identity of the package."""

LOGOS = {"StoreLogo": 50, "Square150x150Logo": 150, "Square44x44Logo": 44}
"""The pictures that a manifest has to name, and how many pixels wide and high they are."""

_COLOUR = (0x2B, 0x4C, 0x7E)
_PUBLISHER = re.compile(
    r"(CN|O|OU|L|S|C|E)=[^\x00-\x1f\"<>]{1,256}"
    r"(, ?(CN|O|OU|L|S|C|E)=[^\x00-\x1f\"<>,]+)*"
)
_ACTIONS = """
        <com2:Extension Category="windows.comServer">
          <com2:ComServer>
            <com3:ExeServer Executable=$program Arguments="winai host" DisplayName="sashizu">
              <com:Class Id=$clsid DisplayName="sashizu agents" />
            </com3:ExeServer>
          </com2:ComServer>
        </com2:Extension>
        <uap3:Extension Category="windows.appExtension">
          <uap3:AppExtension Name="com.microsoft.windows.ai.actions" Id="sashizuactions"
                             DisplayName="sashizu agents" PublicFolder="Assets">
            <uap3:Properties>
              <Registration xmlns="">actions.json</Registration>
            </uap3:Properties>
          </uap3:AppExtension>
        </uap3:Extension>"""


def appx_manifest(*, version: str, publisher: str, clsid: UUID | None) -> str:
    """The `AppxManifest.xml` of the package.

    Args:
        version: of sashizu.
        publisher: the subject of the certificate that will sign it, such as `CN=Example`.
        clsid: the class of the provider of actions; None where no agent is hosted.

    Raises:
        UsageError: the publisher is no subject.
    """
    if not _PUBLISHER.fullmatch(publisher):
        raise UsageError(
            f"the publisher {publisher!r} is no subject of a certificate; write it as 'CN=NAME'"
        )
    actions = ""
    if clsid is not None:
        given = {"program": quoteattr(PROGRAM), "clsid": quoteattr(str(clsid).upper())}
        actions = Template(_ACTIONS).substitute(given)
    text = files("sashizu_winai.registry").joinpath("AppxManifest.xml.in").read_text("utf-8")
    return Template(text).substitute(
        version=quoteattr(appx_version(version)),
        publisher=quoteattr(publisher),
        publisher_name=escape(publisher.split("=", 1)[1].split(",", 1)[0]),
        program=quoteattr(PROGRAM),
        alias=quoteattr(ALIAS),
        actions=actions,
    )


def appx_version(version: str) -> str:
    """A version as packages have it: four numbers, the last one 0."""
    numbers = [int(one) for one in re.findall(r"\d+", version)[:3]]
    return ".".join(str(one) for one in [*numbers, *[0] * (3 - len(numbers)), 0])


def logo(size: int) -> bytes:
    """A plain square as a PNG file; whoever publishes a package has a picture of their own."""
    row = b"\0" + bytes(_COLOUR) * size

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    head = struct.pack(">2I5B", size, size, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(row * size, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)
