from __future__ import annotations

import pytest
from sashizu_core.testing.contract import Contract


class Suite(Contract):
    __test__ = False

    def test_promise(self) -> None:
        raise AssertionError


def test_a_suite_that_overrides_nothing_passes() -> None:
    class Honest(Suite):
        def test_more(self) -> None: ...

    Honest().test_no_inherited_test_is_overridden()


def test_overriding_a_promise_is_found() -> None:
    class Silent(Suite):
        def test_promise(self) -> None: ...

    with pytest.raises(AssertionError, match=r"Silent\.test_promise"):
        Silent().test_no_inherited_test_is_overridden()


def test_overriding_a_promise_of_a_grandparent_is_found() -> None:
    class Between(Suite): ...

    class Silent(Between):
        def test_promise(self) -> None: ...

    with pytest.raises(AssertionError, match=r"Silent\.test_promise"):
        Silent().test_no_inherited_test_is_overridden()


def test_a_gap_with_a_reason_is_allowed() -> None:
    class Gap(Suite):
        @pytest.mark.xfail(reason="the provider does not say")
        def test_promise(self) -> None: ...

    Gap().test_no_inherited_test_is_overridden()


def test_a_gap_without_a_reason_is_found() -> None:
    class Gap(Suite):
        @pytest.mark.xfail
        def test_promise(self) -> None: ...

    with pytest.raises(AssertionError, match=r"Gap\.test_promise"):
        Gap().test_no_inherited_test_is_overridden()
