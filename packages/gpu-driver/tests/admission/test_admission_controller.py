"""Who is placed where, and who waits."""

from dataclasses import replace

import pytest
from sashizu_core.devices import Device, DeviceProcess, Known, Stats, Unknown
from sashizu_core.processes import Owner
from sashizu_gpu_driver.admission.asked import Ask, Card, Rules
from sashizu_gpu_driver.admission.controller import Controller, QueueFull
from sashizu_gpu_driver.admission.seen import card_of, is_short
from sashizu_gpu_driver.admission.simulation import MemoryLedger

GIB = 1 << 30
A, B = Owner(1, "a"), Owner(2, "b")
BIG = Card("big", 80 * GIB, free=80 * GIB)
SMALL = Card("small", 24 * GIB, free=24 * GIB)


class Desk:
    """A controller, the processes that have ended, and a clock that stands still."""

    def __init__(self, **rules):
        self.dead = set()
        self.elsewhere = set()
        self.controller = Controller(MemoryLedger(), Rules(**rules), ended=self.ended)
        self.now = 100.0

    def ended(self, owner):
        return None if owner in self.elsewhere else owner in self.dead

    def enter(self, key, gib=10, owner=A, **more):
        return self.controller.enter(Ask(key, int(gib * GIB), **more), owner, self.now)

    def decide(self, number, *cards):
        return self.controller.decide(number, cards or (BIG, SMALL), self.now)

    def ask(self, key, gib=10, *cards, owner=A, **more):
        return self.decide(self.enter(key, gib, owner, **more), *cards)

    def ready(self, key, gib=10, *cards, **more):
        answer = self.ask(key, gib, *cards, **more)
        assert answer.outcome == "placed", answer
        self.controller.loaded(answer.place, self.now)
        return answer


@pytest.fixture
def desk():
    return Desk()


def test_a_model_goes_where_it_fits_best(desk):
    assert desk.ask("one", 10).device == "small"
    assert desk.ask("two", 30).device == "big"


def test_devices_of_their_own_come_before_those_that_share_the_machines_memory(desk):
    integrated = Card("integrated", 16 * GIB, free=16 * GIB, integrated=True)

    assert desk.ask("one", 10, integrated, BIG).device == "big"


def test_of_two_that_fit_alike_the_idle_one_is_taken(desk):
    one, two = (Card(name, 24 * GIB, free=24 * GIB, busy=busy) for name, busy in
                (("one", 0.9), ("two", 0.1)))  # fmt: skip

    assert desk.ask("model", 10, one, two).device == "two"


def test_what_is_broken_gets_nothing(desk):
    broken = Card("small", 24 * GIB, free=24 * GIB, unusable="it answers no more")

    assert desk.ask("one", 10, broken, BIG).device == "big"
    refused = desk.ask("two", 10, broken)
    assert refused.outcome == "refused"
    assert "it answers no more" in refused.reason


def test_who_needs_a_device_that_answered_a_moment_ago_waits_for_it(desk):
    away = replace(BIG, unusable="it answers no more", away=True)

    waits = desk.ask("one", 10, away)

    assert waits.outcome == "queued"
    assert waits.reason == "no device has room enough; big: it answers no more"


def test_a_model_that_is_loaded_is_shared_as_far_as_it_has_slots(desk):
    first = desk.ready("one", parallel=2)

    second = desk.ask("one", owner=B, parallel=2)
    third = desk.ask("one", parallel=2)

    assert (second.outcome, second.place) == ("joined", first.place)
    assert third.outcome == "queued"
    assert "2 slots" in third.reason


def test_one_load_of_a_model_is_waited_for_by_all(desk):
    desk.ask("one", parallel=4)

    assert desk.ask("one", parallel=4).reason == "the model is being loaded"


def test_what_never_fits_is_refused_with_the_numbers(desk):
    refused = desk.ask("one", 100)

    assert refused.outcome == "refused"
    assert str(100 * GIB) in refused.reason
    assert [numbers.device for numbers in refused.numbers] == ["big", "small"]


def test_who_waits_has_a_position_and_gets_the_place_that_is_given_back(desk):
    first = desk.ready("one", 20, SMALL)
    number = desk.enter("two", 20)

    assert (desk.decide(number, SMALL).outcome, desk.decide(number, SMALL).position) == (
        "queued",
        1,
    )
    desk.controller.done(first.place, A, desk.now)
    desk.controller.gone(first.place)

    assert desk.decide(number, SMALL).outcome == "placed"


