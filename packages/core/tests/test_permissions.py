from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.granted_paths import lies_in
from sashizu_core.grants import (
    DeviceRequest,
    ExecRequest,
    Grants,
    McpRequest,
    NetRequest,
    PathRequest,
    PermissionRequest,
    Rule,
    SpawnRequest,
    Subject,
    ToolRequest,
)
from sashizu_core.permissions import (
    PROTECTED,
    PROTECTED_ANYWHERE,
    authorize,
    combined,
    effective,
    grants_sha256,
    narrow,
    readable,
)
from sashizu_core.types import Decision

NAMES = st.sampled_from(["src", "a", "b", ".github", "AGENTS.md", "Src", "secret", ".env", "x.pem"])
PATHS = st.one_of(
    st.just("."),
    st.just("/"),
    st.lists(NAMES, min_size=1, max_size=3).map("/".join),
    st.lists(NAMES, min_size=1, max_size=2).map(lambda parts: "/" + "/".join(parts)),
)
AGENTS = st.sampled_from(["x", "y", "*"])
TOOLS = st.sampled_from(["grep", "read_file", "server/tool"])
HOSTS = st.sampled_from(
    ["a.test", "b.a.test", "c.b.a.test", "xa.test", "localhost", "127.0.0.1", "10.0.0.7"]
)
SCHEMES = st.sampled_from(["http", "https"])
PORTS = st.sampled_from([80, 443, 8443])
URL_PATHS = st.sampled_from(["/", "/a", "/a/", "/a/b", "/a/bc", "/a/b/c", "/ab", "/a//b", "/a%2fb"])
URLS = st.one_of(
    HOSTS,
    HOSTS.map(lambda host: f"*.{host}"),
    st.just("*"),
    st.builds(
        lambda scheme, star, host, port, path, beneath: (
            f"{scheme}://{star}{host}{port}{path}{beneath}"
        ),
        SCHEMES,
        st.sampled_from(["", "", "*."]),
        HOSTS,
        st.sampled_from(["", ":80", ":443", ":8443"]),
        st.sampled_from(["", "/a", "/a/b"]),
        st.sampled_from(["", "/*"]),
    ),
    st.sampled_from(
        ["https://*", "http://*/a/*", "[::1]", "a.test|b", "https://a.test/(", "", "?"]
    ),
)
PROGRAMS = st.sampled_from(["git", "/usr/bin/git", "/opt/git", "./git", "npm", "/bin/npm"])
ARGUMENTS = st.lists(st.sampled_from(["log", "push", "-c", "x"]), max_size=3)
COMMANDS = st.one_of(
    st.builds(lambda program, more: " ".join([program, *more]), PROGRAMS, ARGUMENTS),
    st.sampled_from(["*", "* log", "", "git  log"]),
)
REQUESTS: st.SearchStrategy[PermissionRequest] = st.one_of(
    st.builds(PathRequest, PATHS, st.sampled_from(["read", "write"])),
    st.builds(ToolRequest, TOOLS),
    st.builds(SpawnRequest, st.sampled_from(["x", "y"])),
    st.builds(NetRequest, SCHEMES, HOSTS, PORTS, URL_PATHS),
    st.builds(
        ExecRequest,
        st.builds(lambda program, more: (program, *more), PROGRAMS, ARGUMENTS),
        st.sampled_from(["/usr/bin/git", "/usr/bin/git", "/opt/npm", ""]),
        st.booleans(),
        st.sampled_from(["", "", "", "an option"]),
        st.sampled_from(["", "box"]),
    ),
    st.builds(McpRequest, st.sampled_from(["server", "a/b"]), st.just("tool"), st.just("")),
    st.builds(DeviceRequest, st.sampled_from(["x", "y"])),
)
RULES = st.one_of(
    st.builds(
        Rule,
        st.sampled_from(["deny", "ask"]),
        st.sampled_from(["read", "write", "exec", "net", "tool", "spawn", "device"]),
        st.one_of(PATHS, TOOLS, AGENTS, URLS, COMMANDS, st.just("a/../b")),
    )
)
GRANTS = st.builds(
    Grants,
    tools=st.none() | st.frozensets(TOOLS),
    fs_read=st.lists(PATHS, max_size=3).map(tuple),
    fs_write=st.lists(PATHS, max_size=3).map(tuple),
    net=st.lists(URLS, max_size=3).map(tuple),
    exec=st.lists(COMMANDS, max_size=3).map(tuple),
    spawn=st.frozensets(AGENTS),
    devices=st.frozensets(AGENTS),
    rules=st.lists(RULES, max_size=2).map(tuple),
)
CHAINS = st.lists(GRANTS, min_size=1, max_size=3).map(tuple)

