"""Weak protection: hashes, random numbers, certificates, tokens, ciphers."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from sashizu_offline.checks.tree import PythonFile, keyword, literal, names_in
from sashizu_offline.findings import Finding

__all__ = ["crypto_findings"]

_SENSITIVE = re.compile(
    r"(?:^|_)(password|passwd|pwd|passphrase|secret|token|session_?id|session_?key|otp|nonce|salt"
    r"|api_?key|csrf|signature|credential|reset_?code|private_?key)s?(?:_|$)"
)
_PASSWORD = re.compile(r"(?:^|_)(password|passwd|pwd|passphrase)s?(?:_|$)")
_RANDOM = frozenset(
    f"random.{name}"
    for name in ("random", "randint", "choice", "choices", "randrange", "getrandbits", "sample")
)
_SESSION_CALLS = frozenset(
    f"{module}.{name}"
    for module in ("requests", "httpx")
    for name in ("get", "post", "put", "patch", "delete", "head", "options", "request", "stream")
) | {"httpx.Client", "httpx.AsyncClient", "requests.Session"}


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _context(file: PythonFile, node: ast.AST) -> set[str]:
    """The names that tell what a value is for: what it is assigned to, and its function."""
    found: set[str] = set()
    for above in file.ancestors(node):
        match above:
            case ast.Assign(targets=targets):
                for target in targets:
                    found |= _target_names(target)
            case ast.AnnAssign(target=target):
                found |= _target_names(target)
            case ast.keyword(arg=str(name)):
                found.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.add(name)
                break
            case _:
                pass
    return {_snake(name) for name in found}


def _target_names(target: ast.AST) -> set[str]:
    match target:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return {name}
        case ast.Subscript(slice=ast.Constant(value=str(name))):
            return {name}
        case _:
            return set()


def _hash(file: PythonFile, call: ast.Call, dotted: str) -> Iterator[Finding]:
    if not dotted.startswith("hashlib.") or literal(keyword(call, "usedforsecurity")) is False:
        return
    name = dotted.removeprefix("hashlib.")
    if name == "new" and call.args:
        name = str(literal(call.args[0])).lower()
    if name not in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512", "blake2b", "md4"):
        return
    data = set().union(*(names_in(argument) for argument in call.args)) if call.args else set()
    if any(_PASSWORD.search(word) for word in map(_snake, data)):
        yield file.finding(
            call,
            "fast-password-hash",
            "high",
            f"a password is hashed with {name}, which is fast to guess; "
            "use hashlib.scrypt, argon2 or bcrypt with a salt",
        )
    elif (
        name in ("md5", "sha1", "md4")
        and not _of_random(file, call)
        and any(_SENSITIVE.search(word) for word in _context(file, call) | set(map(_snake, data)))
    ):
        yield file.finding(
            call,
            "weak-hash",
            "medium",
            f"{name} protects something that must not be forged; use hmac with sha256, "
            "or usedforsecurity=False where nothing depends on it",
        )


def _of_random(file: PythonFile, call: ast.Call) -> bool:
    """The hash of real randomness stays as hard to guess as that."""
    around = file.function_of(call)
    return around is not None and bool(
        re.search(r"\burandom\b|\bsecrets\.|\buuid4\b|SystemRandom", ast.unparse(around))
    )


def _random(file: PythonFile, call: ast.Call, dotted: str) -> Iterator[Finding]:
    if dotted in _RANDOM and any(_SENSITIVE.search(word) for word in _context(file, call)):
        yield file.finding(
            call,
            "weak-random",
            "high",
            f"{dotted} is predictable and makes a secret here; use the secrets module",
        )


def _tls(file: PythonFile, call: ast.Call, dotted: str) -> Iterator[Finding]:
    names = {"verify": dotted in _SESSION_CALLS or _on_session(file, call)}
    names["verify_ssl"] = True
    names["ssl"] = dotted.startswith("aiohttp.") or "aiohttp" in file.imports
    off = [n for n, relevant in names.items() if relevant and literal(keyword(call, n)) is False]
    if off:
        yield file.finding(
            call,
            "tls-unverified",
            "high",
            f"{off[0]}=False accepts any certificate, so anybody on the way can read and change "
            "the traffic; trust the right CA instead",
        )
    elif dotted in ("ssl._create_unverified_context", "ssl._create_stdlib_context"):
        yield file.finding(
            call,
            "tls-unverified",
            "high",
            f"{dotted}() accepts any certificate; trust the right CA",
        )


def _on_session(file: PythonFile, call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and any(
        name in ("requests", "httpx") for name in file.imports.values()
    )


def _tls_settings(file: PythonFile, node: ast.AST) -> Iterator[Finding]:
    match node:
        case ast.Assign(targets=[ast.Attribute(attr="check_hostname")], value=value) if (
            literal(value) is False
        ):
            what = "check_hostname = False"
        case ast.Assign(targets=[ast.Attribute(attr="verify_mode")], value=value) if file.dotted(
            value
        ) == "ssl.CERT_NONE" and not _is_server(file, node):
            what = "verify_mode = CERT_NONE"
        case ast.Assign(targets=[ast.Attribute(attr="_create_default_https_context")]):
            what = (
                "ssl._create_default_https_context is replaced: every HTTPS request of the process"
            )
        case ast.Assign(targets=[ast.Attribute(attr="verify", value=value)], value=given) if (
            literal(given) is False
            and isinstance(value, ast.Name)
            and "session" in value.id.lower()
        ):
            what = f"{value.id}.verify = False"
        case _:
            return
    yield file.finding(
        node,
        "tls-unverified",
        "high",
        f"{what} accepts the certificate of anybody; trust the right CA",
    )


def _is_server(file: PythonFile, node: ast.AST) -> bool:
    """A server need not ask its clients for certificates."""
    around = file.function_of(node)
    text = ast.unparse(around) if around is not None else ast.unparse(node)
    if re.search(r"CLIENT_AUTH|TLS_SERVER|server_side", text):
        return True
    return "server" in ast.unparse(node).lower()


def _token(file: PythonFile, call: ast.Call, dotted: str) -> Iterator[Finding]:
    if dotted != "jwt.decode":
        return
    options = keyword(call, "options")
    unsigned = literal(keyword(call, "verify")) is False
    if isinstance(options, ast.Dict):
        pairs = zip(options.keys, options.values, strict=True)
        unsigned = unsigned or any(
            literal(key) == "verify_signature" and literal(value) is False for key, value in pairs
        )
    algorithms = keyword(call, "algorithms")
    if isinstance(algorithms, ast.List):
        unsigned = unsigned or any(str(literal(a)).lower() == "none" for a in algorithms.elts)
    if unsigned:
        yield file.finding(
            call,
            "unsigned-token",
            "high",
            "the signature of the token is not checked: anybody can write one; "
            "name the key and the algorithms",
        )


def _cipher(file: PythonFile, node: ast.AST) -> Iterator[Finding]:
    match node:
        case ast.Attribute(attr="MODE_ECB"):
            what = "ECB shows equal blocks as equal; use an authenticated mode (GCM)"
        case ast.Call(func=ast.Attribute(attr="ECB")):
            what = "ECB shows equal blocks as equal; use an authenticated mode (GCM)"
        case ast.Call(func=func) if file.dotted(func) in _OLD_CIPHERS:
            what = f"{file.dotted(func)} is broken; use AES-GCM or ChaCha20-Poly1305"
        case ast.Attribute() if file.dotted(node) in _OLD_PROTOCOLS:
            what = f"{file.dotted(node)} is a broken protocol; use ssl.PROTOCOL_TLS_CLIENT"
        case _:
            return
    yield file.finding(node, "weak-cipher", "medium", what)


_OLD_CIPHERS = frozenset(
    f"{package}.Cipher.{name}.new"
    for package in ("Crypto", "Cryptodome")
    for name in ("DES", "ARC4", "ARC2", "Blowfish")
)
_OLD_PROTOCOLS = frozenset({"ssl.PROTOCOL_SSLv2", "ssl.PROTOCOL_SSLv3", "ssl.PROTOCOL_TLSv1"})


def _compared_digest(file: PythonFile, node: ast.AST) -> Iterator[Finding]:
    if not isinstance(node, ast.Compare) or not isinstance(node.ops[0], ast.Eq | ast.NotEq):
        return
    for side in (node.left, *node.comparators):
        text = ast.unparse(side)
        if re.search(r"\bhmac\.(new|digest|HMAC)\b", text) and "digest" in text:
            break
        if isinstance(side, ast.Name) and _is_hmac(file, side):
            break
    else:
        return
    yield file.finding(
        node,
        "timing-compare",
        "medium",
        "== tells by its duration how much of the signature is right; use hmac.compare_digest",
    )


def _is_hmac(file: PythonFile, name: ast.Name) -> bool:
    scope: ast.AST = file.function_of(name) or file.tree
    return any(
        isinstance(child, ast.Assign)
        and any(isinstance(t, ast.Name) and t.id == name.id for t in child.targets)
        and re.search(r"\bhmac\.(new|digest|HMAC)\b.*digest", ast.unparse(child.value))
        for child in ast.walk(scope)
    )


def crypto_findings(file: PythonFile) -> Iterator[Finding]:
    """Protection that does not protect."""
    if file.in_tests:
        return
    for node in file.nodes:
        if isinstance(node, ast.Call):
            dotted = file.dotted(node.func)
            yield from _hash(file, node, dotted)
            yield from _random(file, node, dotted)
            yield from _tls(file, node, dotted)
            yield from _token(file, node, dotted)
        yield from _tls_settings(file, node)
        yield from _cipher(file, node)
        yield from _compared_digest(file, node)
