"""Every HRESULT becomes a typed error that says what to do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_winai.capabilities import Capability
from sashizu_winai.errors import (
    HRESULTS,
    Crashed,
    Denied,
    Failed,
    Missing,
    NotReady,
    Unsupported,
    WindowsAiError,
    error_of,
)


@pytest.mark.parametrize(
    ("hresult", "kind", "state", "words"),
    [
        (0x80040154, Missing, "missing", "not registered"),
        (0x80040111, Missing, "missing", "does not serve"),
        (0x80080005, NotReady, "not_ready", "did not start"),
        (0x80070005, Denied, "denied", "access is denied"),
        (0x80004005, Failed, "not_ready", "unspecified"),
        (0x80004001, Unsupported, "unsupported", "not implement"),
        (0x80004002, Missing, "missing", "lacks the interface"),
        (0x800401F0, Failed, "not_ready", "not initialised"),
        (0x80010106, Failed, "not_ready", "apartment"),
        (0x80073D54, Denied, "denied", "no package identity"),
        (0x80670016, Missing, "missing", "Windows App Runtime"),
        (0x8007007E, Missing, "missing", "library"),
        (0x887A0004, Unsupported, "unsupported", "graphics"),
        (0x80073D3B, NotReady, "not_ready", "deployed"),
        (0xA0EE4005, Failed, "not_ready", "our own"),
        (0x800706BA, Crashed, "not_ready", "not there any more"),
        (0x800706BE, Crashed, "not_ready", "ended during"),
        (0x80010108, Crashed, "not_ready", "lost"),
    ],
)
def test_each_known_code_has_its_kind_its_words_and_a_remedy(hresult, kind, state, words):
    signed = hresult - (1 << 32)  # as Python's `winerror` has it
    error = error_of("open it", signed)

    assert type(error) is kind
    assert error.hresult == hresult
    assert error.remedy
    assert words in str(error)
    assert f"0x{hresult:08X}" in str(error)
    probe = error.probe(Capability.ACTIONS)
    assert (probe.state, probe.hresult, probe.remedy) == (state, hresult, error.remedy)


def test_the_table_holds_no_code_that_the_test_above_leaves_out():
    assert len(HRESULTS) == 18


def test_the_bare_code_of_a_missing_identity_is_known_as_well():
    assert type(error_of("ask", 15700)) is Denied
    assert error_of("ask", 15700).hresult == 0x80073D54


def test_an_unspecified_failure_that_speaks_of_a_declaration_is_a_denial():
    error = error_of("open the model", 0x80004005, "Not declared by app")

    assert type(error) is Denied
    assert "systemAIModels" in error.remedy


@given(hresult=st.integers(-(1 << 31), (1 << 32) - 1), message=st.text(max_size=400))
def test_any_code_and_any_message_make_one_printable_line(hresult, message):
    error = error_of("ask", hresult, message)

    assert isinstance(error, WindowsAiError)
    assert str(error).isprintable()
    assert len(str(error)) < 900
    assert error.remedy
