"""What `sashizu mcp-server` was asked for, read without any library."""

TYPE_CHECKING = False  # as `typing` has it, which takes longer to import than all of this
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Options", "read_options"]


class Options:
    """The options of one server; texts as they were written.

    `http` is `HOST:PORT`, empty for stdio. `late` imports everything before the first answer.
    `leased` serves nothing but agents that another process of ours hands over.
    """

    __slots__ = (
        "allow_hosts",
        "audit",
        "budget",
        "http",
        "idle",
        "late",
        "leased",
        "model",
        "policy",
        "token",
        "token_file",
    )

    def __init__(self) -> None:
        self.policy = ""
        self.http = ""
        self.budget: list[str] = []
        self.model = ""
        self.idle = ""
        self.token = True
        self.token_file = ""
        self.allow_hosts: list[str] = []
        self.audit = True
        self.late = False
        self.leased = False

    @property
    def key(self) -> str:
        """What of them the answers to first requests depend on."""
        return f"policy={self.policy};audit={self.audit};leased={self.leased}"


_TEXT = {
    "--policy": "policy",
    "--http": "http",
    "--model": "model",
    "--idle": "idle",
    "--token-file": "token_file",
}
_MANY = {"--budget": "budget", "--allow-host": "allow_hosts"}
_SWITCHES = {
    "--no-token": ("token", False),
    "--no-audit": ("audit", False),
    "--late": ("late", True),
    "--leased": ("leased", True),
}


def read_options(words: "list[str]") -> "Options | None":
    """The options that words say, or None where they are for the real parser: help, or wrong."""
    options = Options()
    waiting = iter(words)
    for word in waiting:
        name, equals, value = word.partition("=")
        if name in _SWITCHES and not equals:
            attribute, said = _SWITCHES[name]
            setattr(options, attribute, said)
            continue
        if name not in _TEXT and name not in _MANY:
            return None
        if not equals:
            found: Any = next(waiting, None)
            if found is None:
                return None
            value = found
        if name in _TEXT:
            setattr(options, _TEXT[name], value)
        else:
            getattr(options, _MANY[name]).append(value)
    return options
