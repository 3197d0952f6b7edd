"""Commands of plugins: announced without import, offered by the hook, and called."""

from sashizu_cli.announced import announced
from sashizu_core.plugins import open_registry
from sashizu_core.settings import Settings


def test_what_is_announced_is_what_the_hook_offers():
    told = {command.name: command.target for command in announced(disabled="")}
    offered = {spec.name: spec.target for spec in open_registry(Settings()).commands.values()}

    assert told == offered
    assert {"audit", "budget"} <= set(told)


def test_a_plugins_command_has_plain_help_and_its_own_errors(place):
    shown = place.sashizu("audit", "--help", COLUMNS="40")
    wrong = place.sashizu("audit", "nosuch")

    assert shown.returncode == 0
    assert shown.stdout.startswith("Usage: sashizu audit [OPTIONS] COMMAND [ARGS]...\n")
    assert shown.stdout.isascii()
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("sashizu: error: No such command 'nosuch'")


def test_disabling_a_plugin_takes_its_command_away(place):
    helped = place.sashizu("--help", SASHIZU_DISABLE="audit")
    called = place.sashizu("audit", "runs", SASHIZU_DISABLE="audit")

    assert "  audit  " not in helped.stdout
    assert "  budget  " in helped.stdout
    assert called.returncode == 2
    assert "the command 'audit' is switched off by SASHIZU_DISABLE" in called.stderr
