"""Unlocking the language model: the settings, the token that nobody sees, the fake with a lock."""

from __future__ import annotations

import pytest
from sashizu_core.errors import ConfigError, ModelError
from sashizu_core.redaction import secret_variables
from sashizu_core.settings import Settings
from sashizu_core.types import Message, ModelRequest
from sashizu_winai.capabilities import Capability
from sashizu_winai.choosing import chosen_backend
from sashizu_winai.errors import Denied
from sashizu_winai.fake import FakeBackend
from sashizu_winai.model import WindowsModel
from sashizu_winai.offers import model_specs
from sashizu_winai.settings import winai_settings
from sashizu_winai.unlocking import FEATURE, Unlock, judge, unlock_of

TOKEN = "t0k-" + "Zm9yYmlkZGVu"
SENTENCE = "0123456789abc agrees to the terms."
NAMED = {"token_env": "OUR_TOKEN", "attestation": SENTENCE}


def table(**model):
    return winai_settings(Settings({"winai": {"language_model": model}}))


def test_the_settings_name_the_variable_and_the_environment_has_the_token():
    assert unlock_of(table(), {"OUR_TOKEN": TOKEN}) is None
    found = unlock_of(table(**NAMED), {"OUR_TOKEN": f" {TOKEN}\n"})
    assert (found.checked(), found.attestation) == (TOKEN, SENTENCE)
    assert TOKEN not in repr(found)
    assert TOKEN not in repr(table(**NAMED))
    assert secret_variables({found.variable: TOKEN}) == [TOKEN]  # what records keep out


@pytest.mark.parametrize("env", [{}, {"OUR_TOKEN": " "}])
def test_a_variable_that_is_not_set_is_denied_by_its_name(env):
    with pytest.raises(Denied, match="OUR_TOKEN is not set") as caught:
        unlock_of(table(**NAMED), env).checked()
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"token_env": "OUR_TOKEN"}, "go together"),
        ({"attestation": SENTENCE}, "go together"),
        ({**NAMED, "token_env": "PLACE"}, "ends in _TOKEN"),
        ({**NAMED, "token": TOKEN}, "token"),
    ],
    ids=["no sentence", "no token", "a name that no secret has", "the token itself"],
)
def test_wrong_settings_are_refused_without_repeating_a_token(wrong, said):
    with pytest.raises(ConfigError, match=said) as caught:
        table(**wrong)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("status", ["unavailable", "unknown"])
def test_what_is_not_unlocked_is_denied_with_a_remedy(status):
    with pytest.raises(Denied, match=f"{FEATURE} is {status}") as caught:
        judge(status)
    assert caught.value.remedy
    judge("available")
    judge("available_without_token")


@pytest.mark.parametrize("given", [None, Unlock("another", SENTENCE, "OUR_TOKEN")])
async def test_a_locked_model_is_denied_and_its_run_is_told_why(given):
    backend = FakeBackend(locked=TOKEN, unlock=given)
    probe = await backend.probe(Capability.LANGUAGE_MODEL)
    assert probe.state == "denied"
    assert (await backend.probe(Capability.ACTIONS)).ready
    with pytest.raises(ModelError, match="unlock the language model") as caught:
        await WindowsModel(backend).complete(ModelRequest((Message("user", "x"),)))
    assert (caught.value.fault, caught.value.sent) == ("auth", False)
    assert TOKEN not in str(caught.value)


async def test_the_right_token_unlocks_it():
    backend = FakeBackend(locked=TOKEN, unlock=Unlock(TOKEN, SENTENCE, "OUR_TOKEN"))
    assert (await backend.probe(Capability.LANGUAGE_MODEL)).ready
    given = await WindowsModel(backend).complete(ModelRequest((Message("user", "x"),)))
    assert given.message.content


async def test_what_the_settings_name_comes_to_the_backend_of_the_model(monkeypatch):
    asked = []

    def chosen(fake, unlock=None):
        asked.append(unlock)
        return chosen_backend(True)

    monkeypatch.setattr("sashizu_winai.choosing.chosen_backend", chosen)
    monkeypatch.setenv("OUR_TOKEN", TOKEN)
    (spec,) = model_specs(Settings({"winai": {"language_model": NAMED}}))
    assert (await spec.probe()).ready
    async with spec.open("phi-silica"):
        assert [one.checked() for one in asked] == [TOKEN, TOKEN]
