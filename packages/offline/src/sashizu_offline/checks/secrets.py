"""Credentials written into files: known shapes anywhere, assignments in Python."""

from __future__ import annotations

import ast
import math
import re
from collections import Counter
from collections.abc import Iterator

from sashizu_offline.checks.tree import PythonFile, literal
from sashizu_offline.findings import Finding
from sashizu_offline.languages import is_test_path

__all__ = ["entropy", "python_secrets", "text_secrets"]

_SHAPES: dict[str, re.Pattern[str]] = {
    "an AWS access key id": re.compile(r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b"),
    "a GitHub token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{82})\b"),
    "a GitLab token": re.compile(r"\bglpat-[A-Za-z0-9_-]{20}\b"),
    "a Slack token": re.compile(r"\bxox[abprs]-[0-9]{10,13}-[0-9A-Za-z-]{20,}\b"),
    "an API key of Anthropic": re.compile(r"\bsk-ant-[A-Za-z0-9_-]{40,}\b"),
    "an API key of OpenAI": re.compile(r"\bsk-(?:proj-)?[A-Za-z0-9_-]{40,}\b"),
    "a Google API key": re.compile(r"\bAIza[0-9A-Za-z_-]{35}\b"),
    "a Stripe key": re.compile(r"\b[sr]k_live_[0-9A-Za-z]{24,}\b"),
    "an npm token": re.compile(r"\bnpm_[A-Za-z0-9]{36}\b"),
    "a PyPI token": re.compile(r"\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,}\b"),
    "a private key": re.compile(
        r"-----BEGIN (?:RSA |EC |DSA |OPENSSH |ENCRYPTED )?PRIVATE KEY-----"
        r"(?:\\n|\s)*[A-Za-z0-9+/=]{40,}"
    ),
}
_NAME = re.compile(
    r"(?:^|_)(password|passwd|pwd|passphrase|secret|secret_?key|api_?key|apikey|access_?key"
    r"|auth_?token|access_?token|api_?token|private_?key|client_?secret|token)$"
)
_PLACEHOLDER = re.compile(
    r"change.?me|example|placeholder|your[-_ ]|dummy|fake|sample|insert|replace|redacted"
    r"|secret|password|token|passw|^x+$|^\*+$|^test|\.\.\.|todo|none|null|undefined|<|>|\{|\}|\$"
    r"|%s|%\(|not[-_ ]?set|default|invalid",
    re.IGNORECASE,
)
_PLAIN = re.compile(r"^[A-Za-z]+(?:[-_.:/ ][A-Za-z]+)*$")
_ENTROPY_BITS = 3.0


def entropy(text: str) -> float:
    """Shannon entropy of the characters of a text, in bits a character."""
    if not text:
        return 0.0
    counts = Counter(text)
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())


def _looks_secret(name: str, value: str) -> bool:
    if len(value) < 6 or _PLACEHOLDER.search(value) or _PLAIN.match(value) or " " in value:
        return False
    if value.startswith(("http://", "https://", "/", "./", "env:", "[", "(", "^", "\\", "-", ".")):
        return False
    mixed = sum(
        bool(re.search(kind, value)) for kind in (r"[a-z]", r"[A-Z]", r"[0-9]", r"[^A-Za-z0-9]")
    )
    if re.search(r"pass|pwd", name):
        return mixed >= 2 and bool(re.search(r"[0-9!@#$%&*]", value))
    return len(value) >= 12 and entropy(value) >= _ENTROPY_BITS and mixed >= 2


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _pairs(file: PythonFile) -> Iterator[tuple[str, ast.expr]]:
    """Everything that gets a name: assigned, passed by keyword, as a default, in a dict."""
    for node in file.nodes:
        match node:
            case ast.Assign(targets=[target], value=value):
                yield _target_name(target), value
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                yield _target_name(target), value
            case ast.keyword(arg=str(name), value=value):
                yield name, value
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    if isinstance(key, ast.Constant):
                        yield str(key.value), value
            case ast.arguments(posonlyargs=first, args=arguments, defaults=defaults):
                defaulted = [*first, *arguments][len(first) + len(arguments) - len(defaults) :]
                for argument, value in zip(defaulted, defaults, strict=True):
                    yield argument.arg, value
            case _:
                pass


def _target_name(target: ast.AST) -> str:
    match target:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(slice=ast.Constant(value=str(name))):
            return name
        case _:
            return ""


def python_secrets(file: PythonFile) -> Iterator[Finding]:
    """Passwords, keys and tokens that are given as constants. The value is never quoted."""
    if file.in_tests:
        return
    for name, value in _pairs(file):
        text = literal(value)
        if not isinstance(text, str):
            continue
        if not _NAME.search(_snake(name)) or not _looks_secret(_snake(name), text):
            continue
        if any(shape.search(text) for shape in _SHAPES.values()):
            continue  # reported once, by its shape
        yield file.finding(
            value,
            "hardcoded-secret",
            "high",
            f"{name!r} is a constant of {len(text)} characters: everybody who can read the source "
            "has it; read it from the environment and replace the one in use",
        )


def text_secrets(path: str, text: str) -> Iterator[Finding]:
    """Tokens and private keys of known shapes in any text file."""
    if is_test_path(path):
        return
    for what, shape in _SHAPES.items():
        for match in shape.finditer(text):
            found = match.group()
            if "EXAMPLE" in found.upper() or entropy(found) < _ENTROPY_BITS:
                continue
            line = text.count("\n", 0, match.start()) + 1
            yield Finding(
                path,
                line,
                "hardcoded-secret",
                "high",
                f"this looks like {what}; revoke it and keep the new one out of the repository",
            )
