from sashizu_cli.announced import announced, commands_section, front_of


def install(folder, name, entry_points, metadata="Name: x\n"):
    info = folder / f"{name}.dist-info"
    info.mkdir(parents=True)
    (info / "entry_points.txt").write_text(entry_points)
    (info / "METADATA").write_text(metadata)


def test_commands_are_sorted_and_carry_target_package_and_summary(tmp_path):
    install(tmp_path, "b_two-2.0", "[sashizu.commands]\nzoo=b.cli:app\n", "Summary: Animals\n")
    install(tmp_path, "a_one-1.0", "# x\n[other]\nnope = n\n[sashizu.commands]\nant = a:app [x]\n")

    found = announced([str(tmp_path)], "")

    assert [(c.name, c.target, c.dist, c.summary) for c in found] == [
        ("ant", "a:app", "a-one", ""),
        ("zoo", "b.cli:app", "b-two", "Animals"),
    ]


def test_the_first_of_two_installed_versions_counts(tmp_path):
    install(tmp_path / "near", "x-1.0", "[sashizu.commands]\nold = x:app\n")
    install(tmp_path / "far", "x-2.0", "[sashizu.commands]\nnew = x:app\n")

    found = announced([str(tmp_path / "near"), str(tmp_path / "far")], "")

    assert [command.name for command in found] == ["old"]


def test_folders_that_cannot_be_read_are_passed_over(tmp_path):
    (tmp_path / "file.zip").write_text("")

    assert announced([str(tmp_path / "file.zip"), str(tmp_path / "absent")], "") == []


def test_a_distribution_keeps_its_commands_until_all_its_plugins_are_disabled(tmp_path):
    install(
        tmp_path, "x-1", "[sashizu]\none = x.a\ntwo = x.b\n[sashizu.commands]\ndo = x.cli:app\n"
    )

    assert len(announced([str(tmp_path)], "one")) == 1
    assert announced([str(tmp_path)], "two,one") == []


def test_a_summary_cannot_steer_the_terminal(tmp_path):
    install(
        tmp_path,
        "x-1",
        "[sashizu.commands]\ndo = x.cli:app\n",
        "Summary: Nice\x1b[2J\u202eecin\n\nSummary: not a header\n",
    )

    (command,) = announced([str(tmp_path)], "")

    assert command.summary == "Nice[2Jecin"


def test_the_section_fits_80_columns_and_names_each_command_once(tmp_path):
    install(tmp_path, "x-1", "[sashizu.commands]\ndo = x.cli:app\n", f"Summary: {'word ' * 40}\n")
    install(tmp_path, "y-1", "[sashizu.commands]\ndo = y.cli:app\n")

    section = commands_section(announced([str(tmp_path)], ""))

    assert max(map(len, section.splitlines())) <= 80
    assert section.count("  do  ") == 1
    assert commands_section([]) == ""


FRONT = "[sashizu]\np = x.plugin\n[sashizu.commands]\ndo = x.cli:app\n[sashizu.fronts]\n"


def test_a_command_can_have_a_front_that_begins_without_its_library(tmp_path):
    install(tmp_path, "x-1", FRONT + "do = x.front:main\nother = x.front:other\n")

    assert front_of("do", [str(tmp_path)], "") == "x.front:main"
    assert front_of("other", [str(tmp_path)], "") == ""  # it is no command
    assert front_of("do", [str(tmp_path)], "p") == ""
    assert front_of("do", [str(tmp_path / "absent")], "") == ""


def test_a_front_never_decides_between_two_commands(tmp_path):
    install(tmp_path, "x-1", FRONT + "do = x.front:main\n")
    install(tmp_path, "y-1", "[sashizu.commands]\ndo = y.cli:app\n")

    assert front_of("do", [str(tmp_path)], "") == ""
