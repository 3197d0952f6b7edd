"""The text of a page: by its type, its charset, and without its markup."""

from __future__ import annotations

import codecs
import re

from sashizu_sandbox.network.html_text import html_text
from sashizu_sandbox.network.url import Url, UrlRefused, join_url

__all__ = ["NotText", "media_type", "page_text"]

_TEXTS = re.compile(
    r"text/.*|application/(?:.*\+)?(?:json|xml|yaml|toml|ndjson)|application/(?:x-)?(?:javascript|"
    r"ecmascript|yaml|sh|sql|python|toml|ndjson|jsonlines|www-form-urlencoded)|image/svg\+xml|"
    r"message/.*|"
)
_HTML = frozenset({"text/html", "application/xhtml+xml"})
_CHARSET = re.compile(r""";\s*charset\s*=\s*["']?([A-Za-z0-9_.:-]{1,40})""", re.IGNORECASE)
_META = re.compile(rb"""(?i)<meta[^>]{1,200}?charset\s*=\s*["']?([A-Za-z0-9_.:-]{1,40})""")
_KNOWN = re.compile(
    r"utf-(?:8|16|32)(?:-le|-be|-sig)?|ascii|iso8859-\d+|cp\d+|koi8-[rut]|gb2312|gbk|gb18030|"
    r"big5(?:hkscs)?|shift_jis|euc_(?:jp|kr)|mac-roman|tis-620"
)
"""The charsets that are decoded: those of the Web, not everything that Python calls a codec."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LOOKED_AT = 8192


class NotText(Exception):
    """A page is not text; the message says what it is."""


def media_type(content_type: str) -> str:
    """The type without its parameters, in lower case; `text/html` for example."""
    return content_type.partition(";")[0].strip().lower()


def page_text(content_type: str, body: bytes, url: Url) -> tuple[str, str]:
    """The title of a page, if it has one, and its text.

    Raises:
        NotText: it is binary by its type, or by what is in it.
    """
    kind = media_type(content_type)
    if not _TEXTS.fullmatch(kind):
        raise NotText(kind)
    charset = _charset(content_type, body, html=kind in _HTML)
    if b"\0" in body[:_LOOKED_AT] and not charset.startswith(("utf-16", "utf-32")):
        raise NotText(f"binary, though it says it is {kind or 'nothing'}")
    text = body.decode(charset, "replace")
    if kind not in _HTML:
        return "", text.replace("\r\n", "\n")
    return html_text(text, lambda href: _link(url, href))


def _charset(content_type: str, body: bytes, *, html: bool) -> str:
    """That of the mark, of the header, of the page; else UTF-8."""
    for mark, name in _MARKS:
        if body.startswith(mark):
            return name
    found = _CHARSET.search(content_type)
    if found is not None:
        return _known(found[1])
    meta = _META.search(body[:1024]) if html else None
    return _known(meta[1].decode("ascii")) if meta is not None else "utf-8"


def _known(charset: str) -> str:
    try:
        name = codecs.lookup(charset).name
    except LookupError:
        return "utf-8"
    return name if _KNOWN.fullmatch(name) else "utf-8"


def _link(base: Url, href: str) -> str:
    if href.startswith("#"):
        return ""
    try:
        return str(join_url(base, href))
    except UrlRefused:
        return ""