def test_one_who_came_later_takes_no_place_that_would_do_for_an_earlier_one(desk):
    earlier = desk.enter("one", 20)
    later = desk.enter("two", 10)

    assert desk.decide(later, SMALL).outcome == "queued"
    assert desk.decide(earlier, SMALL).outcome == "placed"


def test_a_small_one_overtakes_a_large_one_until_that_has_waited_long(desk):
    desk.ready("holds", 40, BIG)
    large = desk.enter("large", 60)
    assert desk.decide(large, BIG).outcome == "queued"

    assert desk.ask("small", 10, BIG).outcome == "placed"
    desk.now += 31
    assert desk.decide(large, BIG).outcome == "queued"
    assert desk.ask("smaller", 5, BIG).outcome == "queued"


def test_the_interactive_come_before_the_batch(desk):
    batch = desk.enter("batch", 20, rank=1)
    interactive = desk.enter("interactive", 20, rank=0)

    assert desk.decide(batch, SMALL).position == 2
    assert desk.decide(interactive, SMALL).outcome == "placed"


def test_an_unused_model_leaves_for_another(desk):
    loaded = desk.ready("one", 20, SMALL)
    desk.controller.done(loaded.place, A, desk.now)
    number = desk.enter("two", 20)

    answer = desk.decide(number, SMALL)

    assert answer.outcome == "queued"
    assert desk.controller.may_leave(loaded.place, desk.now, kept_s=300)
    desk.controller.left(loaded.place, [SMALL], desk.now)
    freed = Card("small", 24 * GIB, free=24 * GIB)
    desk.now += 6
    assert desk.decide(number, freed).outcome == "placed"


def test_a_model_in_use_never_leaves(desk):
    loaded = desk.ready("one", 20, SMALL)

    assert desk.ask("two", 20, SMALL).outcome == "queued"
    assert not desk.controller.may_leave(loaded.place, desk.now + 1000, kept_s=0)


def test_what_has_left_is_taken_until_it_is_seen_to_be_free(desk):
    loaded = desk.ready("one", 20, SMALL)
    full = Card("small", 24 * GIB, free=4 * GIB)
    desk.controller.done(loaded.place, A, desk.now)
    desk.controller.left(loaded.place, [full], desk.now)

    number = desk.enter("two", 20)
    assert desk.decide(number, full).outcome == "queued"
    desk.now += 1
    assert desk.decide(number, Card("small", 24 * GIB, free=24 * GIB)).outcome == "placed"


def test_of_what_could_leave_the_least_does(desk):
    ten, thirty = desk.ready("ten", 10, BIG), desk.ready("thirty", 30, BIG)
    for loaded in (ten, thirty):
        desk.controller.done(loaded.place, A, desk.now)
    taken = Card("big", 80 * GIB, free=40 * GIB)
    desk.now += 10

    desk.ask("new", 40, taken)

    assert desk.controller.may_leave(ten.place, desk.now, kept_s=999)
    assert not desk.controller.may_leave(thirty.place, desk.now, kept_s=999)


def test_a_load_that_runs_out_of_memory_asks_for_more_the_next_time(desk):
    placed = desk.ask("one", 10)

    assert desk.controller.failed(placed.place, out_of_memory=True) == int(12.5 * GIB)
    assert desk.ask("one", 10).need == int(12.5 * GIB)


def test_the_next_time_is_more_also_where_a_quarter_of_it_is_nothing(desk):
    for need in (0, 3):
        placed = desk.ask(f"tiny {need}", need / GIB, SMALL)

        assert desk.controller.failed(placed.place, out_of_memory=True) == need + (64 << 20)


def test_another_failure_teaches_nothing_and_gives_the_place_back(desk):
    placed = desk.ask("one", 20, SMALL)

    desk.controller.failed(placed.place, out_of_memory=False)

    assert desk.ask("one", 20, SMALL).need == 20 * GIB


def test_what_was_measured_is_remembered(desk):
    placed = desk.ready("one", 10)

    desk.controller.measured(placed.place, 13 * GIB)

    assert desk.controller.state()[0][0].need == 13 * GIB
    desk.controller.gone(placed.place)
    assert desk.ask("one", 10).need == 13 * GIB


def test_processes_that_have_ended_hold_nothing_and_wait_for_nothing(desk):
    desk.ready("one", 20, SMALL)
    desk.enter("two", 20, B)
    desk.dead |= {A, B}

    places, queue = desk.controller.state()

    assert (places, queue) == ([], [])


