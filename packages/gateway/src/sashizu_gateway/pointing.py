"""How known programs are told to talk to a gateway, and to nobody else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

__all__ = ["TOKEN_VARIABLE", "Pointed", "pointed"]

TOKEN_VARIABLE = "SASHIZU_GATEWAY_TOKEN"  # noqa: S105 - the name of a variable
PROVIDER = "sashizu"

_KEYS = frozenset(
    {
        *("OPENAI_API_KEY", "CODEX_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"),
        *("OPENAI_ADMIN_KEY", "AZURE_OPENAI_API_KEY", "AWS_BEARER_TOKEN_BEDROCK"),
        *("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"),
        *("ANTHROPIC_FOUNDRY_API_KEY", "CLAUDE_CODE_USE_FOUNDRY"),
        *("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX"),
    }
)
"""Variables by which clients would find a way around the gateway."""

_HERE = ("127.0.0.1", "localhost", "::1")
"""What no proxy is asked for: the gateway is on this machine, and its token is for nobody else."""


@dataclass(frozen=True, slots=True)
class Pointed:
    """A command that talks to the gateway: its words, and its whole environment."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    client: str


def pointed(
    argv: Sequence[str], url: str, token: str, env: Mapping[str, str], hidden: Sequence[str] = ()
) -> Pointed:
    """A command as it has to be started.

    `url` is the gateway's, without path; `env` what the command would get otherwise; `hidden` are
    further variables that it does not get. What is told to every program: the variables of
    OpenAI's and Anthropic's libraries. Codex is told by its own configuration.
    """
    client = PurePath(argv[0]).name.removesuffix(".exe")
    gone = _KEYS.union(hidden)
    environment = {name: value for name, value in env.items() if name not in gone}
    environment |= {
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_BASE": f"{url}/v1",
        "OPENAI_API_KEY": token,
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": token,
        TOKEN_VARIABLE: token,
        **_past_proxies(environment),
    }
    words = tuple(argv)
    if client == "codex":
        words = (argv[0], *codex_flags(f"{url}/v1"), *argv[1:])
    elif client == "claude":
        del environment["ANTHROPIC_API_KEY"]  # else it asks a person whether to use it
        environment["ANTHROPIC_AUTH_TOKEN"] = token
        environment.setdefault("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
    return Pointed(words, environment, client)


def _past_proxies(env: Mapping[str, str]) -> Mapping[str, str]:
    """The variables that lead past the proxies of an environment to the gateway."""
    if not any(name.lower().endswith("_proxy") for name in env):
        return {}
    before = [env[name] for name in ("no_proxy", "NO_PROXY") if env.get(name)][:1]
    return dict.fromkeys(("no_proxy", "NO_PROXY"), ",".join((*before, *_HERE)))


def codex_flags(base_url: str) -> tuple[str, ...]:
    """What points Codex at a gateway; it reads no variable for that."""
    provider = (
        f"{{name={_toml(PROVIDER)},base_url={_toml(base_url)},"
        f'wire_api="responses",env_key={_toml(TOKEN_VARIABLE)}}}'
    )
    return (
        *("-c", f"model_provider={_toml(PROVIDER)}"),
        *("-c", f"model_providers.{PROVIDER}={provider}"),
    )


def _toml(text: str) -> str:
    """A text as TOML; a basic string of TOML is one of JSON."""
    return json.dumps(text)
