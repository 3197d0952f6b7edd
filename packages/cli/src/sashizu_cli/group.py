"""The root command: imports a command when it is called, lists those of plugins without importing.

A first word that is no command is a prompt: `sashizu "why is the build red?"` means
`sashizu run "why is the build red?"`. A single word that looks like a command's name is taken for a
wrong one, so that a typing error does not start a run.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer
from sashizu_core.errors import MissingPackage, PluginError, UsageError
from typer.core import TyperCommand, TyperGroup

from sashizu_cli.announced import Announced, announced, commands_section
from sashizu_cli.shared import accelerate

if TYPE_CHECKING:
    from typer._click.core import Command as AnyCommand

__all__ = ["OWN", "Root", "loaded"]

OWN = {
    "run": "sashizu_cli.commands.run:app",
    "delegate": "sashizu_cli.commands.delegate:app",
    "delegate-parallel": "sashizu_cli.commands.delegate_parallel:app",
    "supervisor": "sashizu_cli.commands.supervisor:app",
    "agent-create": "sashizu_cli.commands.agent_create:app",
    "replay": "sashizu_cli.commands.replay:app",
    "resume": "sashizu_cli.commands.resume:app",
    "fork": "sashizu_cli.commands.fork:app",
    "runs": "sashizu_cli.commands.runs:app",
    "agent": "sashizu_cli.commands.agent:app",
    "trust": "sashizu_cli.commands.trust:app",
    "policy": "sashizu_cli.commands.policy:app",
    "models": "sashizu_cli.commands.models:app",
    "plugins": "sashizu_cli.commands.plugins:app",
    "config": "sashizu_cli.commands.config:app",
    "init": "sashizu_cli.commands.init:app",
    "doctor": "sashizu_cli.commands.doctor:app",
    "completion": "sashizu_cli.commands.completion:app",
}
"""Our own commands, in the order of `--help`: name to `module:app`."""

BROUGHT_BY = {
    "app-server": "sashizu-mcp-server",
    "acp": "sashizu-mcp-server",
    "audit": "sashizu-audit",
    "bench": "sashizu-winai",
    "budget": "sashizu-budget",
    "exec-with-budget": "sashizu-gateway",
    "gateway": "sashizu-gateway",
    "mcp": "sashizu-mcp-server",
    "mcp-server": "sashizu-mcp-server",
    "merge": "sashizu-sandbox",
    "dashboard": "sashizu-dashboard",
    "report": "sashizu-dashboard",
    "worktrees": "sashizu-sandbox",
}
"""Commands of other packages of ours: never a prompt, even where the package is absent."""

_LIKE_A_COMMAND = re.compile(r"[A-Za-z][A-Za-z_-]*")

_SETTINGS = {"help_option_names": ["-h", "--help"], "terminal_width": 78}


def loaded(target: str, name: str) -> Any:
    """The command behind `module:app`, with plain help.

    Raises:
        PluginError: it cannot be imported, or is no typer app.
    """
    module, _, attribute = target.partition(":")
    try:
        app = getattr(import_module(module), attribute)
    except Exception as error:
        raise PluginError(f"the command {name!r} ({target}) cannot be loaded: {error}") from error
    if not isinstance(app, typer.Typer):
        raise PluginError(f"the command {name!r} ({target}) is no typer app")
    command = typer.main.get_command(app)
    command.name = name
    command.params = [p for p in command.params if p.name not in _COMPLETION]
    _make_plain(command)
    return command


_COMPLETION = frozenset({"install_completion", "show_completion"})


def _make_plain(command: Any) -> None:
    command.rich_markup_mode = None
    for below in getattr(command, "commands", {}).values():
        _make_plain(below)


class Root(TyperGroup):
    """The group of all commands. `foreign` says whether those of plugins count."""

    foreign = True

    def __init__(self, **attrs: Any) -> None:
        attrs["context_settings"] = _SETTINGS
        super().__init__(**attrs)
        self._loaded: dict[str, Any] = {}

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - typer's signature
        return [*OWN, *dict.fromkeys(command.name for command in self._foreign())]

    def get_command(self, ctx: Any, cmd_name: str) -> AnyCommand | None:  # noqa: ARG002
        """The command itself for our own; for a plugin's, a stand-in with its summary."""
        if target := OWN.get(cmd_name):
            if cmd_name not in self._loaded:
                self._loaded[cmd_name] = loaded(target, cmd_name)
            own: AnyCommand = self._loaded[cmd_name]
            return own
        for command in self._foreign():
            if command.name == cmd_name:
                return TyperCommand(cmd_name, help=command.summary, rich_markup_mode=None)
        return None

    def resolve_command(
        self, ctx: Any, args: list[str]
    ) -> tuple[str | None, AnyCommand | None, list[str]]:
        name = args[0]
        if name in OWN:
            return name, self.get_command(ctx, name), args[1:]
        offers = [command for command in self._foreign() if command.name == name]
        if offers:
            return name, loaded(_only(offers).target, name), args[1:]
        if ctx.resilient_parsing or (name.startswith("-") and name != "-"):
            return super().resolve_command(ctx, args)
        _refuse_absent(name)
        self._refuse_misspelt(ctx, name)
        return "run", self.get_command(ctx, "run"), args

    def invoke(self, ctx: Any) -> Any:
        accelerate(ctx)  # for commands of plugins, which do not know of it
        return super().invoke(ctx)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        rows = []
        for name in OWN:
            command = self.get_command(ctx, name)
            if command is not None:
                rows.append((name, command.get_short_help_str(78 - 6 - max(map(len, OWN)))))
        with formatter.section("Commands"):
            formatter.write_dl(rows)
        formatter.write(commands_section(self._foreign()))

    def _foreign(self) -> list[Announced]:
        if not self.foreign:
            return []
        return [command for command in announced() if command.name not in OWN]

    def _refuse_misspelt(self, ctx: Any, name: str) -> None:
        if not _LIKE_A_COMMAND.fullmatch(name):
            return
        near = get_close_matches(name, self.list_commands(ctx), n=1, cutoff=0.7)
        meant = f"did you mean {near[0]!r}?" if near else "'sashizu --help' lists them."
        raise UsageError(
            f"no command {name!r}; {meant} To use the word as a prompt: sashizu run {name}"
        )


def _refuse_absent(name: str) -> None:
    """Say what a command needs that is known, but not there."""
    if any(command.name == name for command in announced(disabled="")):
        raise UsageError(f"the command {name!r} is switched off by SASHIZU_DISABLE")
    if package := BROUGHT_BY.get(name):
        raise MissingPackage(f"the command {name!r}", package)


def _only(offers: list[Announced]) -> Announced:
    if len(offers) > 1:
        dists = ", ".join(offer.dist for offer in offers)
        raise PluginError(
            f"{len(offers)} packages offer the command {offers[0].name!r}: {dists}; "
            "uninstall all but one, or name the plugins of the others in SASHIZU_DISABLE"
        )
    return offers[0]
