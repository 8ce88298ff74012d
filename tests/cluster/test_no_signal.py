"""When a run says that it does not learn."""

from cluster.alarm import NoSignal


def values(count: int, low: float = 0.0, high: float = 0.0) -> dict[str, float]:
    return {"updates_without_signal": float(count), "reward/min": low, "reward/max": high}


def test_a_run_says_it_at_the_first_and_the_tenth_such_step_in_a_row() -> None:
    watch = NoSignal()
    said = [step for step in range(1, 31) if watch.observe(step, values(1))]
    assert said == [1, 10]
    assert watch.observe(31, values(0)) is None
    again = watch.observe(32, values(2))
    assert again is not None
    assert again.startswith("step 32: 2 updates were not made, because each group has equal rewards")


def test_what_it_advises_depends_on_whether_all_rewards_are_equal_or_only_those_of_each_group() -> None:
    assert "rewards are between 0 and 0: read responses/" in str(NoSignal().observe(1, values(1)))
    assert "rewards are between 0 and 1: a larger rollout.group_size" in str(NoSignal().observe(1, values(1, 0.0, 1.0)))


def test_a_learner_that_counts_no_such_updates_gives_no_warning() -> None:
    assert NoSignal().observe(1, {}) is None
