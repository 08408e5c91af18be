"""Which candidate is measured where, who is put in quarantine, when nobody is left; with a clock of our own."""

import pytest

from paretune.core.errors import DevicesGone
from paretune.platform.execution.pool import START_S, Pool, Seat, Standing


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def pool_of(count: int, clock: Clock, *, comes: bool = False) -> Pool:
    return Pool("pi4", count=count, patience_s=60.0, comes=lambda: comes, clock=clock)


def staffed(pool: Pool) -> list[tuple[Seat, str, float]]:
    """Every seat that is wanted is up at once; what begins then."""
    for seat in pool.to_start():
        pool.started(seat)
    return pool.assign()


def test_as_many_devices_are_started_as_candidates_wait_and_each_measures_one(clock: Clock) -> None:
    pool = pool_of(3, clock)
    assert pool.to_start() == []
    pool.add("a")
    pool.add("b")
    assert [(seat.name, job) for seat, job, _ in staffed(pool)] == [("pi4#1", "a"), ("pi4#2", "b")]
    pool.add("c")
    pool.add("d")
    clock.now_s += 5.0
    assert [(seat.name, job, waited) for seat, job, waited in staffed(pool)] == [("pi4#3", "c", 5.0)]
    pool.done(pool.seats[1])
    assert [(seat.name, job) for seat, job, _ in staffed(pool)] == [("pi4#2", "d")]


def test_what_one_device_refuses_another_one_measures_and_the_first_is_put_in_quarantine(clock: Clock) -> None:
    pool = pool_of(2, clock)
    pool.add("a")
    [(first, _, _)] = staffed(pool)
    assert pool.refused(first, "it is too noisy") is None
    [(second, job, _)] = staffed(pool)
    assert (second.name, job) == ("pi4#2", "a")
    pool.done(second)
    assert pool.quarantined == {"pi4#1": "it is too noisy; pi4#2 measured the same network"}
    pool.add("b")
    assert [seat.name for seat, _, _ in staffed(pool)] == ["pi4#2"]


def test_a_network_that_two_devices_refuse_is_at_fault_itself(clock: Clock) -> None:
    pool = pool_of(3, clock)
    pool.add("a")
    [(first, _, _)] = staffed(pool)
    assert pool.refused(first, "no kernel for it") is None
    [(second, _, _)] = staffed(pool)
    refused = pool.refused(second, "no kernel for that")
    assert refused is not None
    assert refused.reason == "pi4#1: no kernel for it; pi4#2: no kernel for that"
    assert pool.quarantined == {}
    assert pool.num_waiting == 0


def test_a_candidate_is_given_up_when_the_devices_that_might_have_measured_it_go(clock: Clock) -> None:
    pool = pool_of(2, clock)
    pool.add("a")
    pool.add("b")
    first, second = pool.seats
    assert len(staffed(pool)) == 2
    assert pool.refused(first, "it is too noisy") is None
    assert pool.unserved() == []
    pool.gone(second, "no answer")  # b waits again, and the first one may measure it
    [given_up] = pool.unserved()
    assert (given_up.job_id, given_up.reason) == ("a", "pi4#1: it is too noisy")
    assert [(seat.name, job) for seat, job, _ in staffed(pool)] == [("pi4#1", "b")]


def test_a_candidate_does_not_wait_for_ever_for_a_device_that_never_comes_up(clock: Clock) -> None:
    pool = pool_of(2, clock)
    pool.add("a")
    [(first, _, _)] = staffed(pool)
    assert pool.refused(first, "it is too noisy") is None
    assert [seat.name for seat in pool.to_start()] == ["pi4#2"]
    clock.now_s += START_S - 1
    assert pool.unserved() == []
    clock.now_s += 2
    assert [given_up.job_id for given_up in pool.unserved()] == ["a"]
    assert pool.num_waiting == 0


def test_with_no_device_left_a_refused_candidate_waits_as_all_others(clock: Clock) -> None:
    pool = pool_of(2, clock)
    pool.add("a")
    [(first, _, _)] = staffed(pool)
    pool.refused(first, "it is too noisy")
    pool.gone(first, "no answer")
    [second] = pool.to_start()
    pool.gone(second, "no answer")
    assert pool.unserved() == []
    pool.check()
    clock.now_s += 400
    with pytest.raises(DevicesGone):
        pool.check()


