"""Every module can be imported wherever the package is installed."""

import importlib
import pkgutil

import pytest
import sashizu_gpu_driver


def modules():
    found = pkgutil.walk_packages(sashizu_gpu_driver.__path__, "sashizu_gpu_driver.")
    return [one.name for one in found]


@pytest.mark.parametrize("name", modules())
def test_a_module_for_another_system_can_be_imported_here(name):
    assert importlib.import_module(name).__doc__
