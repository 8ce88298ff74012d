"""Runs of the real driver code in virtual time, struck by seeded faults: `python -m benchmarks.faults --schedules 10000 --seed 0`.

Engines, ranks and reward workers are toys; the controller, window, engine pool, publisher, ledger, checkpoints and metrics are real.
"""

import argparse
import gc
import json
import multiprocessing
import os
import shutil
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from functools import cache
from pathlib import Path
from statistics import fmean

from benchmarks.faults.fire import under_constant_fire
from benchmarks.faults.laboratory import Laboratory, Result, shrink
from benchmarks.faults.mutants import MUTANTS, missed
from benchmarks.faults.plan import MEASURED, Times
from benchmarks.rounds import OUT

TOLD_AFTER = 100  # schedules
SHOWN = 5  # failures that are shrunk and printed
MOST_FOR_A_MUTANT = 300  # schedules, one of which must catch it


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is asked for; the exit status is 1 if anything is violated, or if a planted bug passes."""
    asked = parsed(argv)
    changed = {name: float(value) for name, _, value in (text.partition("=") for text in asked.times)}
    given = replace(MEASURED if asked.fault_every else Times(), **changed)
    if asked.seed_of is not None:
        return show_one(asked.seed_of, given)
    if asked.mutants:
        return show_mutants(given)
    if asked.fault_every:
        return show_ettr(given, asked.fault_every, asked.hours)
    seeds = range(asked.seed, asked.seed + asked.schedules)
    started = time.perf_counter()
    context = multiprocessing.get_context("fork")
    results: list[Result] = []
    with context.Pool(asked.workers, initializer=calm) as pool:
        for result in pool.imap_unordered(run_one, ((seed, given) for seed in seeds), chunksize=8):
            results.append(result)
            if result.violations:
                print(f"seed {result.seed}: {result.violations[0]}", flush=True)
            if len(results) % TOLD_AFTER == 0:
                bad = sum(bool(one.violations) for one in results)
                print(f"{len(results)} schedules, {bad} with a violation, {time.perf_counter() - started:.0f} s", flush=True)
        pool.close()
        pool.join()
    return report(results, given, time.perf_counter() - started)


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--schedules", type=int, default=10_000, metavar="N")
    parser.add_argument("--seed", type=int, default=0, help="of the first schedule; each next one has the next seed")
    parser.add_argument("--seed-of", type=int, metavar="N", help="run one schedule, tell what happened, and shrink it if it fails")
    parser.add_argument("--mutants", action="store_true", help="plant known bugs and show that schedules catch each of them")
    parser.add_argument("--fault-every", type=float, metavar="S", help="one long run with a kill every S virtual seconds: its ETTR")
    parser.add_argument("--hours", type=float, default=6.0, help="virtual hours of that run at most")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    names = ", ".join(f"{field.name} ({field.default:g})" for field in fields(Times) if isinstance(field.default, float))
    parser.add_argument("--times", nargs="*", default=[], metavar="NAME=S", help=f"virtual seconds to use: {names}")
    return parser.parse_args(argv)


def calm() -> None:
    """Get a process ready: nothing is said about the unfinished work of killed drivers."""
    warnings.simplefilter("ignore", RuntimeWarning)
    sys.unraisablehook = lambda _: None
    gc.freeze()


@cache
def laboratory_of(process: int, times: Times) -> Laboratory:
    """The laboratory of a process, in memory where the machine has a file system for it."""
    memory = Path("/dev/shm")
    root = (memory if memory.is_dir() else OUT) / f"gatewise-faults-{process}"
    multiprocessing.util.Finalize(None, shutil.rmtree, args=(root, True), exitpriority=10)
    return Laboratory(root, times)


@contextmanager
def laboratory(times: Times) -> Iterator[Laboratory]:
    """One in this process."""
    calm()
    found = laboratory_of(os.getpid(), times)
    yield found
    shutil.rmtree(found.folder.parent, ignore_errors=True)


def run_one(asked: tuple[int, Times]) -> Result:
    """A schedule in a process of the pool."""
    seed, times = asked
    try:
        return laboratory_of(os.getpid(), times).run_seed(seed)
    except Exception:  # of the laboratory itself; the pool would hang on an error that cannot be pickled
        return Result(seed=seed, faults=(), violations=[traceback.format_exc()])


def report(results: Sequence[Result], times: Times, seconds: float) -> int:
    """Print and keep what was found."""
    failed = [one for one in results if one.violations]
    for one in failed[:SHOWN]:
        show_one(one.seed, times)
    struck = Counter(text.partition(": ")[2].rpartition(",")[0] for one in results for text in one.struck)
    places = {place.translate(str.maketrans("", "", "0123456789")) for place in struck}
    kinds: Counter[str] = Counter()
    for place, count in struck.items():
        kinds[place.partition(": ")[0]] += count
    ends = Counter(end.partition(" (")[0] for one in results for end in one.ends)
    ways = Counter(end.partition(":")[0] for one in results for end in one.ends)
    found = {
        "schedules": len(results),
        "violations": len(failed),
        "seeds": [one.seed for one in failed],
        "seconds": seconds,
        "virtual_hours": sum(one.seconds for one in results) / 3600,
        "struck": sum(struck.values()),
        "places": len(places),
        "kinds": dict(kinds.most_common()),
        "ettr": fmean(one.ettr for one in results),
        "times": asdict(times),
        "ways": dict(ways.most_common()),
        "ends": dict(ends.most_common()),
    }
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "faults.json").write_text(json.dumps(found, indent=1) + "\n")
    seeds = f" (seeds {', '.join(str(one.seed) for one in failed[:20])})" if failed else ""
    print(
        f"{len(results)} schedules in {seconds:.0f} s, {found['virtual_hours']:.0f} virtual hours; {len(failed)} with a violation{seeds}; "
        f"{found['struck']} faults in {len(places)} different ways ({listed(kinds)}); {sum(ends.values())} drivers "
        f"({listed(ways)}); mean ETTR {found['ettr']:.3f}"
    )
    return bool(failed)


def listed(counts: Counter[str]) -> str:
    """The commonest first."""
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


def show_one(seed: int, times: Times) -> int:
    """Run one schedule and tell everything about it; a failing one is shrunk first."""
    with laboratory(times) as found:
        schedule = found.schedule(seed)
        result = found.run(schedule)
        if result.violations:
            schedule = shrink(found, schedule)
            result = found.run(schedule)
    print(f"seed {seed}: {schedule.shape}")
    for title, lines in (("fault", schedule.faults), ("struck", result.struck), ("driver", result.ends), ("VIOLATED", result.violations)):
        for line in lines:
            print(f"  {title}: {line}")
    print(f"  {result.seconds:.0f} virtual seconds, {result.useful:.0f} without faults")
    return bool(result.violations)


def show_mutants(times: Times) -> int:
    """Which planted bug is caught after how many schedules."""
    escaped = 0
    with laboratory(times) as found:
        found.warm(MOST_FOR_A_MUTANT)
        for name in MUTANTS:
            passed = missed(lambda seed: found.run_seed(seed).violations, name, range(MOST_FOR_A_MUTANT))
            escaped += passed is None
            print(f"{name}: {'NOT CAUGHT' if passed is None else f'caught by schedule {passed + 1}'}", flush=True)
    return bool(escaped)


def show_ettr(times: Times, every_s: float, hours: float) -> int:
    """A long run with a kill every so often."""
    with laboratory(times) as found:
        result, steps = under_constant_fire(found, every_s, hours * 3600)
    for line in result.violations:
        print(f"  VIOLATED: {line}")
    print(
        f"{len(result.struck)} kills in {result.seconds / 3600:.1f} virtual hours, {len(result.ends)} drivers, {steps} steps saved; "
        f"ETTR {result.ettr:.3f} (useful {result.useful:.0f} s of {result.seconds:.0f} s)"
    )
    return bool(result.violations)


if __name__ == "__main__":
    sys.exit(main())
