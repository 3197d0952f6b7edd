"""Definitions as files."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from sashizu_core.agents import AgentDefinition, read_agent_text
from sashizu_core.agents.definition import agent_key
from sashizu_core.errors import ConfigError

__all__ = ["agent_path", "fingerprint", "yaml_text"]

AGENTS = ".sashizu/agents"
"""Where a repository keeps its agents."""


def agent_path(name: str) -> str:
    """The file of an agent of the repository, relative to the workspace."""
    return f"{AGENTS}/{agent_key(name)}.yaml"


def fingerprint(text: str) -> str:
    """The SHA-256 of a file with this text, as 64 hexadecimal digits."""
    return sha256(text.encode()).hexdigest()


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as a block."""


_BREAKS = frozenset("\x85\u2028\u2029")
"""What ends a line for YAML and for nobody else: such text has to be written with escapes."""


def _text(dumper: yaml.SafeDumper, text: str) -> Any:
    style = '"' if not _BREAKS.isdisjoint(text) else "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def yaml_text(definition: AgentDefinition) -> str:
    """The file of a definition, which reads back as the same.

    Raises:
        ConfigError: it holds text that no file can.
    """
    values = definition.model_dump(mode="json", exclude_defaults=True)
    text: str = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    try:
        text.encode()
        found, _ = read_agent_text(text, Path("agent.yaml"))
    except UnicodeEncodeError as error:
        raise ConfigError("the definition holds text that is no Unicode") from error
    if found != definition:
        raise ConfigError("the definition holds text that a file would not keep as it is")
    return text