RANK = {"deny": 0, "ask": 1, "allow": 2}


def subject(*chain: Grants) -> Subject:
    return Subject("id", "agent", chain)


def verdict(request: PermissionRequest, *chain: Grants) -> str:
    return authorize([request], subject(*chain)).verdict


def reads(path: str, *granted: str) -> bool:
    return verdict(PathRequest(path, "read"), Grants(fs_read=granted)) == "allow"


def writes(path: str, *granted: str) -> bool:
    return verdict(PathRequest(path, "write"), Grants(fs_write=granted)) == "allow"


# --- paths ----------------------------------------------------------------------------------------


def test_a_grant_reaches_the_folder_and_all_in_it() -> None:
    assert writes("artifacts", "artifacts")
    assert writes("artifacts/a/b.md", "artifacts")
    assert writes("artifacts/a.md", "./artifacts")
    assert writes("artifacts/a.md", "artifacts/")


@pytest.mark.parametrize(
    "path",
    [
        "artifacts-evil/x",
        "artifacts.bak",
        "artifact",
        "Artifacts/x",
        "src/artifacts/x",
        "/artifacts/x",
        "artifacts/../src/main.py",
        "artifacts/../../.ssh/authorized_keys",
        "./artifacts/x",
        "artifacts//x",
        "artifacts/",
        "artifacts/./x",
        "artifacts/x\0",
        "",
    ],
)
def test_a_grant_reaches_nothing_else(path: str) -> None:
    assert not writes(path, "./artifacts")


def test_the_workspace_and_the_rest_of_the_disk_are_granted_apart() -> None:
    assert reads("a/b", ".")
    assert not reads("/a/b", ".")
    assert reads("/a/b", "/")
    assert reads("/a/b", "/a")
    assert not reads("a/b", "/")
    assert not reads("/ab", "/a")


@pytest.mark.parametrize("granted", ["..", "a/..", "../x", "", "a\0"])
def test_a_grant_that_means_nothing_grants_nothing(granted: str) -> None:
    for path in (".", "a", "x", "..", "../x", "b"):
        assert not reads(path, granted)


def test_reading_and_writing_are_granted_apart() -> None:
    assert not writes("a", "b")
    assert verdict(PathRequest("a", "write"), Grants(fs_read=(".",))) == "deny"
    assert verdict(PathRequest("a", "read"), Grants(fs_write=(".",))) == "deny"


@pytest.mark.parametrize("guard", [*PROTECTED, *PROTECTED_ANYWHERE])
def test_what_decides_over_agents_is_written_only_where_a_grant_names_it(guard: str) -> None:
    for path in (guard, f"{guard}/x", f"{guard.upper()}/x"):
        assert not writes(path, ".")
        assert not writes(path, guard.partition("/")[0]) or "/" not in guard
        assert reads(path, ".") or guard == ".envrc"
    assert writes(f"{guard}/x", guard)
    assert writes(f"{guard}/x", ".", f"{guard}/x")


@pytest.mark.parametrize("guard", PROTECTED_ANYWHERE)
def test_what_counts_in_every_folder_is_protected_in_every_folder(guard: str) -> None:
    for path in (f"pkg/{guard}", f"a/b/{guard}/x", f"pkg/{guard.upper()}"):
        assert not writes(path, ".")
        assert not writes(path, "pkg", "a/b")
    assert writes(f"pkg/{guard}", f"pkg/{guard}")
    assert not writes(f"other/{guard}", f"pkg/{guard}", ".")


