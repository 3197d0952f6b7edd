"""Whether a text may hold a secret at all: one look at it, before anything is searched for.

Nearly no text does, and searching takes twenty times as long as this. The expressions here are run
by the engine of pydantic, which takes time in proportion to the text whatever the expression. They
allow all that `formats` finds and more: what they do not match holds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

from pydantic_core import SchemaError, SchemaValidator, core_schema

__all__ = ["holds_any_of", "may_hold_secret"]

Test = Callable[[str], bool]

_TOKENS = (
    r"sk-(?:ant-|proj-|svcacct-|admin-|None-|or-v1-|lf-|[A-Za-z0-9]{20})",
    r"[sr]k_(?:live|test)_",
    r"whsec_[A-Za-z0-9+/=]{24}",
    r"gh[oprsu]_[A-Za-z0-9]{36}",
    r"github_pat_",
    r"gl(?:pat|dt|rt|cbt|ptt|ft|soat|imt|agent)-[A-Za-z0-9_-]{20}",
    r"A(?:KIA|SIA|BIA|CCA)[A-Z0-9]{16}",
    r"AIza[A-Za-z0-9_-]{35}",
    r"GOCSPX-",
    r"ya29\.[A-Za-z0-9_-]{20}",
    r"xox[a-z]-[A-Za-z0-9-]{10}",
    r"xapp-[0-9]-",
    r"hooks\.slack\.com/",
    r"hf_[A-Za-z0-9]{30}",
    r"npm_[A-Za-z0-9]{36}",
    r"pypi-[A-Za-z0-9_-]{40}",
    r"do[opr]_v1_[a-f0-9]{64}",
    r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}",
    r"SG\.[A-Za-z0-9_-]{16}",
    r"hv[sbr]\.[A-Za-z0-9_-]{24}",
    r"gl(?:sa|c)_[A-Za-z0-9_+/=]{32}",
    r"AGE-SECRET-KEY-1",
    r"ATATT3x[A-Za-z0-9_=-]{20}",
    r"gsk_[A-Za-z0-9]{40}",
    r"xai-[A-Za-z0-9]{40}",
    r"nvapi-[A-Za-z0-9_-]{40}",
    r"r8_[A-Za-z0-9]{30}",
    r"lin_api_[A-Za-z0-9]{32}",
    r"://[A-Za-z0-9_-]{20,256}@",
    r"eyJ[A-Za-z0-9_-]{8,}\.eyJ",
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY",
    r"://[^\s/]*:[^\s/]{3,}@",
)
_VALUE = r"(?:\\*[\"'`][^\s\"'`\\\[\]]{6}|[a-z0-9+/=_~!@#$%^&*?.:-]{8})"
_ASSIGNMENTS = (
    r"earer[ \t]{1,4}[a-z0-9._~+/=-]{16}",
    r"asic[ \t]{1,4}[a-z0-9+/]{12}",
    r"-[a-z-]*(?:password|passphrase|secret|token|key)[ \t]+[!-~]{8}",
    r"(?:assw(?:or)?d|assphrase|ecret|oken|redential|uthorization|ookie|wd|pi[_-]?key"
    r"|ccess[_-]?key|ccount[_-]?key|uth[_-]?key|rivate[_-]?key|igning[_-]?key|ncryption[_-]?key)"
    r"[a-z0-9_.-]*(?:\\*[\"'`])?\]?[ \t]*(?::[ \t]*[a-z_]+[ \t]*=|=>|:=|==?|:|>)[ \t]*" + _VALUE,
)


def _test(expression: str) -> Test:
    schema = core_schema.str_schema(strict=True, pattern=expression, regex_engine="rust-regex")
    # A default in place of an error: making exceptions would take longer than looking.
    validate = SchemaValidator(
        core_schema.with_default_schema(schema, default=None, on_error="default")
    ).validate_python
    return lambda text: validate(text) is not None


@cache
def _may_hold_secret() -> Test:
    return _test("|".join([*_TOKENS, f"(?i:{'|'.join(_ASSIGNMENTS)})"]))


def may_hold_secret(text: str) -> bool:
    """Whether a text may hold a token or an assignment. It holds no lone surrogate."""
    return _may_hold_secret()(text)


def holds_any_of(words: Iterable[str]) -> Test:
    """A test whether a text holds one of some words; true for what the engine cannot tell."""
    expression = "|".join("".join(map(_literal, word)) for word in words)
    if not expression:
        return lambda text: False  # noqa: ARG005 - as every test
    try:
        holds = _test(expression)
    except SchemaError:  # a lone surrogate, or more than the engine takes
        return lambda text: True  # noqa: ARG005 - as every test
    return lambda text: holds(text) or not (text.isascii() or _is_unicode(text))


def _literal(char: str) -> str:
    return char if char.isalnum() and char.isascii() else f"\\x{{{ord(char):x}}}"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
