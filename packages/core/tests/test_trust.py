"""What a repository brings is used only as somebody trusted it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.agents import Catalogue, load_catalogue
from sashizu_core.builtin.plugin import register_agents
from sashizu_core.errors import SashizuError, TrustNeeded
from sashizu_core.plugins import Registry
from sashizu_core.runtime import delegate
from sashizu_core.settings import Settings, load_settings
from sashizu_core.settings_layers import PROJECT_KEYS
from sashizu_core.specs import AgentSource
from sashizu_core.testing.fakes import MemorySink, ScriptedModel, memory_sink, scripted_model
from sashizu_core.trust import TrustStore
from sashizu_core.types import Task

AGENT = "name: plain\ngoal: Answer.\n"


class Place:
    """A repository with the agent `plain`, a user's folder, and a state folder."""

    def __init__(self, root: Path) -> None:
        self.root = root / "repo"
        self.user = root / "user"
        self.store = TrustStore(root / "home")
        self.file = self.root / ".sashizu/agents/plain.yaml"
        for folder in (self.file.parent, self.user):
            folder.mkdir(parents=True)
        self.file.write_text(AGENT)

    def sources(self) -> dict[str, AgentSource]:
        brought = [s for s in register_agents(Settings()) if s.scope == "repository"]
        user = AgentSource("user", "", self.user, "user")
        return {source.name: source for source in (*brought, user)}

    def catalogue(self) -> Catalogue:
        return load_catalogue(self.sources().values(), workspace=self.root)

    def trust_all(self) -> None:
        files = {
            entry.file.relative_to(self.root).as_posix(): entry.sha256
            for entry in self.catalogue()
            if entry.file is not None and entry.scope == "repository"
        }
        self.store.trust(self.root, files)

    def states(self) -> dict[str, str]:
        return {f.path: f.state for f in self.store.untrusted(self.root, self.catalogue())}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    return Place(tmp_path)


def test_an_agent_of_a_repository_needs_trust_and_then_none(place: Place) -> None:
    assert place.states() == {".sashizu/agents/plain.yaml": "new"}
    place.trust_all()
    assert place.states() == {}
    place.store.require(place.root, place.catalogue())


def test_a_changed_file_needs_trust_again_and_the_message_names_it(place: Place) -> None:
    place.trust_all()
    place.file.write_text(AGENT + "tools: {fs: {write: true}}\n")
    with pytest.raises(TrustNeeded, match=r"plain\.yaml.*changed since it was trusted") as caught:
        place.store.require(place.root, place.catalogue())
    assert [file.state for file in caught.value.files] == ["changed"]
    assert caught.value.command == f"sashizu trust {place.root}"
    assert caught.value.exit_code == 2


def test_the_command_is_short_in_the_repository_itself(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place.root)
    with pytest.raises(TrustNeeded, match=r"trust it: sashizu trust$"):
        place.store.require(place.root, place.catalogue())


def test_an_added_file_needs_trust_and_the_others_keep_theirs(place: Place) -> None:
    place.trust_all()
    (place.root / ".claude/agents").mkdir(parents=True)
    (place.root / ".claude/agents/other.md").write_text(
        "---\nname: other\ndescription: x\n---\nDo."
    )
    assert place.states() == {".claude/agents/other.md": "new"}


def test_trusting_one_file_more_keeps_the_others_and_all_anew_does_not(place: Place) -> None:
    place.trust_all()
    place.store.trust(place.root, {"b": "0" * 64})
    assert sorted(place.store.files(place.root)) == [".sashizu/agents/plain.yaml", "b"]
    place.store.trust(place.root, {"c": "1" * 64}, keep=False)
    assert sorted(place.store.files(place.root)) == ["c"]


def test_trust_belongs_to_the_place_and_not_to_the_name_it_is_reached_by(
    place: Place, tmp_path: Path
) -> None:
    place.trust_all()
    (tmp_path / "link").symlink_to(place.root)
    assert place.store.files(tmp_path / "link") == place.store.files(place.root)
    (tmp_path / "copy").mkdir()
    assert place.store.files(tmp_path / "copy") == {}