def test_a_place_lives_with_its_keeper_and_not_with_whoever_asked(desk):
    placed = desk.ready("one", 20, SMALL)
    desk.controller.keep(placed.place, B, server=77)
    desk.dead.add(A)

    (place,), _ = desk.controller.state()

    assert (place.keeper, place.server, place.uses) == (B, 77, 0)


def test_the_queue_is_bounded():
    desk = Desk(queue=2)
    desk.enter("one")
    desk.enter("two")

    with pytest.raises(QueueFull):
        desk.enter("three")


def test_who_has_left_the_queue_is_not_placed(desk):
    number = desk.enter("one")
    desk.controller.leave(number)

    assert desk.decide(number).outcome == "refused"


def test_every_answer_has_the_numbers_it_was_made_from(desk):
    answer = desk.ask("one", 10)

    assert [(one.device, one.total, one.leases) for one in answer.numbers] == [
        ("big", 80 * GIB, 0),
        ("small", 24 * GIB, 0),
    ]


def test_a_server_that_measures_what_is_free_is_loaded_alone(desk):
    loading = desk.ask("vllm", 10, BIG, alone=True)
    number = desk.enter("other", 5)

    waits = desk.decide(number, BIG)
    desk.controller.loaded(loading.place, desk.now)

    assert waits.outcome == "queued"
    assert "measures" in waits.reason
    assert desk.decide(number, BIG).outcome == "placed"


def test_a_server_that_measures_waits_for_what_is_being_loaded(desk):
    desk.ask("other", 5, BIG)
    number = desk.enter("vllm", 10, alone=True)

    assert desk.decide(number, BIG).outcome == "queued"
    assert desk.ask("third", 5, BIG).outcome == "placed"
    desk.now += 31
    assert desk.decide(number, BIG).outcome == "queued"
    assert desk.ask("fourth", 5, BIG).outcome == "queued"


def test_nothing_is_loaded_while_the_machine_is_short_of_memory(desk):
    number = desk.enter("one", 10)
    short = Card("small", 24 * GIB, free=24 * GIB, short=True)

    assert desk.decide(number, short).reason == "the machine is short of memory"
    assert desk.decide(number, SMALL).outcome == "placed"


@pytest.mark.parametrize(("share", "short"), [("0.00", False), ("19.99", False), ("20.10", True)])
def test_a_machine_is_short_of_memory_where_programs_wait_for_it_much(share, short):
    line = f"avg10={share} avg60=50.00 avg300=50.00 total=1\n"
    assert is_short(f"some {line}full {line}") is short


def test_what_left_before_the_machine_was_started_anew_takes_nothing(desk):
    loaded = desk.ready("one", 20, SMALL)
    desk.controller.done(loaded.place, A, desk.now)
    desk.controller.left(loaded.place, (), desk.now)
    desk.now = 50.0  # the clock begins anew with each boot

    assert desk.ask("two", 20, SMALL).outcome == "placed"


def test_what_leaves_one_device_is_not_forgotten_by_who_looks_at_others(desk):
    loaded = desk.ready("one", 20, SMALL)
    desk.controller.done(loaded.place, A, desk.now)
    desk.controller.left(loaded.place, (), desk.now)

    desk.ask("elsewhere", 10, BIG)

    assert desk.ask("two", 20, SMALL).outcome == "queued"


def test_one_who_waits_for_a_slot_keeps_no_room_from_others(desk):
    desk.ready("one", 10, SMALL)
    desk.enter("one", 10)

    assert desk.ask("two", 10, SMALL).outcome == "placed"


def test_one_who_waits_for_the_host_keeps_no_device_from_others(desk):
    host = Card("host", 64 * GIB, free=2 * GIB)
    waits = desk.enter("slow", 20, kind="host")
    assert desk.decide(waits, host).outcome == "queued"

    assert desk.ask("fast", 20, SMALL).outcome == "placed"


def test_one_who_asks_no_more_keeps_nothing_from_others(desk):
    desk.enter("stopped", 20)
    desk.now += 60

    answer = desk.ask("two", 20, SMALL)

    assert answer.outcome == "placed"


def test_one_who_was_quiet_waits_on_when_it_asks_again(desk):
    desk.ready("one", 20, SMALL)
    number = desk.enter("two", 20)
    desk.now += 3600

    assert (desk.decide(number, SMALL).outcome, desk.decide(number, SMALL).position) == (
        "queued",
        1,
    )


def test_those_who_ask_no_more_do_not_fill_the_queue():
    desk = Desk(queue=1)
    desk.enter("one")
    desk.now += 60

    assert desk.ask("two").outcome == "placed"


