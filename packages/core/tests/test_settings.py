import tomllib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, SecretStr
from sashizu_core.errors import ConfigError
from sashizu_core.settings import Settings, Table, load_settings

NAMES = ("audit", "openai", "winai")


class Folders:
    """A user's configuration folder and a project, both empty."""

    def __init__(self, root: Path) -> None:
        self.config = root / "config"
        self.project = root / "project"
        self.config.mkdir()
        self.project.mkdir()
        self.user_file = self.config / "sashizu.toml"
        self.project_file = self.project / "sashizu.toml"

    def load(self, *overrides: str, env: dict[str, str] | None = None) -> Settings:
        return load_settings(
            self.project,
            overrides=overrides,
            env=env or {},
            config=self.config,
            plugin_names=NAMES,
        )


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


def test_without_any_file_the_defaults_hold(folders: Folders) -> None:
    settings = folders.load()
    assert settings.run.model == "offline"
    assert settings.run.jobs == 8
    assert settings.run.deadline_s is None
    assert settings.plugins.disable == ()
    assert settings.origin("run.model").kind == "default"


def test_a_flag_wins_over_the_environment_and_that_over_the_user(folders: Folders) -> None:
    folders.user_file.write_text('[plugins]\ndisable = ["winai"]\n')
    assert folders.load().plugins.disable == ("winai",)
    env = {"SASHIZU_DISABLE": "audit, openai"}
    assert folders.load(env=env).plugins.disable == ("audit", "openai")
    settings = folders.load("plugins.disable=[]", env=env)
    assert settings.plugins.disable == ()
    assert settings.origin("plugins.disable").text == "-c plugins.disable"


def test_every_value_says_where_it_comes_from(folders: Folders) -> None:
    folders.user_file.write_text('[run]\nmodel = "openai/x"\n\n  jobs = 4\n')
    folders.project_file.write_text('[run]\ndeadline = "90s"\n')
    settings = folders.load("run.max_turns=7", env={"SASHIZU_STRICT_PLUGINS": "1"})
    shown = {setting.key: (setting.value, setting.origin.text) for setting in settings}
    assert shown["run.model"] == ("openai/x", f"{folders.user_file}:2:1")
    assert shown["run.jobs"] == (4, f"{folders.user_file}:4:3")
    assert shown["run.deadline"] == ("90s", f"{folders.project_file}:2:1")
    assert shown["run.max_turns"] == (7, "-c run.max_turns")
    assert shown["plugins.strict"] == (True, "environment SASHIZU_STRICT_PLUGINS")
    assert shown["run.agent_deadline"] == (None, "default")


def test_what_may_be_a_secret_is_not_shown(folders: Folders) -> None:
    folders.user_file.write_text(
        '[models.x]\napi_key = "abc"\nkey_env = "X_KEY"\nheaders = {X-Org = "abc"}\n'
    )
    shown = {setting.key: setting.shown for setting in folders.load()}
    assert shown["models.x.api_key"] == "(hidden)"
    assert shown["models.x.headers.X-Org"] == "(hidden)"
    assert shown["models.x.key_env"] == "X_KEY"


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("[rnu]\njobs = 4\n", "1:1", "unknown table 'rnu'; did you mean 'run'?"),
        ("[run]\n jbos = 4\n", "2:2", "unknown key 'run.jbos'; did you mean 'jobs'?"),
        ("jobs = 4\n", "1:1", "unknown table 'jobs'; did you mean 'run.jobs'?"),
        ("run = 4\n", "1:1", "'run' is a table: write [run]"),
        ("[run]\njobs = 0\n", "2:1", "'run.jobs': Input should be greater than or equal to 1"),
        ("[run]\njobs = true\n", "2:1", "'run.jobs': Input should be a valid integer"),
        (
            "[run]\ndeadline = '-3m'\n",
            "2:1",
            "'run.deadline': the duration '-3m' is not above zero",
        ),
        ("[run]\nbudget = ['lots']\n", "2:1", "'run.budget': cannot read the limit 'lots'"),
        ("[run]\njobs = \n", "2:8", "is no TOML: Invalid value"),
        ("[run]\njobs = 4", "2:9", None),
        ("[run", "1:5", "is no TOML: Expected ']' at the end of a table declaration"),
        ("[models.x]\ny = 1\n[models.x]\n", "3:10", "is no TOML: Cannot declare"),
    ],
)
def test_a_mistake_is_shown_with_file_line_and_column(
    folders: Folders, text: str, place: str, message: str | None
) -> None:
    folders.user_file.write_text(text)
    if message is None:
        assert folders.load().run.jobs == 4
        return
    with pytest.raises(ConfigError) as caught:
        folders.load()
    assert str(caught.value).startswith(f"{folders.user_file}:{place}: {message}")
    assert f"{caught.value.line}:{caught.value.column}" == place