def test_a_file_that_is_trusted_elsewhere_in_the_repository_is_not(place: Place) -> None:
    place.trust_all()
    place.file.rename(place.file.with_name("renamed.yaml"))
    assert place.states() == {".sashizu/agents/renamed.yaml": "new"}


def test_the_users_own_agents_and_those_of_code_need_no_trust(place: Place) -> None:
    (place.user / "mine.yaml").write_text("name: mine\ngoal: Mine.\n")
    catalogue = place.catalogue()
    place.store.require(place.root, [catalogue.entry("mine")])


def test_the_hash_is_of_the_bytes_that_were_parsed_whatever_the_file_is_now(place: Place) -> None:
    place.trust_all()
    read = place.catalogue()
    place.file.write_text(AGENT + "tools: {fs: {write: true}}\n")
    place.store.require(place.root, read)  # what was parsed is what was trusted
    with pytest.raises(TrustNeeded):
        place.store.require(place.root, place.catalogue())


def test_what_is_revoked_needs_trust_again(place: Place) -> None:
    place.trust_all()
    assert [entry.workspace for entry in place.store.all()] == [os.path.realpath(place.root)]
    assert place.store.revoke(place.root)
    assert not place.store.revoke(place.root)
    assert place.store.all() == []
    assert place.states() == {".sashizu/agents/plain.yaml": "new"}


@pytest.mark.skipif(os.name == "nt", reason="modes are of POSIX")
def test_the_file_is_private_and_one_that_others_can_write_is_refused(
    place: Place, tmp_path: Path
) -> None:
    place.trust_all()
    (file,) = (tmp_path / "home/trust").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o666)
    with pytest.raises(SashizuError, match="others could have written it"):
        place.store.files(place.root)


@pytest.mark.parametrize("content", ["", "[]", '{"workspace": "/", "files": {"a": "x"}}', "\xff"])
def test_a_damaged_file_trusts_nothing(place: Place, tmp_path: Path, content: str) -> None:
    place.trust_all()
    (file,) = (tmp_path / "home/trust").iterdir()
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(SashizuError, match="cannot be understood"):
        place.store.files(place.root)


@given(
    st.dictionaries(st.text(min_size=1).filter(lambda t: t.isprintable()), st.binary(max_size=9))
)
def test_only_the_same_bytes_under_the_same_path_are_trusted(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    from hashlib import sha256

    store = TrustStore(tmp_path_factory.mktemp("home"))
    hashes = {path: sha256(data).hexdigest() for path, data in files.items()}
    store.trust(Path("/nowhere"), hashes)
    assert store.files(Path("/nowhere")) == hashes
    assert store.files(Path("/nowhere/else")) == {}


def test_settings_of_a_repository_need_no_trust_because_all_of_them_narrow() -> None:
    """A further key needs the same thought: can any value of it allow more, or send anything?"""
    assert sorted(PROJECT_KEYS) == [
        ("run", "agent_deadline"),
        ("run", "budget"),
        ("run", "deadline"),
        ("run", "jobs"),
        ("run", "max_output_tokens"),
        ("run", "max_turns"),
        ("spawn", "agents"),
        ("spawn", "alive"),
        ("spawn", "depth"),
        ("spawn", "rate"),
    ]


def _registry(place: Place, sink: MemorySink) -> Registry:
    model = ScriptedModel(["Fine."])
    return Registry(
        models={model.info.name: scripted_model(model)},
        sinks={"memory": memory_sink(sink)},
        agents=place.sources(),
    )


async def test_a_run_with_an_untrusted_agent_is_refused_before_anything_is_recorded(
    place: Place, tmp_path: Path
) -> None:
    sink = MemorySink()
    settings = load_settings(
        place.root, overrides=["run.model=fake/scripted"], env={}, config=tmp_path, plugin_names=()
    )
    options = {"workspace": place.root, "settings": settings, "registry": _registry(place, sink)}
    with pytest.raises(TrustNeeded, match="'plain' comes from"):
        await delegate(Task("plain"), **options)
    assert sink.events == []

    place.trust_all()
    assert (await delegate(Task("plain"), **options)).ok
