"""Files that hold keys and passwords, recognised by their names.

The names are those under which the programs themselves keep credentials: OpenSSH, GnuPG, curl, npm,
pip, git, Docker, Kubernetes, the clients of cloud providers.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

__all__ = ["SECRET_FILES", "folded_paths", "secret_depth"]

SECRET_FILES = (
    ".env*",
    "*.env",
    "*.tfstate",
    "*.tfvars",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.jks",
    "*.keystore",
    "*.kdbx",
    "*.ppk",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ecdsa_sk",
    "id_ed25519",
    "id_ed25519_sk",
    ".ssh",
    ".gnupg",
    ".password-store",
    "ssh_host_*_key",
    ".netrc",
    "_netrc",
    ".curlrc",
    ".wgetrc",
    ".npmrc",
    ".yarnrc.yml",
    ".pypirc",
    ".pip/pip.conf",
    ".m2/settings.xml",
    ".gradle/gradle.properties",
    ".s3cfg",
    ".boto",
    "rclone.conf",
    "credentials.json",
    "service-account.json",
    "secrets.yaml",
    "secrets.yml",
    ".pgpass",
    ".my.cnf",
    ".htpasswd",
    ".vault-token",
    ".git-credentials",
    ".git/config",
    ".git/config.worktree",
    ".bash_history",
    ".zsh_history",
    ".python_history",
    ".mysql_history",
    ".psql_history",
    ".claude/.credentials.json",
    ".codex/auth.json",
    ".gemini/oauth_creds.json",
    ".huggingface/token",
    ".azure",
    ".aws/cli/cache",
    ".aws/credentials",
    ".aws/sso/cache",
    ".config/gcloud",
    ".config/gh/hosts.yml",
    ".config/git/credentials",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".docker/config.json",
    ".dockercfg",
    ".gem/credentials",
    ".kube/config",
    ".local/share/keyrings",
    ".terraform.d/credentials.tfrc.json",
)
"""What is read and written only where a grant names it; `*` stands for any part of one name.

Each is a file, or a folder with all that lies in it, wherever it stands in a path.
"""

_SHORTENED = (".git", ".github", ".claude", ".codex", ".cursor", ".vscode", ".sashizu", ".husky")
_SHORT = re.compile(r"([^~/]{1,8})~[0-9]{1,6}(\.[^./]{0,3})?")
_PLAIN = re.compile(r"[!-.0-9;-\[\]-}/]*")  # printable ASCII without blank, ':', '\\' and '~'
_ENDS_ODDLY = re.compile(r"[. ](?:/|$)")


def _expression(name: str) -> str:
    return re.escape(name).replace(r"\*", "[^/]*")


_ENDINGS = "|".join(re.escape(name[2:]) for name in SECRET_FILES if name.startswith("*."))
_NAMES = "|".join(_expression(name) for name in SECRET_FILES if not name.startswith("*."))
_SECRET = re.compile(rf"(?:^|/)(?:(?:{_NAMES})|[^/]*\.(?:{_ENDINGS}))(?=/|$)")


def _short_name(name: str) -> str:
    """The first six characters of the second name that Windows gives to a long one."""
    return name.strip(".*").split(".")[0][:6]


_LONG = {
    _short_name(name): name.rstrip("*")
    for name in (*SECRET_FILES, *_SHORTENED)
    if "/" not in name and not name.startswith("*.")
}


def _folded(name: str) -> str:
    """One name of a path, as file systems may read it that are less exact than others."""
    text = unicodedata.normalize("NFKC", name).casefold()
    kept = [c for c in text if unicodedata.category(c) != "Cf" and not "\ufe00" <= c <= "\ufe0f"]
    plain = unicodedata.normalize("NFKC", "".join(kept)).replace("/", "_").rstrip(" .")
    found = _SHORT.fullmatch(plain)
    return _LONG.get(found[1], plain) if found else plain


@lru_cache(maxsize=4096)
def folded_paths(path: str) -> tuple[str, ...]:
    """How file systems may read a clean path: without case, ignored characters, streams.

    Each has as many components as the path. macOS ignores some characters and folds others,
    Windows cuts blanks and dots from the end, takes what follows `:` for a stream of the file, and
    gives files a second, short name.
    """
    if _PLAIN.fullmatch(path) and not _ENDS_ODDLY.search(path):
        return (path.lower(),)
    parts = path.split("/")
    whole = "/".join(_folded(part) for part in parts)
    cut = "/".join(_folded(part.partition(":")[0]) for part in parts)
    return (whole,) if cut == whole else (whole, cut)


@lru_cache(maxsize=16384)
def secret_depth(path: str) -> int:
    """How deep the innermost secret file or folder of a clean path stands; -1 without any.

    Counted in slashes: a grant with fewer, and one of `.` or `/`, does not name it.
    """
    depth = -1
    for folded in folded_paths(path):
        for found in _SECRET.finditer(folded):
            depth = max(depth, folded.count("/", 0, found.end()))
    if "\\" in path and secret_depth(path.replace("\\", "/")) >= 0:
        return path.count("/")
    return depth