def test_runs_may_be_written_beside_protected_agents() -> None:
    assert writes(".sashizu/runs/1/report.md", ".sashizu/runs/1")
    assert not writes(".sashizu/agents/evil.yaml", ".sashizu")


# --- tools, agents, network -----------------------------------------------------------------------


def test_a_tool_is_granted_by_its_whole_name() -> None:
    grants = Grants(tools=frozenset({"server/tool", "grep"}))
    assert verdict(ToolRequest("grep"), grants) == "allow"
    for other in ("tool", "evil/tool", "server/tool2", "Grep", "evil__grep", "*"):
        assert verdict(ToolRequest(other), grants) == "deny"


def test_no_own_list_of_tools_is_every_tool_and_an_empty_one_none() -> None:
    assert verdict(ToolRequest("grep"), Grants(tools=None)) == "allow"
    assert verdict(ToolRequest("grep"), Grants()) == "deny"


def test_agents_are_started_by_name_or_by_star() -> None:
    assert verdict(SpawnRequest("x"), Grants(spawn=frozenset({"x"}))) == "allow"
    assert verdict(SpawnRequest("x"), Grants(spawn=frozenset({"*"}))) == "allow"
    assert verdict(SpawnRequest("y"), Grants(spawn=frozenset({"x"}))) == "deny"


# --- rules and policies ---------------------------------------------------------------------------


def test_deny_outranks_ask_and_ask_outranks_allow() -> None:
    deny, ask = Rule("deny", "read", "a/secret"), Rule("ask", "read", "a")
    grants = Grants(fs_read=(".",), rules=(ask, deny))
    assert verdict(PathRequest("a/secret/x", "read"), grants) == "deny"
    assert verdict(PathRequest("a/b", "read"), grants) == "ask"
    assert verdict(PathRequest("b", "read"), grants) == "allow"


def test_a_rule_never_grants() -> None:
    assert verdict(PathRequest("a", "read"), Grants(rules=(Rule("ask", "read", "*"),))) == "deny"


def test_a_deny_rule_ignores_case_and_one_that_means_nothing_denies_all() -> None:
    for pattern, path in (("secret", "SECRET/x"), ("a/../b", "c"), ("*", "c")):
        grants = Grants(fs_read=(".",), rules=(Rule("deny", "read", pattern),))
        assert verdict(PathRequest(path, "read"), grants) == "deny"


def test_a_decision_names_the_rule_and_where_it_was_read() -> None:
    grants = Grants(fs_read=("src",), rules=(Rule("deny", "read", "src/x"),), source="my.yaml")
    denied = authorize([PathRequest("src/x", "read")], subject(grants))
    assert (denied.decided_by, denied.rule) == ("rule", "deny read: src/x")
    assert "my.yaml" in denied.reason
    missing = authorize([PathRequest("doc", "read")], subject(grants))
    assert missing.decided_by == "default"
    assert "my.yaml" in missing.reason
    allowed = authorize([PathRequest("src/y", "read")], subject(grants))
    assert (allowed.decided_by, allowed.rule) == ("rule", "fs.read: src")


class Opinion:
    def __init__(self, decision: Decision | None) -> None:
        self.decision = decision

    def check(self, request: PermissionRequest, subject: Subject) -> Decision | None:
        return self.decision


def test_every_policy_must_agree_and_none_can_grant() -> None:
    asked = [PathRequest("a", "read")]
    may, may_not = subject(Grants(fs_read=(".",))), subject(Grants())
    yes, no = Opinion(Decision("allow", "yes")), Opinion(Decision("deny", "no", "r", "policy"))
    maybe, silent = Opinion(Decision("ask", "maybe")), Opinion(None)
    assert authorize(asked, may, [yes, silent]).allowed
    assert authorize(asked, may, [yes, maybe]).verdict == "ask"
    assert authorize(asked, may, [maybe, no]).reason == "no"
    assert authorize(asked, may_not, [yes]).verdict == "deny"