def test_every_mistake_of_a_table_is_told_at_once(folders: Folders) -> None:
    folders.user_file.write_text('[run]\njobs = "x"\nmodle = "y"\n')
    with pytest.raises(ConfigError) as caught:
        folders.load()
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"{folders.user_file}:2:1: 'run.jobs'")
    assert second == f"{folders.user_file}:3:1: unknown key 'run.modle'; did you mean 'model'?"


def test_a_mistake_in_a_flag_names_the_flag(folders: Folders) -> None:
    with pytest.raises(ConfigError, match=r"-c run.jobs: 'run.jobs': Input should be"):
        folders.load("run.jobs=many")
    with pytest.raises(ConfigError, match=r"-c rnu.jobs: unknown table 'rnu'; did you mean 'run'"):
        folders.load("rnu.jobs=1")


@pytest.mark.parametrize("flag", ["run.jobs", "jobs=1", "=1", "a b=1", "run.=1", "[run]=1", ""])
def test_a_flag_that_sets_nothing_is_refused(folders: Folders, flag: str) -> None:
    with pytest.raises(ConfigError, match=r"write it as -c table\.key=value|unknown table"):
        folders.load(flag)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("openai.x=openai/gpt", "openai/gpt"),
        ("openai.x=3", 3),
        ("openai.x='3'", "3"),
        ('openai.x=["a"]', ["a"]),
        ("openai.x=1\ny=2", "1\ny=2"),
        ("openai.x=", ""),
        ("openai.x=a=b", "a=b"),
    ],
)
def test_a_flag_is_a_toml_value_or_else_text(folders: Folders, flag: str, value: object) -> None:
    assert folders.load(flag).tables["openai"]["x"] == value


def test_a_quoted_part_of_a_flag_keeps_its_dots(folders: Folders) -> None:
    settings = folders.load('models."a.b".base_url=http://localhost:1')
    assert settings.tables["models"]["a.b"]["base_url"] == "http://localhost:1"


def test_tables_are_laid_over_each_other_key_by_key(folders: Folders) -> None:
    folders.user_file.write_text('[models.x]\nbase_url = "a"\napi = "chat"\n')
    settings = folders.load("models.x.api=responses")
    assert settings.tables["models"]["x"] == {"base_url": "a", "api": "responses"}


def test_a_list_replaces_a_list(folders: Folders) -> None:
    folders.user_file.write_text('[run]\nbudget = ["100", "1usd"]\n')
    assert folders.load('run.budget=["7"]').run.budget == ("7",)


# --- what a project may say


@pytest.mark.parametrize(
    "text",
    [
        '[run]\nmodel = "openai/x"\n',
        '[models.x]\nbase_url = "http://evil.test"\n',
        '[plugins]\ndisable = ["audit"]\n',
        '[audit]\nfolder = "/tmp"\n',
        "[plugins]\nstrict = false\n",
    ],
)
def test_a_project_cannot_say_where_things_go(folders: Folders, text: str) -> None:
    folders.project_file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        folders.load()
    assert "may not be set by a project" in str(caught.value)
    assert f"move it to {folders.user_file}" in str(caught.value)
    assert caught.value.file == folders.project_file
    assert caught.value.line == 2


