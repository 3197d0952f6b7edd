"""Signed notes: a text, and lines of signatures under it (C2SP signed-note, Ed25519).

```text
sashizu.audit/<id of the record>
<how many digests there are>
<root of the tree over them, base64>

— <name of the key> <base64 of 4 bytes that tell the key, and 64 of signature>
```

The text of a checkpoint is that of C2SP tlog-checkpoint. A public key is one line of text,
`<name>+<its 4 bytes in hexadecimal>+<base64 of 0x01 and the 32 bytes of the key>`.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sashizu_core.errors import RecordError, UsageError
from sashizu_core.ids import uuid7

from sashizu_audit.disk import sync_folder
from sashizu_audit.layout import make_private
from sashizu_audit.manifest import replace_file

__all__ = [
    "Checkpoint",
    "PublicKey",
    "Signer",
    "keep_line",
    "key_name",
    "open_signer",
    "read_notes",
]

_ED25519 = b"\x01"
_NOTE = re.compile(r"((?:[^\n]+\n)+)\n((?:— \S+ \S+\n)+)")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A note as it was read. `size` counts digests; whether it is signed, the key has to say."""

    origin: str
    size: int
    root: bytes
    text: bytes
    signatures: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Checks signatures. `line` is the key as one line of text."""

    name: str
    raw: bytes

    @classmethod
    def parse(cls, line: str) -> PublicKey:
        """Read a key from its line.

        Raises:
            UsageError: it is none.
        """
        parts = line.strip().split("+", 2)  # base64 may hold further ones
        with suppress(binascii.Error, ValueError):
            name, key_id, encoded = parts
            data = base64.b64decode(encoded, validate=True)
            key = cls(name, data[1:])
            if data[:1] == _ED25519 and len(data) == 33 and key.key_id.hex() == key_id:
                return key
        raise UsageError(
            f"{line.strip()[:80]!r} is no public key of a record; `sashizu audit checkpoint` "
            "prints one, as NAME+ID+KEY"
        )

    @property
    def key_id(self) -> bytes:
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.raw).digest()[:4]

    @property
    def line(self) -> str:
        encoded = base64.b64encode(_ED25519 + self.raw).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    def signed(self, checkpoint: Checkpoint) -> bool:
        """Whether this key has signed it."""
        public = Ed25519PublicKey.from_public_bytes(self.raw)
        for name, signature in checkpoint.signatures:
            if name == self.name and signature[:4] == self.key_id:
                with suppress(InvalidSignature):
                    public.verify(signature[4:], checkpoint.text)
                    return True
        return False


class Signer:
    """Signs checkpoints with a private key."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(name, key.public_key().public_bytes_raw())

    def renew(self) -> None:
        """Be the signer of what comes now, where another process may have changed the key."""

    def successor(self) -> Signer | None:
        """The signer of all that comes after the next checkpoint; None if it is this one."""
        return None

    def give_way(self, successor: Signer) -> None:
        """Sign as the successor from now on."""
        self._key, self.public = successor._key, successor.public

    def note(self, size: int, root: bytes, cosigner: Signer | None = None) -> str:
        """A checkpoint over so many digests, signed; by another one as well, if there is one."""
        text = f"{self.public.name}\n{size}\n{base64.b64encode(root).decode()}\n"
        signers = [self, cosigner] if cosigner else [self]
        return f"{text}\n" + "".join(signer._signature(text) for signer in signers)

    def _signature(self, text: str) -> str:
        signature = self.public.key_id + self._key.sign(text.encode())
        return f"— {self.public.name} {base64.b64encode(signature).decode()}\n"


def key_name(store_id: str) -> str:
    """The name of a record's key, which is also the first line of its checkpoints."""
    return f"sashizu.audit/{store_id}"


def read_notes(text: str) -> list[Checkpoint]:
    """Every checkpoint in a text, in order; what is none is passed over."""
    found = []
    for body, signed in _NOTE.findall(text.replace("\r\n", "\n")):
        with suppress(binascii.Error, ValueError):
            origin, size, root = body.split("\n")[:3]
            signatures = []
            for line in signed.splitlines():
                _, name, data = line.split(" ")
                signatures.append((name, base64.b64decode(data, validate=True)))
            if not size.isascii() or not size.isdigit():
                continue
            decoded = base64.b64decode(root, validate=True)
            found.append(Checkpoint(origin, int(size), decoded, body.encode(), tuple(signatures)))
    return found


def open_signer(folder: Path, store_id: str, path: Path | None = None) -> Signer:
    """The signer of a record; its key is made in `folder` if there is none yet.

    `path` is where the key is, if not in `<id>.pem`. That file (0600) is the private key, the one
    that ends with `.pub` the line of the public one.

    Raises:
        RecordError: the key cannot be read or made.
    """
    path = path or folder / f"{store_id}.pem"
    try:
        make_private(folder)
        if not path.exists():
            _make_key(path)
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        if not isinstance(key, Ed25519PrivateKey):
            raise RecordError(f"{str(path)!r} is no Ed25519 key")
        if os.name == "posix" and path.stat().st_mode & 0o077:
            path.chmod(0o600)
        signer = Signer(key_name(store_id), key)
        keep_line(path.with_suffix(".pub"), signer.public)
    except (OSError, ValueError, TypeError) as error:
        raise RecordError(f"the key {str(path)!r} cannot be used: {error}") from error
    return signer


def keep_line(path: Path, key: PublicKey) -> None:
    """Have a file hold the line of a key; who reads it meanwhile finds the old one or the new one.

    Raises:
        OSError: it cannot be written.
    """
    line = f"{key.line}\n".encode()
    if not path.exists() or path.read_bytes() != line:
        replace_file(path, line)


def _make_key(path: Path) -> None:
    """Write a new private key; of several makers one wins."""
    data = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    part = path.with_name(f".{uuid7()}")
    fd = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(part, path)
    finally:
        part.unlink()
    sync_folder(path.parent)  # the key before it may be destroyed next
