import pytest

from rollout.window.occupancy import STATES, Occupancy


def test_seconds_that_only_an_engine_knew_are_moved_from_generating_and_the_states_still_add_up():
    now = [0.0]
    seen = Occupancy(4, clock=lambda: now[0])
    seen.move("free", "generating")
    now[0] = 10.0
    seen.spent({"answering": 0.0, "scoring": 2.0})
    seen.move("generating", "finished")
    assert set(seen.means()) == set(STATES), "without episodes there is no such state"
    seen.move("free", "generating")
    now[0] = 20.0
    seen.spent({"answering": 6.0, "scoring": 1.0})
    seen.move("generating", "finished")
    means = seen.means()
    assert (means["generating"], means["answering"], means["scoring"]) == (pytest.approx(0.3), pytest.approx(0.6), pytest.approx(0.1))
    assert sum(means.values()) == pytest.approx(4)
    now[0] = 30.0
    assert seen.means()["answering"] == 0.0, "a state that was seen stays among them"
