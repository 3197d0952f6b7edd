"""The readable text of an HTML page, in time that grows with its length only.

A tokeniser of our own: that of the standard library takes half a minute for 64 KiB of `<a `, and
pages are hostile. On broken pages it need not agree with browsers; it finds the text of sound ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape

__all__ = ["html_text"]

MOST_LINKS = 2000
"""Links of one page whose targets are shown."""

_LONGEST_HREF = 2000
_NAME = re.compile(r"/?[A-Za-z][A-Za-z0-9:-]{0,40}")
_STOP = re.compile(r"[>\"']")
_QUOTES = re.compile(r"=[ \t\r\n]{0,8}\Z")
_HREF = re.compile(
    r"""[\s"']href\s{0,8}=\s{0,8}(?:"([^"]*)"|'([^']*)'|([^\s>"']+))""", re.IGNORECASE
)
_SPACES = re.compile(r"[ \t\r\n\f]+")
_BLANK = re.compile(r"\n{3,}")
_SKIPPED = frozenset({"script", "style", "template", "svg", "iframe", "noframes", "noembed"})
_BLOCK = re.compile(
    "address|article|aside|blockquote|body|dd|details|dialog|div|dl|dt|fieldset|figcaption|figure|"
    "footer|form|header|hr|html|main|nav|ol|p|pre|section|summary|table|ul"
)
_LINES = frozenset({"br", "tr", "option", "caption"})
_CELLS = frozenset({"td", "th"})
_HEADINGS = {f"h{level}": "#" * level for level in range(1, 7)}


def html_text(page: str, link: Callable[[str], str]) -> tuple[str, str]:
    """The title of a page and its text: paragraphs, `# headings`, `- lists`, `[links](URL)`.

    Scripts and styles are left out. `link` makes the URL of what a link says, empty where there is
    none to show.
    """
    reader = _Reader(page, link)
    reader.read()
    return reader.title, reader.text()


class _Reader:
    def __init__(self, page: str, link: Callable[[str], str]) -> None:
        self.title = ""
        self._page = page
        self._link = link
        self._out: list[str] = []
        self._pre = 0
        self._links = 0
        self._target = ""
        self._opened = -1
        self._ahead: dict[str, int] = {}

    def read(self) -> None:
        at, page = 0, self._page
        while at < len(page):
            start = self._find("<", at)
            self._say(page[at : len(page) if start < 0 else start])
            if start < 0:
                return
            at = self._markup(start)

    def text(self) -> str:
        self._end_link()
        lines = "".join(self._out).split("\n")
        return _BLANK.sub("\n\n", "\n".join(line.rstrip() for line in lines)).strip()

    # --- markup -----------------------------------------------------------------------------------

    def _find(self, what: str, at: int) -> int:
        """Where something is next; looks at each character once, as `at` only grows."""
        known = self._ahead.get(what, 0)
        if known < 0 or known >= max(at, 1):
            return known
        self._ahead[what] = found = self._page.find(what, at)
        return found

    def _after(self, what: str, at: int) -> int:
        found = self._find(what, at)
        return len(self._page) if found < 0 else found + len(what)

    def _markup(self, start: int) -> int:
        """Read what begins with `<`; where it ends."""
        page = self._page
        if page.startswith("<!--", start):
            return self._after("-->", start + 4)
        if page.startswith(("<!", "<?"), start):
            return self._after(">", start + 2)
        name = _NAME.match(page, start + 1)
        if name is None:
            self._say("<")
            return start + 1
        tag = name[0].lower()
        end = self._tag_end(name.end())
        if tag in _SKIPPED or tag == "title":
            close = self._closing(tag, end)
            if tag == "title" and not self.title:
                self.title = _plain(page[end:close])
            return self._after(">", close)
        self._tag(tag, page[name.end() : end])
        return end

    def _tag_end(self, at: int) -> int:
        """The end of a tag, which is not a `>` in quotes."""
        page = self._page
        while (stop := _STOP.search(page, at)) is not None:
            at = stop.end()
            if stop[0] == ">":
                return at
            if _QUOTES.search(page[max(0, stop.start() - 9) : stop.start()]):
                close = self._find(stop[0], at)
                at = at if close < 0 else close + 1
        return len(page)

    def _closing(self, tag: str, at: int) -> int:
        """Where the tag begins that closes another, whose content is not text of the page."""
        if self._ahead.get(f"/{tag}", 0) < 0:
            return len(self._page)
        close = re.compile(f"</{tag}", re.IGNORECASE).search(self._page, at)
        if close is None:
            self._ahead[f"/{tag}"] = -1
            return len(self._page)
        return close.start()

    def _tag(self, tag: str, rest: str) -> None:
        name = tag.removeprefix("/")
        closes = tag != name
        if name == "a":
            self._end_link()
            if not closes:
                self._begin_link(rest)
        elif name in _HEADINGS:
            self._out.append("\n\n" if closes else f"\n\n{_HEADINGS[name]} ")
        elif _BLOCK.fullmatch(name):
            self._out.append("\n\n")
            if name == "pre":
                self._pre = max(0, self._pre + (-1 if closes else 1))
        elif name in _LINES or (name == "li" and closes):
            self._out.append("\n")
        elif not closes and name == "li":
            self._out.append("\n- ")
        elif not closes and name in _CELLS:
            self._out.append(" | ")

    # --- text -------------------------------------------------------------------------------------

    def _say(self, raw: str) -> None:
        if not raw:
            return
        text = unescape(raw)
        if not self._pre:
            text = _SPACES.sub(" ", text)
            before = self._out[-1] if self._out else "\n"
            if before.endswith(("\n", " ")):
                text = text.lstrip(" ")
        if text:
            self._out.append(text)

    def _begin_link(self, rest: str) -> None:
        found = _HREF.search(rest[:_LONGEST_HREF])
        if found is None or self._links >= MOST_LINKS:
            return
        self._links += 1
        self._target = self._link(unescape(found[1] or found[2] or found[3] or "").strip())
        if self._target:
            self._opened = len(self._out)
            self._out.append("[")

    def _end_link(self) -> None:
        if self._opened < 0:
            return
        if len(self._out) == self._opened + 1:
            self._out.pop()  # a link without text, such as an image
        else:
            self._out.append(f"]({self._target})")
        self._opened = -1


def _plain(text: str) -> str:
    return _SPACES.sub(" ", unescape(text)).strip()
