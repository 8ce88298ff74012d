import time

from hypothesis import given
from hypothesis import strategies as st

from rollout.engine.served import ServedVersions


def test_before_the_first_publish_an_engine_serves_the_weights_that_it_started_with() -> None:
    served = ServedVersions()
    assert (served.newest, served.at(time.monotonic())) == (-1, -1)


@given(st.lists(st.integers(0, 100), min_size=1, max_size=6, unique=True))
def test_a_token_was_sampled_by_the_version_that_was_served_at_its_time(versions: list[int]) -> None:
    served, moments = ServedVersions(), [time.monotonic()]
    for version in sorted(versions):
        served.begin(version)
        moments.append(time.monotonic())
    assert [served.at(moment) for moment in moments[1:]] == sorted(versions)
    assert served.at(moments[0] - 1) == -1
    assert served.newest == max(versions)


def test_a_request_that_waited_through_a_publish_began_with_the_new_version() -> None:
    served = ServedVersions()
    served.begin(3)
    queued = time.monotonic()
    served.begin(4)
    assert (served.at(queued), served.at(time.monotonic())) == (3, 4)
