"""What the fakes and our backend take for granted, against the tables in the projections."""

import copy
import json
from pathlib import Path

import pytest
import tables
from com import ABI
from sashizu_winai.backend import GeneratedStatus

HERE = Path(__file__).parent
RECORDED = json.loads((HERE / "abi.json").read_text("utf-8"))
TEXT = "Microsoft.Windows.AI.Text"


def differences(one, other, path=""):
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from differences(one.get(key), other.get(key), f"{path}/{key}")
    elif one != other:
        yield path


@pytest.fixture(scope="module")
def installed():
    return tables.record()


def test_every_identity_slot_parameter_and_number_is_that_of_the_projections(installed):
    assert list(differences(RECORDED, installed)) == []


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (
            ("interfaces", "Windows.AI.Actions.IActionRuntime", "id"),
            "206efa2c-c909-508a-b4b0-9482be96db9d",
        ),
        (
            ("interfaces", f"{TEXT}.ILanguageModelStatics", "slots", "6"),
            ["EnsureReadyAsync"],
        ),
        (
            ("interfaces", "Windows.AI.Actions.Hosting.IActionCatalog", "slots", "6", 1),
            "in-array class Windows.AI.Actions.Hosting.ActionDefinition",
        ),
        (("enums", f"{TEXT}.LanguageModelResponseStatus", "ERROR"), 7),
        (("classes", "Windows.AI.Actions.TextActionEntity", "interfaces"), []),
    ],
    ids=["identity", "slot", "parameter", "number", "class"],
)
def test_a_wrong_entry_would_be_found(installed, path, wrong):
    changed = copy.deepcopy(RECORDED)
    place = changed
    for step in path[:-1]:
        place = place[step]
    assert place[path[-1]] != wrong
    place[path[-1]] = wrong
    (found,) = differences(changed, installed)
    assert found == "/" + "/".join(str(step) for step in path if not isinstance(step, int))


def test_the_identity_that_is_written_in_the_backend_is_that_of_the_projections(installed):
    from sashizu_winai import _winrt

    known = installed["interfaces"]["Windows.AI.Actions.IActionRuntime"]["id"]
    assert str(_winrt._RUNTIME_INTERFACE) == known


def test_every_way_a_generation_ends_has_a_name_here_or_is_unknown(installed):
    plain = {name.lower() for name in ABI["enums"][f"{TEXT}.LanguageModelResponseStatus"]}
    structured = ABI["enums"][f"{TEXT}.GenerateStructuredJsonResponseStatus"]
    named = {one.value for one in GeneratedStatus} - {"unknown"}
    assert named <= plain | {name.lower() for name in structured}
    assert (plain | {name.lower() for name in structured}) - named == {
        "in_progress",
        "incompatible_low_rank_adapter",
    }