def test_a_device_that_is_gone_leaves_its_candidate_to_another_one(clock: Clock) -> None:
    pool = pool_of(2, clock)
    pool.add("a")
    [(first, _, _)] = staffed(pool)
    pool.gone(first, "no answer")
    assert [(seat.name, job) for seat, job, _ in staffed(pool)] == [("pi4#2", "a")]
    assert pool.quarantined == {"pi4#1": "no answer"}


def test_without_devices_candidates_wait_then_the_reasons_are_told(clock: Clock) -> None:
    pool = pool_of(2, clock)
    pool.add("a")
    pool.add("b")
    for (seat, _, _), reason in zip(staffed(pool), ("cable", "power"), strict=True):
        pool.gone(seat, reason)
    pool.check()
    assert pool.to_start() == []  # nobody is asked again at once
    clock.now_s += 10.0
    pool.check()
    assert len(pool.to_start()) == 2
    clock.now_s += 51.0
    with pytest.raises(DevicesGone, match=r"all its 2 devices are gone, also after waiting 61 s. pi4#1: cable; pi4#2: power. 2 trained"):
        pool.check()


def test_a_device_that_comes_back_ends_the_waiting(clock: Clock) -> None:
    pool = pool_of(1, clock)
    pool.add("a")
    [(seat, _, _)] = staffed(pool)
    pool.gone(seat, "cable")
    clock.now_s += 59.0
    pool.check()
    assert len(staffed(pool)) == 1
    pool.done(seat)
    pool.add("b")
    clock.now_s += 59.0
    pool.check()


def test_processes_that_come_up_slowly_are_waited_for(clock: Clock) -> None:
    pool = pool_of(1, clock)
    pool.add("a")
    pool.to_start()
    pool.check()
    clock.now_s += 299.0
    pool.check()
    clock.now_s += 2.0
    with pytest.raises(DevicesGone, match="pi4: starting since 301 s"):
        pool.check()


def test_where_nodes_join_by_themselves_waiting_has_no_end(clock: Clock) -> None:
    pool = pool_of(1, clock, comes=True)
    pool.add("a")
    pool.to_start()
    pool.check()
    clock.now_s += 86_400.0
    pool.check()
    assert pool.stranded_s is not None


def test_a_candidate_under_which_processes_die_is_given_up_but_not_one_whose_nodes_died(clock: Clock) -> None:
    pool = pool_of(1, clock)
    pool.add("a")
    for _ in range(5):
        [(seat, _, _)] = staffed(pool)
        assert pool.died(seat, "its node died", of_node=True) is None
    [(seat, _, _)] = staffed(pool)
    assert pool.died(seat, "signal 11", of_node=False) is None
    [(seat, _, _)] = staffed(pool)
    refused = pool.died(seat, "signal 11", of_node=False)
    assert refused is not None
    assert (refused.job_id, refused.reason) == ("a", "signal 11")


def test_devices_that_nobody_needs_are_let_go(clock: Clock) -> None:
    pool = pool_of(2, clock)
    pool.add("a")
    [(seat, _, _)] = staffed(pool)
    clock.now_s += 1000.0
    assert pool.to_release(300.0) == []  # at work
    pool.done(seat)
    clock.now_s += 299.0
    assert pool.to_release(300.0) == []
    clock.now_s += 1.0
    assert pool.to_release(300.0) == [seat]
    assert seat.standing is Standing.EMPTY


def test_a_device_that_is_there_again_has_time_to_come_up(clock: Clock) -> None:
    there = [True]
    pool = Pool("pi4", count=1, patience_s=60.0, present=lambda: there[0], clock=clock)
    pool.add("a")
    [(seat, _, _)] = staffed(pool)
    assert pool.died(seat, "its node went away", of_node=True) is None
    assert pool.to_start() == [seat]
    pool.check()
    clock.now_s += 299.0
    pool.check()
    there[0] = False
    with pytest.raises(DevicesGone, match=r"its device is gone, also after waiting 299 s\. pi4: its node went away"):
        pool.check()
    there[0] = True
    clock.now_s += 1.0
    with pytest.raises(DevicesGone, match="after waiting 300 s"):
        pool.check()
