"""What the manual says about models is true."""

import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest
from sashizu_core.errors import Fault
from sashizu_core.local_models import LocalTable
from sashizu_core.settings import Settings
from sashizu_openai.endpoints import read_endpoints
from sashizu_openai.tables import EndpointTable, PriceTable

ROOT = Path(__file__).parents[3]
PAGES = [
    ROOT / "docs/reference/models.md",
    ROOT / "packages/openai/README.md",
    *sorted(
        page
        for page in (ROOT / "docs/how-to").glob("use-*.md")
        if "[models." in page.read_text(encoding="utf-8")
    ),
]
REFERENCE = PAGES[0].read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_table_in_the_manual_is_valid(page: Path) -> None:
    blocks = re.findall(
        r"^```toml\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    blocks = [block for block in blocks if "[models." in block]
    assert blocks
    env = {"OPENAI_API_KEY": "k", "AZURE_OPENAI_API_KEY": "k", "TEAM_KEY": "k", "VLLM_KEY": "k"}
    for block in blocks:
        endpoints = read_endpoints(Settings(tables=tomllib.loads(block)), env)
        assert len(endpoints) > 1
        assert not [endpoint.problem for endpoint in endpoints if endpoint.problem]


@pytest.mark.parametrize("table", [EndpointTable, PriceTable, LocalTable])
def test_every_key_is_described(table: type[EndpointTable]) -> None:
    missing = [key for key in table.model_fields if not re.search(rf"\b{key}\b", REFERENCE)]
    assert not missing


def test_every_fault_is_described() -> None:
    assert not [fault for fault in get_args(Fault) if f"`{fault}`" not in REFERENCE]