def test_an_unknown_key_of_a_project_is_told_as_such(folders: Folders) -> None:
    folders.project_file.write_text("[run]\njbos = 4\n")
    with pytest.raises(ConfigError, match=r"unknown key 'run.jbos'; did you mean 'jobs'"):
        folders.load()


def test_a_project_narrows_what_the_user_allows(folders: Folders) -> None:
    folders.user_file.write_text('[run]\njobs = 4\ndeadline = "2h"\nbudget = ["100000"]\n')
    folders.project_file.write_text('[run]\njobs = 2\ndeadline = "15m"\nbudget = ["500", "1usd"]\n')
    run = folders.load().run
    assert run.jobs == 2
    assert run.deadline_s == 900
    assert run.limits[0].tokens == 500
    assert run.limits[0].nusd == 1_000_000_000


def test_a_project_never_widens_and_is_told_so(folders: Folders) -> None:
    folders.user_file.write_text('[run]\ndeadline = "15m"\nbudget = ["500"]\n')
    folders.project_file.write_text(
        '[run]\njobs = 9\nmax_turns = 51\ndeadline = "2h"\nbudget = ["9999"]\n'
    )
    settings = folders.load()
    assert settings.run.jobs == 8
    assert settings.run.max_turns == 50
    assert settings.run.deadline_s == 900
    assert settings.run.limits[0].tokens == 500
    reason = "has no effect: a project can only narrow, and"
    file = folders.project_file
    assert settings.warnings == (
        f"{file}:2:1: run.jobs = 9 {reason} the default says 8",
        f"{file}:3:1: run.max_turns = 51 {reason} the default says 50",
        f"{file}:4:1: run.deadline = '2h' {reason} {folders.user_file}:2:1 says '15m'",
    )


def test_a_wrong_value_of_a_project_is_an_error_not_a_narrowing(folders: Folders) -> None:
    folders.project_file.write_text('[run]\ndeadline = "soon"\n')
    with pytest.raises(
        ConfigError, match=r"sashizu.toml:2:1: 'run.deadline': cannot read the duration 'soon'"
    ):
        folders.load()
    folders.project_file.write_text("[run]\njobs = -1\n")
    with pytest.raises(ConfigError, match=r"sashizu.toml:2:1: 'run.jobs'"):
        folders.load()
    folders.project_file.write_text("[run]\nbudget = [1]\n")
    with pytest.raises(ConfigError, match=r"sashizu.toml:2:\d+: 'run.budget\[1\]'"):
        folders.load()
    folders.project_file.write_text('[run]\nbudget = "100"\n')
    with pytest.raises(ConfigError, match=r"sashizu.toml:2:1: 'run.budget'"):
        folders.load()
    folders.project_file.write_text('[run]\njobs = "two"\n')
    with pytest.raises(ConfigError, match=r"sashizu.toml:2:1: 'run.jobs'"):
        folders.load()


def test_a_projects_file_that_is_a_link_is_not_followed(folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("[run]\njobs = 1\n")
    folders.project_file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="cannot be read"):
        folders.load()


def test_a_folder_a_huge_file_and_bytes_are_no_settings(folders: Folders) -> None:
    folders.project_file.mkdir()
    with pytest.raises(ConfigError, match="is no regular file"):
        folders.load()
    folders.project_file.rmdir()
    folders.project_file.write_text("#" * (1024 * 1024 + 1))
    with pytest.raises(ConfigError, match="is larger than 1048576 bytes"):
        folders.load()
    folders.project_file.write_bytes(b"[run]\n# \xff\n")
    with pytest.raises(ConfigError, match=r"toml:2: is not UTF-8 text"):
        folders.load()


def test_the_environment_says_yes_or_no(folders: Folders) -> None:
    assert folders.load(env={"SASHIZU_STRICT_PLUGINS": "0"}).plugins.strict is False
    with pytest.raises(ConfigError, match="SASHIZU_STRICT_PLUGINS is 'maybe'; set it to 1 or 0"):
        folders.load(env={"SASHIZU_STRICT_PLUGINS": "maybe"})
    assert folders.load(env={"SASHIZU_DISABLE": ""}).plugins.disable == ()


# --- tables of plugins


