"""How tokens of well-known services look, and how text assigns a secret to a name.

The formats are those that the services document. Each expression takes time in proportion to the
text, whatever the text is: a run of characters that starts at a boundary is looked at once, all
else is bounded, and the first character is one of a few, so that most text is passed over fast.

Groups are named after kinds. An empty one stands at the end of a format that is a secret as a
whole; one that is not empty holds the secret itself.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice

from sashizu_core.redaction.spans import Span
from sashizu_core.redaction.suspicion import may_hold_secret

__all__ = ["ASSIGNMENTS", "KINDS", "MOST_SECRETS", "TOKENS", "secrets_in"]

MOST_SECRETS = 10_000
"""Secrets of one text that are told apart; a text that holds as many is taken out as a whole."""

_PART = 1024
"""Characters of a part of a text that is looked at on its own."""


def _starts(width: int) -> str:
    r"""No letter or digit before the last `width` characters, but that of an escape (`\n`)."""
    return rf"(?:(?<![A-Za-z0-9_-].{{{width}}})|(?<=\\[nrt].{{{width}}}))"


_KEY_TEXT = r"(?:[A-Za-z0-9+/=\s:,.]|\\[nrt]|-(?!----))"

_TOKENS = (
    rf"s{_starts(1)}k-ant-[A-Za-z0-9_-]{{16,512}}(?P<anthropic_key>)",
    (
        rf"s{_starts(1)}k-(?:(?:proj|svcacct|admin|None|or-v1|lf)-[A-Za-z0-9_-]{{16,512}}"
        r"|[A-Za-z0-9]{20,256})(?P<openai_key>)"
    ),
    rf"s{_starts(1)}k_(?:live|test)_[A-Za-z0-9]{{16,256}}(?P<stripe_key>)",
    rf"r{_starts(1)}k_(?:live|test)_[A-Za-z0-9]{{16,256}}(?P<stripe_restricted_key>)",
    r"whsec_[A-Za-z0-9+/=]{24,128}(?P<stripe_webhook_secret>)",
    r"gh[oprsu]_[A-Za-z0-9]{36,255}(?P<github_token>)",
    r"github_pat_[A-Za-z0-9_]{22,255}(?P<github_pat>)",
    r"gl(?:pat|dt|rt|cbt|ptt|ft|soat|imt|agent)-[A-Za-z0-9_-]{20,255}(?P<gitlab_token>)",
    rf"A{_starts(1)}(?:KIA|SIA|BIA|CCA)[A-Z0-9]{{16}}(?![A-Za-z0-9])(?P<aws_key>)",
    r"AIza[A-Za-z0-9_-]{35}(?P<google_key>)",
    r"GOCSPX-[A-Za-z0-9_-]{20,64}(?P<google_secret>)",
    r"ya29\.[A-Za-z0-9_-]{20,1024}(?P<google_token>)",
    r"xox[a-z]-[A-Za-z0-9-]{10,255}(?P<slack_token>)",
    r"xapp-[0-9]-[A-Za-z0-9-]{10,255}(?P<slack_app_token>)",
    r"hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/_-]{20,128}(?P<slack_webhook>)",
    rf"h{_starts(1)}f_[A-Za-z0-9]{{30,64}}(?P<huggingface_token>)",
    r"npm_[A-Za-z0-9]{36,64}(?P<npm_token>)",
    r"pypi-[A-Za-z0-9_-]{40,512}(?P<pypi_token>)",
    r"do[opr]_v1_[a-f0-9]{64}(?P<digitalocean_token>)",
    r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}(?P<shopify_token>)",
    r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}(?P<sendgrid_key>)",
    r"hv[sbr]\.[A-Za-z0-9_-]{24,512}(?P<vault_token>)",
    r"gl(?:sa|c)_[A-Za-z0-9_+/=]{32,512}(?P<grafana_token>)",
    r"AGE-SECRET-KEY-1[0-9A-Z]{40,80}(?P<age_key>)",
    r"ATATT3x[A-Za-z0-9_=-]{20,512}(?P<atlassian_token>)",
    r"gsk_[A-Za-z0-9]{40,64}(?P<groq_key>)",
    r"xai-[A-Za-z0-9]{40,128}(?P<xai_key>)",
    r"nvapi-[A-Za-z0-9_-]{40,128}(?P<nvidia_key>)",
    r"r8_[A-Za-z0-9]{30,64}(?P<replicate_token>)",
    r"lin_api_[A-Za-z0-9]{32,64}(?P<linear_key>)",
    r"://(?P<url_token>[A-Za-z0-9_-]{20,256})@",
    rf"eyJ{_starts(3)}[A-Za-z0-9_-]{{8,}}+\.eyJ[A-Za-z0-9_-]{{4,}}+\.[A-Za-z0-9_-]{{8,}}+(?P<jwt>)",
    (
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
        r"(?:(?:[^-]|-(?!----))*+-----END [A-Z0-9 ]{0,60}-----"
        rf"|{_KEY_TEXT}*+)(?P<private_key>)"
    ),
    r"://[^\s/@:\"'<>\[\]{}\\]{0,128}:(?P<url_password>[^\s/\"'<>\[\]{}\\]{3,256})@",
)

# The first letters of all names stand in front of them, once: `xassword` is found as well.
_NAME = (
    r"(?:assw(?:or)?d|assphrase|ecret|oken|redential|uthorization|ookie|(?<=p)wd"
    r"|pi[_-]?key|ccess[_-]?key|ccount[_-]?key|uth[_-]?key|rivate[_-]?key|igning[_-]?key"
    r"|ncryption[_-]?key)"
)
_BARE = r"[a-z0-9+/=_~!@#$%^&*?.:-]"
_ASSIGNED = (
    r"[a-z0-9_.-]{0,24}+"  # the rest of the name
    r"(?:\\{0,2}[\"'`])?\]?[ \t]{0,8}"
    r"(?::[ \t]{0,4}[a-z_]{1,16}[ \t]{0,4}=|=>|:=|==?|:|>)[ \t]{0,8}"
    r"(?:\\{0,2}[\"'`](?P<quoted>[^\s\"'`\\\[\]]{6,512}+)"
    rf"|(?P<bare>{_BARE}{{8,512}}+)(?![(\[{{]))"
)

TOKENS = re.compile("|".join(_TOKENS))
"""For a text as it is."""

ASSIGNMENTS = re.compile(
    r"[abcepst-](?:"
    r"earer[ \t]{1,4}(?P<bearer>[a-z0-9._~+/=-]{16,4096})"
    r"|asic[ \t]{1,4}(?P<basic>[a-z0-9+/]{12,1024}={0,2})"
    rf"|(?<!--)-[a-z-]{{0,24}}(?:password|passphrase|secret|token|key)[ \t]{{1,4}}"
    rf"(?P<flag>{_BARE}{{8,256}}+)"
    rf"|{_NAME}{_ASSIGNED})"
)
"""For a text in lower case."""

_KEY = re.compile("PRIVATE KEY(?: BLOCK)?-----")
_CERTAIN = frozenset({"bearer", "basic"})

KINDS = frozenset(
    {kind.replace("_", "-") for kind in TOKENS.groupindex}
    | {"known", "named", "assigned", "bearer", "basic", "configured", "crowded"}
)
"""What a mark may say."""


def secrets_in(text: str) -> list[Span]:
    """Where a text holds what looks like a secret; after `MOST_SECRETS` the rest is left out."""
    plain = text if text.isascii() else text.encode("latin-1", "replace").decode("latin-1")
    if not may_hold_secret(plain):
        return []
    found: list[Span] = []
    folded = plain.lower()
    for start, end in _parts(plain):
        if end - start == len(plain) or may_hold_secret(plain[start:end]):
            found += islice(_tokens(text, start, end), MOST_SECRETS)
            found += islice(_assigned(text, folded, start, end), MOST_SECRETS)
            if len(found) >= MOST_SECRETS:
                break
    return found


def _parts(text: str) -> Iterator[tuple[int, int]]:
    """Parts that no secret reaches beyond: lines, many at a time; from the first key on, all."""
    key = _KEY.search(text)
    last = text.rfind("\n", 0, key.start()) + 1 if key is not None else len(text)
    start = 0
    while start < last:
        end = min(text.find("\n", start + _PART) + 1 or last, last)
        yield start, end
        start = end
    if last < len(text):
        yield last, len(text)


def _tokens(text: str, begin: int, stop: int) -> Iterator[Span]:
    for found in TOKENS.finditer(text, begin, stop):
        group = found.lastgroup
        assert group is not None
        start, end = found.span(group)
        if start == end:
            start, end = found.span()
        yield start, end, group.replace("_", "-")


def _assigned(text: str, folded: str, begin: int, stop: int) -> Iterator[Span]:
    for found in ASSIGNMENTS.finditer(folded, begin, stop):
        group = found.lastgroup
        assert group is not None
        start, end = found.span(group)
        value = text[start:end]
        if group in _CERTAIN:
            if any(char.isdigit() for char in value):
                yield start, end, group
        elif _looks_secret(value, group, text[max(0, start - 48) : start]):
            yield start, end, "assigned"


def _looks_secret(value: str, group: str, before: str) -> bool:
    """Whether a value is rather a secret than a word, a reference or a placeholder."""
    if value.startswith(("${", "$(", "{{", "%(", "<")) or len(set(value)) < 4:
        return False
    if group == "quoted":
        return _classes(value) > 1 or len(value) >= 16
    if before.endswith("=") and before[:-1].rpartition("\n")[2].split(" ")[-1].isupper():
        return not value.isdigit()  # NAME=value, as in a file of environment variables
    return _classes(value) > 1 and any(map(str.isdigit, value)) and _bits(value) >= 2.8


def _classes(value: str) -> int:
    """How many of lower case, upper case and digits a value has; other signs count as one too."""
    plain = value.replace("_", "").replace("-", "").replace(".", "")
    return (
        any(map(str.islower, plain))
        + any(map(str.isupper, plain))
        + any(map(str.isdigit, plain))
        + (not plain.isalnum())
    )


def _bits(value: str) -> float:
    """Shannon's entropy in bits a character."""
    size = len(value)
    return -sum(n / size * math.log2(n / size) for n in Counter(value).values())
