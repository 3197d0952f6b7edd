"""The controller on a virtual clock, beside the check that most programs make."""

import pytest
from sashizu_gpu_driver.admission.simulation import controlled, naive, total

SEEDS = (1, 2)
REQUESTS = 60


def test_a_check_of_free_memory_alone_runs_out_of_memory_often():
    found = total([naive(seed, REQUESTS) for seed in SEEDS])

    assert found.failed / found.loads >= 0.08


@pytest.mark.parametrize("attributed", [True, False])
def test_hardly_any_load_runs_out_of_memory_and_every_request_is_served(attributed):
    found = total([controlled(seed, REQUESTS, attributed=attributed) for seed in SEEDS])

    assert found.failed / found.loads <= 0.01
    assert found.served == len(SEEDS) * REQUESTS