def test_what_was_learned_shuts_nothing_out_that_was_let_in_before(desk):
    placed = desk.ask("one", 20, SMALL)
    desk.controller.failed(placed.place, out_of_memory=True)  # 25 GiB the next time

    again = desk.ask("one", 20, SMALL)

    assert again.outcome == "placed"
    assert again.need == 24 * GIB - int(24 * GIB * 0.08)


def test_who_was_placed_and_gives_up_leaves_no_place_behind(desk):
    placed = desk.ask("one", 20, SMALL)
    desk.controller.abandon(placed.place, A)

    assert desk.controller.state()[0] == []
    assert not desk.controller.keep(placed.place, B)


def test_who_gives_up_leaves_to_a_keeper_what_that_has(desk):
    placed = desk.ask("one", 20, SMALL)
    assert desk.controller.keep(placed.place, B)

    desk.controller.abandon(placed.place, A)

    assert [place.keeper for place in desk.controller.state()[0]] == [B]


@pytest.mark.parametrize(
    ("told", "held_back"),
    [("none", False), ("idle", False), ("setting, idle", False), ("heat", True)],
)
def test_an_idle_device_is_not_one_that_is_held_back(told, held_back):
    readings = {
        "memory_total_bytes": Known(24 * GIB, "test", 0),
        "throttle": Known(told, "test", 0),
    }
    device = Device("small", "A card", "nvidia", "gpu", "dedicated")

    card = card_of(device, Stats("small", readings), (), 0)

    assert card.throttled is held_back


def device_that_tells(total=24 * GIB, free=24 * GIB, used=()):
    readings = {"memory_total_bytes": total, "memory_free_bytes": free}
    stats = Stats("small", {name: Known(one, "test", 0) for name, one in readings.items()})
    nobody = Unknown("test")
    processes = [
        DeviceProcess(pid, "compute", Known(one, "test", 0), nobody, ours=True)
        for pid, one in enumerate(used, start=7)
    ]
    device = Device("small", "A card", "nvidia", "gpu", "dedicated")
    return card_of(device, stats, processes, 0, lambda pid: 7)


@pytest.mark.parametrize("absurd", [-1, 1 << 64, float("nan"), float("inf")])
def test_memory_that_no_device_has_is_not_believed(absurd):
    assert device_that_tells(total=absurd).unusable
    assert device_that_tells(free=absurd).free is None
    assert device_that_tells(used=[absurd]).used is None


def test_processes_that_share_memory_use_no_more_than_there_is():
    assert device_that_tells(used=[20 * GIB, 20 * GIB]).used == {7: 24 * GIB}
    assert device_that_tells(used=[25 * GIB]).used is None


def test_what_a_load_is_seen_to_use_is_remembered(desk):
    placed = desk.ready("one", 10, SMALL)
    desk.controller.keep(placed.place, B, server=7)
    seen = Card("small", 24 * GIB, free=11 * GIB, used={7: 13 * GIB})

    desk.ask("two", 5, seen)
    desk.controller.gone(placed.place)

    assert desk.ask("one", 10).need == 13 * GIB


def test_a_slot_that_is_given_back_is_for_who_waited_first(desk):
    loaded = desk.ready("one", 10)
    first, second = desk.enter("one"), desk.enter("one")
    assert desk.decide(first).outcome == "queued"
    desk.controller.done(loaded.place, A, desk.now)

    late = desk.decide(second)

    assert late.outcome == "queued"
    assert "1 of those who wait for it come first" in late.reason
    assert desk.decide(first).outcome == "joined"


def test_what_a_device_has_shown_for_long_is_not_counted_twice_after_each_call(desk):
    loaded = desk.ready("one", 10, SMALL)
    desk.now += 60
    desk.controller.done(loaded.place, A, desk.now)
    shown = Card("small", 24 * GIB, free=14 * GIB)

    assert desk.ask("two", 10, shown).outcome == "placed"


def test_a_process_that_cannot_be_seen_keeps_what_it_has_as_long_as_it_says_so(desk):
    desk.elsewhere.add(A)
    placed = desk.ready("one", 20, SMALL)
    for _ in range(10):
        desk.now += 30
        desk.controller.beat(A, desk.now)
    assert desk.ask("two", 20, SMALL, owner=B).outcome == "queued"

    desk.now += 61

    assert desk.ask("three", 20, SMALL, owner=B).outcome == "placed"
    assert placed.place not in [place.number for place in desk.controller.state()[0]]