def test_what_asks_for_nothing_or_has_no_grants_is_denied() -> None:
    assert authorize([], subject(Grants(tools=None, fs_read=(".",)))).verdict == "deny"
    assert authorize([ToolRequest("grep")], subject()).verdict == "deny"
    assert combined([]).verdict == "deny"


def test_one_refused_request_refuses_the_call() -> None:
    grants = Grants(fs_read=("a",))
    asked = [PathRequest("a/x", "read"), PathRequest("b", "read"), PathRequest("a/y", "read")]
    assert authorize(asked, subject(grants)).verdict == "deny"


# --- chains ---------------------------------------------------------------------------------------


@given(REQUESTS, CHAINS, GRANTS, st.integers(0, 3))
def test_a_further_ceiling_never_allows_more(
    request_: PermissionRequest, chain: tuple[Grants, ...], ceiling: Grants, at: int
) -> None:
    lower = (*chain[:at], ceiling, *chain[at:])
    assert RANK[verdict(request_, *lower)] <= RANK[verdict(request_, *chain)]


@given(REQUESTS, CHAINS, RULES)
def test_a_further_rule_never_allows_more(
    request_: PermissionRequest, chain: tuple[Grants, ...], rule: Rule
) -> None:
    ruled = (*chain[:-1], replace(chain[-1], rules=(*chain[-1].rules, rule)))
    assert RANK[verdict(request_, *ruled)] <= RANK[verdict(request_, *chain)]


@given(REQUESTS, CHAINS)
def test_the_effective_grants_allow_exactly_what_the_chain_allows(
    request_: PermissionRequest, chain: tuple[Grants, ...]
) -> None:
    assert verdict(request_, effective(chain)) == verdict(request_, *chain)


@given(CHAINS, GRANTS, REQUESTS)
def test_a_child_may_never_do_what_its_parent_may_not(
    chain: tuple[Grants, ...], own: Grants, request_: PermissionRequest
) -> None:
    child = narrow(chain, own)
    assert child[: len(chain)] == chain
    assert RANK[verdict(request_, *child)] <= RANK[verdict(request_, *chain)]


def test_no_grants_at_all_are_effectively_none() -> None:
    assert effective(()) == Grants()


@given(CHAINS)
def test_the_fingerprint_depends_on_what_is_granted_alone(chain: tuple[Grants, ...]) -> None:
    moved = tuple(
        replace(level, source="elsewhere", fs_read=level.fs_read[::-1]) for level in chain
    )
    assert grants_sha256(moved) == grants_sha256(chain)
    assert grants_sha256((*chain, Grants())) != grants_sha256(chain)
    more = replace(chain[0], spawn=chain[0].spawn | {"somebody else"})
    assert grants_sha256((more, *chain[1:])) != grants_sha256(chain)


# --- what may be read -----------------------------------------------------------------------------


@given(PATHS, CHAINS)
def test_readable_is_what_the_engine_allows(path: str, chain: tuple[Grants, ...]) -> None:
    expected = verdict(PathRequest(path, "read"), *chain) == "allow"
    assert readable(subject(*chain))(path) == expected


@given(st.none() | PATHS, PATHS, CHAINS)
def test_roots_are_granted_and_together_all_that_is(
    beneath: str | None, path: str, chain: tuple[Grants, ...]
) -> None:
    may_read = readable(subject(*chain))
    roots = may_read.roots(beneath)
    assert all(may_read(root) for root in roots)
    inside = beneath is None or covers(beneath, path)
    asks = any(rule.touches == "read" for level in chain for rule in level.rules)
    if inside and may_read(path) and not asks:
        assert any(covers(root, path) for root in roots)
    if beneath is not None:
        assert all(covers(beneath, root) for root in roots)


def covers(granted: str, path: str) -> bool:
    return lies_in(path, granted)


def test_nobody_reads_without_grants() -> None:
    assert not readable(subject())(".")
    assert readable(subject()).roots() == ()
