"""What every policy has to do, as tests to inherit."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sashizu_core.grants import (
    DeviceRequest,
    ExecRequest,
    Grants,
    McpRequest,
    NetRequest,
    PathRequest,
    PermissionRequest,
    SpawnRequest,
    Subject,
    ToolRequest,
)
from sashizu_core.permissions import authorize
from sashizu_core.protocols import Policy
from sashizu_core.specs import PolicySpec
from sashizu_core.testing.contract import Contract
from sashizu_core.types import Decision

__all__ = ["PolicyContract", "permission_requests"]

_NAMES = st.text("abcdefghijklmnopqrstuvwxyz-_.", min_size=1, max_size=12).filter(
    lambda name: name.strip(".") != ""
)

_REQUESTS: st.SearchStrategy[PermissionRequest] = st.one_of(
    st.builds(
        PathRequest,
        st.lists(_NAMES, max_size=4).map(lambda parts: "/".join(parts) or "."),
        st.sampled_from(("read", "write")),
    ),
    st.builds(ToolRequest, _NAMES),
    st.builds(SpawnRequest, _NAMES),
    st.builds(
        NetRequest,
        st.sampled_from(("http", "https")),
        _NAMES,
        st.integers(1, 65535),
        _NAMES.map(lambda name: f"/{name}"),
    ),
    st.builds(
        ExecRequest,
        st.lists(_NAMES, min_size=1, max_size=4).map(tuple),
        _NAMES.map(lambda name: f"/usr/bin/{name}"),
        st.booleans(),
        st.sampled_from(("", "an option")),
        st.sampled_from(("", "a sandbox")),
    ),
    st.builds(McpRequest, _NAMES, _NAMES, st.just("0" * 64)),
    st.builds(DeviceRequest, _NAMES),
)


def permission_requests() -> st.SearchStrategy[PermissionRequest]:
    """Any request, well formed."""
    return _REQUESTS


_SETTINGS = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)


_EVERYTHING = Grants(
    tools=None,
    fs_read=(".",),
    fs_write=(".",),
    net=("*",),
    exec=("*",),
    spawn=frozenset("*"),
    devices=frozenset("*"),
)


@pytest.mark.anyio
class PolicyContract(Contract):
    """Inherit it and give the fixture `spec`, or `policy` where there is no spec.

    ```python
    class TestNoSecrets(PolicyContract):
        @pytest.fixture
        def spec(self):
            return no_secrets_policy()
    ```
    """

    @pytest.fixture
    def spec(self) -> PolicySpec | None:
        """The spec of the policy under test."""
        return None

    @pytest.fixture
    async def policy(self, spec: PolicySpec | None) -> AsyncIterator[Policy]:
        if spec is None:
            raise NotImplementedError("give the fixture `spec`, or `policy`")
        async with spec.open() as policy:
            yield policy

    async def test_it_is_a_policy(self, policy: Policy) -> None:
        assert isinstance(policy, Policy)

    @_SETTINGS
    @given(request=permission_requests())
    async def test_the_same_request_gets_the_same_answer(
        self, policy: Policy, request: PermissionRequest
    ) -> None:
        subject = Subject("agent", "tester", (Grants(),))
        answer = policy.check(request, subject)
        assert answer is None or isinstance(answer, Decision)
        assert policy.check(request, subject) == answer

    @_SETTINGS
    @given(request=permission_requests())
    async def test_a_refusal_says_why(self, policy: Policy, request: PermissionRequest) -> None:
        answer = policy.check(request, Subject("agent", "tester", (Grants(),)))
        if answer is not None:
            assert answer.verdict in ("allow", "deny", "ask")
            assert answer.allowed or answer.reason

    @_SETTINGS
    @given(request=permission_requests(), granted=st.booleans())
    async def test_it_never_allows_what_the_grants_do_not(
        self, policy: Policy, request: PermissionRequest, granted: bool
    ) -> None:
        grants = _EVERYTHING if granted else Grants()
        subject = Subject("agent", "tester", (grants,))
        without = authorize([request], subject)
        with_it = authorize([request], subject, [policy])
        assert without.allowed or not with_it.allowed
