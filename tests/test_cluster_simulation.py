"""The simulation of the cluster, held against what is known exactly."""

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import _cluster_model as model
import _cluster_parts as parts
import _queueing as queueing
import cluster_simulation as program

COSTS = parts.Costs(
    worker_step=0.004,
    database_step=0.003,
    database_chunk=0.0007,
    database_row=0.0001,
    collector_row=0.0001,
    flush=0.004,
    rows=4,
)
FREE = parts.Costs(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0)


def arriving(calendar: Any, station: Any, rate: float, count: int) -> list[float]:
    """Let so many come at random, and give how long each was there."""
    stays: list[float] = []

    def come(left: int) -> None:
        begun = calendar.now
        station.enter(begun, lambda then: stays.append(calendar.now - then))
        if left > 1:
            calendar.after(calendar.exponential(1 / rate), come, left - 1)

    calendar.after(calendar.exponential(1 / rate), come, count)
    calendar.run()
    return stays


@pytest.mark.parametrize("load", [0.3, 0.6])
def test_a_station_with_one_server_waits_as_the_formula_of_mm1_says(load):
    calendar = queueing.Calendar(7)
    station = queueing.Station(calendar, 1, lambda: calendar.exponential(1.0))

    stays = arriving(calendar, station, load, 15_000)

    assert math.isclose(sum(stays) / len(stays), 1 / (1 - load), rel_tol=0.06)


def test_a_station_with_fixed_times_waits_as_the_formula_of_md1_says():
    calendar, load = queueing.Calendar(3), 0.6
    station = queueing.Station(calendar, 1, lambda: 1.0)

    stays = arriving(calendar, station, load, 15_000)

    waited = sum(stays) / len(stays) - 1.0
    assert math.isclose(waited, load / (2 * (1 - load)), rel_tol=0.06)


def test_a_station_with_four_servers_waits_as_erlang_says():
    calendar, servers, rate = queueing.Calendar(5), 4, 3.0
    station = queueing.Station(calendar, servers, lambda: calendar.exponential(1.0))

    stays = arriving(calendar, station, rate, 15_000)

    full = rate**servers / math.factorial(servers) * servers / (servers - rate)
    waits = full / (sum(rate**n / math.factorial(n) for n in range(servers)) + full)
    assert math.isclose(sum(stays) / len(stays), 1 + waits / (servers - rate), rel_tol=0.06)


def test_the_number_in_a_station_is_that_of_littles_law():
    calendar = queueing.Calendar(2)
    station = queueing.Station(calendar, 2, lambda: calendar.exponential(1.0))

    stays = arriving(calendar, station, 1.5, 2_000)
    station.look()

    assert station.came == station.went == len(stays) == 2_000
    assert math.isclose(station.area, sum(stays), rel_tol=1e-9)


def test_who_comes_while_a_disk_is_synced_waits_for_the_next_sync():
    calendar = queueing.Calendar(4)
    disk = queueing.Flush(calendar, 1.0)

    stays = arriving(calendar, disk, 50.0, 10_000)

    assert 0.9999 < min(stays) <= max(stays) < 2.0001
    assert math.isclose(sum(stays) / len(stays), 1.5, rel_tol=0.03)
    assert disk.went == 10_000


def machine_repair(agents: int, think: float, service: float) -> float:
    """The throughput of a closed network with one server, by mean value analysis."""
    there, rate = 0.0, 0.0
    for count in range(1, agents + 1):
        stay = service * (1 + there)
        rate = count / (think + stay)
        there = rate * stay
    return rate


@pytest.mark.parametrize("agents", [5, 60])
def test_the_whole_makes_as_many_steps_as_mean_value_analysis_says(agents):
    costs = replace(FREE, database_step=0.03)
    shape = parts.Shape(workers=1, agents=agents, think=1.0, cores=1)
    cluster = model.Cluster(shape, costs, seed=11)

    cluster.run(20.0)
    before = cluster.done
    cluster.run(220.0)

    exact = machine_repair(agents, 1.0, 0.03)
    assert math.isclose((cluster.done - before) / 200.0, exact, rel_tol=0.05)


SHAPES = st.builds(
    parts.Shape,
    workers=st.integers(1, 5),
    agents=st.integers(1, 12),
    steps=st.integers(1, 3),
    think=st.sampled_from([0.1, 2.0]),
    databases=st.integers(1, 2),
    cores=st.integers(1, 2),
    roots=st.integers(1, 3),
    chunk=st.sampled_from([1, 3, 16]),
    share=st.sampled_from([0.0, 0.02]),
    limit=st.sampled_from([0, 999, 7_500, 30_000, 10**9]),
    kills=st.integers(0, 4),
    takeover=st.sampled_from([0.2, 5.0]),
)


@settings(max_examples=20, deadline=None)
@given(SHAPES, st.integers(0, 100))
def test_nothing_is_lost_and_no_limit_is_passed_whoever_dies(shape, seed):
    cluster = model.Cluster(shape, COSTS, seed)
    while cluster.ended < shape.agents and cluster.calendar.now < 1_000:
        cluster.run(cluster.calendar.now + 0.1)
        held = sum(root.held for root in cluster.roots)
        assert sum(root.spent for root in cluster.roots) + held <= shape.limit

    assert cluster.over == 0
    assert cluster.ended == shape.agents, "an agent is stranded"
    cluster.run()
    assert cluster.spent == cluster.billed + cluster.doubt
    assert sum(root.held for root in cluster.roots) == 0
    assert sum(one.moved for one in cluster.collectors) == COSTS.rows * cluster.done
    assert cluster.uncollected == 0
    if not cluster.refused:
        assert cluster.done == shape.agents * shape.steps


def test_agents_are_refused_only_where_less_than_a_call_is_left():
    shape = parts.Shape(workers=4, agents=40, steps=10, think=0.5, limit=90_000, chunk=8)

    cluster = model.Cluster(shape, COSTS)
    cluster.run()

    assert cluster.refused
    assert 0 <= shape.limit - cluster.spent < shape.worst


def test_the_same_seed_has_the_same_figures_and_another_one_has_others():
    shape = parts.Shape(workers=3, agents=60, think=1.0, kills=2)

    first, again, other = (
        program.measured(shape, COSTS, seconds=5.0, seed=seed) for seed in (1, 1, 2)
    )

    assert first == again != other


@pytest.mark.parametrize(
    ("change", "narrow"),
    [
        ({"chunk": 1}, "root row"),
        ({"databases": 1, "cores": 1}, "PostgreSQL"),
        ({"collectors": 1, "worker_cores": 4}, "outbox"),
        ({"agents": 60, "chunk": 256}, "models"),
    ],
)
def test_what_is_full_first_bounds_what_is_simulated(change, narrow):
    base = parts.Shape(4, 2_000, think=1.0, databases=4, roots=1, chunk=64)
    shape = replace(base, **change)

    name, bound = program.narrowest(shape, COSTS)
    found = program.measured(shape, COSTS, seconds=3.0, seed=1)

    assert name == narrow
    if narrow == "outbox":  # steps do not wait for it: what is not collected lies there
        assert math.isclose(found["rows"], COSTS.rows * (found["steps"] - bound), rel_tol=0.1)
    else:
        assert 0.5 * bound < found["steps"] < 1.15 * bound


def test_costs_are_read_from_the_file_that_measures_them():
    costs = parts.Costs.read(program.COSTS)

    assert costs.rows >= 1
    assert 0 < costs.database_chunk < costs.database_step < 1
    assert 0 < costs.flush < 1
