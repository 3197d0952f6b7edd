"""Grants of Windows, which name drives, as names of files are written."""

import sys
from collections.abc import Iterator

import pytest
from sashizu_core import granted_paths


@pytest.fixture
def _windows(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "platform", "win32")
    granted_paths.clean.cache_clear()
    yield
    granted_paths.clean.cache_clear()


@pytest.mark.usefixtures("_windows")
@pytest.mark.parametrize(
    ("granted", "clean"),
    [
        ("C:\\data\\in", "/C:/data/in"),
        ("c:/data/", "/C:/data"),
        ("/C:/data", "/C:/data"),
        ("src\\a", "src/a"),
        ("C:\\data\\..\\x", None),
        (".", "."),
    ],
)
def test_a_drive_is_a_folder_of_the_root(granted: str, clean: str | None) -> None:
    assert granted_paths.clean(granted) == clean


@pytest.mark.usefixtures("_windows")
def test_what_lies_on_another_drive_is_not_reached() -> None:
    granted = granted_paths.clean("C:\\data")
    assert granted is not None
    assert granted_paths.covers(granted, "/C:/data/a.txt", "read")
    assert not granted_paths.covers(granted, "/D:/data/a.txt", "read")
    assert not granted_paths.covers(".", "/C:/data/a.txt", "read")