def test_a_process_that_is_seen_to_be_there_need_not_say_so(desk):
    desk.ready("one", 20, SMALL)
    desk.now += 3600

    assert desk.ask("two", 20, SMALL, owner=B).outcome == "queued"


def test_a_keeper_that_cannot_be_seen_is_there_as_long_as_it_asks(desk):
    desk.elsewhere.add(B)
    placed = desk.ready("one", 20, SMALL)
    desk.controller.keep(placed.place, B, server=7, now=desk.now)
    for _ in range(10):
        desk.now += 30
        assert not desk.controller.may_leave(placed.place, desk.now, kept_s=999)

    assert desk.controller.state()[0][0].keeper == B


def test_memory_of_the_machine_is_promised_once(desk):
    host = Card("host", 64 * GIB, free=64 * GIB)
    unified = Card("gpu", 64 * GIB, free=64 * GIB, integrated=True, memory="host")
    assert desk.ask("one", 40, unified).outcome == "placed"

    assert desk.ask("two", 40, host, kind="host").outcome == "queued"
    assert desk.ask("three", 10, host, kind="host").outcome == "placed"
    assert desk.ask("four", 10, unified).outcome == "queued"


def test_an_unused_model_leaves_the_machine_for_one_on_a_device_that_shares_its_memory(desk):
    host = Card("host", 64 * GIB, free=64 * GIB)
    unified = Card("gpu", 64 * GIB, free=64 * GIB, integrated=True, memory="host")
    loaded = desk.ready("one", 40, host, kind="host")
    desk.controller.done(loaded.place, A, desk.now)

    answer = desk.ask("two", 40, unified)

    assert answer.reason == "1 unused model(s) leave host for it"
    assert desk.controller.may_leave(loaded.place, desk.now, kept_s=999)


def test_unused_models_leave_a_machine_that_is_short_of_memory(desk):
    host = Card("host", 64 * GIB, free=64 * GIB)
    loaded = desk.ready("one", 10, host, kind="host")
    desk.controller.done(loaded.place, A, desk.now)

    desk.ask("two", 10, Card("host", 64 * GIB, free=40 * GIB, short=True), kind="host")

    assert desk.controller.may_leave(loaded.place, desk.now, kept_s=999)


def test_agents_of_one_name_have_no_more_calls_at_work_than_they_may():
    desk = Desk(per_agent=2)
    first = desk.ready("one", agent="scout", parallel=8)
    assert desk.ask("one", agent="scout", parallel=8).outcome == "joined"
    third = desk.enter("one", agent="scout", parallel=8)

    waits = desk.decide(third)
    other = desk.ask("one", agent="editor", parallel=8)

    assert waits.outcome == "queued"
    assert waits.reason == "2 call(s) of 'scout' are at work, as many as may"
    assert other.outcome == "joined"
    desk.controller.done(first.place, A, desk.now)
    assert desk.decide(third).outcome == "joined"


def test_who_waits_for_its_own_agents_keeps_no_room_from_others():
    desk = Desk(per_agent=1)
    desk.ready("one", 5, BIG, agent="scout")
    desk.enter("large", 60, agent="scout")
    desk.now += 31

    assert desk.ask("small", 40, BIG, agent="editor").outcome == "placed"


def test_of_two_that_fit_alike_and_are_as_idle_the_cooler_one_is_taken(desk):
    one, two = (
        Card(name, 24 * GIB, free=free, temperature_c=heat)
        for name, free, heat in (("one", 24 * GIB - 2**20, 82), ("two", 24 * GIB, 41))
    )

    assert desk.ask("model", 10, one, two).device == "two"


def test_every_number_of_a_decision_is_told(desk):
    card = Card("small", 24 * GIB, 2**20, free=20 * GIB, used={}, busy=0.25, source="nvml", age_s=1)

    (numbers,) = desk.ask("one", 10, card).numbers

    assert (numbers.free, numbers.reserved, numbers.busy) == (20 * GIB, 2**20, 0.25)
    assert (numbers.foreign, numbers.headroom) == (0, int(24 * GIB * 0.08))
    assert (numbers.source, numbers.age_s) == ("nvml", 1)


def test_there_is_more_to_ask_for_as_long_as_a_device_has_more(desk):
    most = 24 * GIB - int(24 * GIB * 0.08)

    assert desk.controller.could_ask_for_more(most - 1, [SMALL])
    assert not desk.controller.could_ask_for_more(most, [SMALL])
