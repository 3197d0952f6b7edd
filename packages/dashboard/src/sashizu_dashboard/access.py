"""Who may use the dashboard: whoever has the token, from pages of the dashboard alone.

Any process of any user reaches a port of this machine, and so does any page in a browser. Therefore
each request has to name us as its host (else a name of somebody else's that leads here would make
his page ours), has to bring the cookie that the token was exchanged for, and may change something
only if it comes from a page of ours, which the browser tells and a second token proves.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from http.cookies import CookieError, SimpleCookie
from secrets import token_urlsafe

__all__ = ["HEADERS", "OPEN", "Access", "Refusal"]

OPEN = re.compile(r"/enter|/assets/[a-z.]+")
"""Paths that need no cookie: they show nothing of any run."""

HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""What every answer carries. No script but ours runs, and it cannot make markup of text."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request gets no answer: a status of HTTP and a text."""

    status: int
    why: str


@dataclass(frozen=True, slots=True)
class Access:
    """The secrets of one dashboard; all are made anew whenever one starts.

    `token` is what a person brings, `session` what the cookie holds, `form` what our forms hold.
    """

    port: int
    token: str = field(default_factory=lambda: token_urlsafe(32), repr=False)
    session: str = field(default_factory=lambda: token_urlsafe(32), repr=False)
    form: str = field(default_factory=lambda: token_urlsafe(32), repr=False)

    @property
    def hosts(self) -> Collection[str]:
        """What a request may call us."""
        return [f"{name}:{self.port}" for name in ("127.0.0.1", "localhost", "[::1]")]

    @property
    def cookie(self) -> str:
        """The cookie's name: ports share cookies, and so two dashboards must not have the same."""
        return f"sashizu-{self.port}"

    def set_cookie(self) -> str:
        """The header that gives the cookie."""
        return f"{self.cookie}={self.session}; Path=/; HttpOnly; SameSite=Strict"

    def admits(self, token: str) -> bool:
        """Whether it is the token."""
        return _same(token, self.token)

    def refusal(self, method: str, path: str, headers: Mapping[str, str]) -> Refusal | None:
        """Why a request must not be answered; `headers` have lower-case names."""
        host = headers.get("host", "").lower()
        if host not in self.hosts:
            return Refusal(421, "this host is not here: use the address that was printed")
        if method not in {"GET", "HEAD", "POST"}:
            return Refusal(405, "only GET and POST")
        if self._foreign(method, host, headers):
            return Refusal(403, "this was asked for by another page")
        if OPEN.fullmatch(path) or _same(self._brought(headers), self.session):
            return None
        return Refusal(401, "the token is needed that was printed when the dashboard started")

    def owns(self, form_token: str) -> bool:
        """Whether a form is one of ours."""
        return _same(form_token, self.form)

    def _foreign(self, method: str, host: str, headers: Mapping[str, str]) -> bool:
        site, mode = headers.get("sec-fetch-site", ""), headers.get("sec-fetch-mode", "")
        origin = headers.get("origin")
        ours = f"http://{host}"
        if method == "POST":
            return origin != ours or site not in {"", "same-origin"}
        if origin not in {None, ours}:
            return True
        return site in {"cross-site", "same-site"} and mode != "navigate"

    def _brought(self, headers: Mapping[str, str]) -> str:
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return ""
        found = cookies.get(self.cookie)
        return found.value if found is not None else ""


def _same(given: str, right: str) -> bool:
    return compare_digest(given.encode("utf-8", "surrogatepass"), right.encode())