class Endpoint(Table):
    base_url: str = ""
    timeout_s: int = 3
    api_key: SecretStr = SecretStr("")


class OpenAI(Table):
    models: dict[str, Endpoint] = Field(default_factory=dict)
    first: Endpoint | None = None
    listed: list[Endpoint] = Field(default_factory=list)


def test_a_plugins_table_is_validated_with_places(folders: Folders) -> None:
    folders.user_file.write_text(
        "[openai.models.a]\nbase_url = 'x'\n[openai.first]\nbase_ulr = 'x'\n"
        "[[openai.listed]]\ntimeot_s = 3\n[openai.models.b]\ntimeout_s = 'x'\n"
    )
    settings = folders.load()
    with pytest.raises(ConfigError) as caught:
        settings.plugin("openai", OpenAI)
    file = folders.user_file
    wrong = "Input should be a valid integer, unable to parse string as an integer (found 'x')"
    assert str(caught.value).splitlines() == [
        f"{file}:4:1: unknown key 'openai.first.base_ulr'; did you mean 'base_url'?",
        f"{file}:6:1: unknown key 'openai.listed[1].timeot_s'; did you mean 'timeout_s'?",
        f"{file}:8:1: 'openai.models.b.timeout_s': {wrong}",
    ]


def test_a_table_below_a_table_can_be_read_alone(folders: Folders) -> None:
    folders.user_file.write_text("[models.a]\ntimeout_s = 4\n")
    settings = folders.load()
    assert settings.table(("models", "a"), Endpoint).timeout_s == 4
    assert settings.table(("models", "absent"), Endpoint).timeout_s == 3


def test_a_secret_never_reaches_a_message(folders: Folders) -> None:
    folders.user_file.write_text("[models.a]\napi_key = 12345\nheaders = 'Bearer 12345'\n")
    with pytest.raises(ConfigError) as caught:
        folders.load().table(("models", "a"), Endpoint)
    assert "12345" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_settings_can_be_made_without_files() -> None:
    settings = Settings({"openai": {"first": {"base_url": "x"}}})
    first = settings.plugin("openai", OpenAI).first
    assert first is not None
    assert first.base_url == "x"
    with pytest.raises(ConfigError, match=r"unknown key 'openai.frist'; did you mean 'first'"):
        Settings({"openai": {"frist": {}}}).plugin("openai", OpenAI)


# --- any text

KEYS = st.sampled_from(["run", "plugins", "models", "openai", "jobs", "budget", "a b", "x.y", "é"])
SCALARS = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.booleans(),
    st.sampled_from(["", "15m", "500", 'q"', "'''", "line\nbreak", "# no", "]", "}"]),
    st.floats(allow_nan=False),
)
VALUES = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS, below, max_size=3),
    max_leaves=8,
)


def _toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
            return f'"{escaped}"'
        case list():
            return "[" + ", ".join(_toml(item) for item in value) + "]"
        case dict():
            return "{" + ", ".join(f"{_toml(k)} = {_toml(v)}" for k, v in value.items()) + "}"
        case _:
            return repr(value)


@given(st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=4), max_size=4))
def test_any_toml_is_settings_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, tables: dict[str, dict[str, object]]
) -> None:
    lines = []
    for name, table in tables.items():
        lines.append(f"[{_toml(name)}] # [no]")
        lines += [f"{_toml(key)} = {_toml(value)}" for key, value in table.items()]
    folders = Folders(tmp_path_factory.mktemp("any"))
    text = "\n".join(lines)
    tomllib.loads(text)
    for file in (folders.user_file, folders.project_file):
        file.write_text(text, encoding="utf-8")
        try:
            settings = folders.load()
        except ConfigError as error:
            assert error.file is not None  # noqa: PT017 — either outcome is right
        else:
            assert list(settings)
        file.unlink()


@given(st.text())
def test_any_text_is_settings_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    folders = Folders(tmp_path_factory.mktemp("any"))
    folders.user_file.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    with suppress(ConfigError):
        assert list(folders.load(text))
    with suppress(ConfigError):
        assert list(folders.load(f"run.jobs={text}"))
