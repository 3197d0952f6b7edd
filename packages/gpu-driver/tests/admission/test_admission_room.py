"""How much a device has room for."""

import pytest
from sashizu_gpu_driver.admission.asked import Card, Rules
from sashizu_gpu_driver.admission.room import Lease, room_on

GIB = 1 << 30
RULES = Rules()


def room(card, *leases):
    return room_on(card, leases, RULES)


def test_an_empty_device_keeps_its_headroom_free():
    assert room(Card("a", 80 * GIB, free=80 * GIB)).room == 80 * GIB - int(80 * GIB * 0.08)
    assert room(Card("a", 4 * GIB, free=4 * GIB)).room == 3 * GIB


def test_what_was_promised_counts_before_the_device_shows_it():
    card = Card("a", 24 * GIB, free=24 * GIB)

    found = room(card, Lease("a", 10 * GIB))

    assert found.leases == 10 * GIB
    assert found.room == 24 * GIB - 10 * GIB - found.headroom


def test_a_promise_that_is_shown_is_not_counted_twice():
    shown = Card("a", 24 * GIB, free=14 * GIB, used={7: 10 * GIB})

    by_process = room(shown, Lease("a", 10 * GIB, [7]))
    by_time = room(Card("a", 24 * GIB, free=14 * GIB), Lease("a", 10 * GIB, shown=True))

    assert by_process.room == by_time.room == 14 * GIB - by_time.headroom


def test_foreign_processes_are_told_from_ours():
    card = Card("a", 24 * GIB, used={7: 10 * GIB, 8: 5 * GIB})

    found = room(card, Lease("a", 10 * GIB, [7]))

    assert found.foreign == 5 * GIB
    assert found.room == 9 * GIB - found.headroom


def test_a_load_that_takes_more_than_it_was_given_counts_as_what_it_takes():
    card = Card("a", 24 * GIB, used={7: 12 * GIB})

    assert room(card, Lease("a", 10 * GIB, [7])).leases == 12 * GIB


def test_what_nobody_attributes_is_bounded_by_what_the_device_reports():
    card = Card("a", 24 * GIB, free=8 * GIB)

    found = room(card, Lease("a", 4 * GIB))

    assert found.foreign is None
    assert found.room == 4 * GIB - found.headroom
    assert "reported" in found.rule


def test_a_device_that_reports_nothing_is_bounded_by_the_ledger_and_says_so():
    found = room(Card("a", 24 * GIB), Lease("a", 4 * GIB))

    assert (found.rule, found.room) == ("leases", 20 * GIB - found.headroom)


@pytest.mark.parametrize("free", [0, GIB])
def test_room_is_never_less_than_nothing(free):
    assert room(Card("a", 24 * GIB, free=free), Lease("a", 30 * GIB)).room == 0


def test_leases_of_other_devices_do_not_count():
    assert room(Card("a", 24 * GIB), Lease("b", 20 * GIB)).leases == 0


def test_what_is_shown_of_a_load_on_a_device_with_the_same_memory_is_not_counted_twice():
    unified = Card("gpu", 64 * GIB, free=40 * GIB, used={}, memory="host")
    on_host = Lease("host", 20 * GIB, [7], shown=True)

    assert room(unified, on_host).room == 40 * GIB - int(64 * GIB * 0.08)
