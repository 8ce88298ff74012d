"""The cost of confinement: a program in the sandbox against a bare `python -I -S program.py` of the same program, in turns.

It also runs the asserts of a program, which take two confined processes, against a bare start of the program followed by its asserts.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.rounds import Row, Size
from reward.programs.code import CodeChecker
from reward.programs.limits import CodeLimits
from reward.programs.sandbox import Sandbox

ROUNDS = 3  # times the rounds of other benchmarks: a round takes a tenth of a second
FUNCTION = """from collections import Counter
from heapq import nlargest

def most_common(words, k):
    return nlargest(k, Counter(words).items(), key=lambda pair: (pair[1], pair[0]))
"""
PROGRAM = f"{FUNCTION}\nprint(most_common(input().split(), 2))\n"
WORDS, PRINTED = "a b a c b a\n", "[('a', 3), ('b', 2)]\n"
ASSERTS = [f"assert most_common({WORDS.split()}, {k}) == {[('a', 3), ('b', 2), ('c', 1)][:k]}" for k in (1, 2, 3)]


def measure(size: Size) -> list[Row]:
    """Seconds of each side, and the ratios of their medians."""
    with tempfile.TemporaryDirectory() as folder, Sandbox(CodeLimits()) as sandbox:
        print(f"  walls: {sandbox.walls}", flush=True)
        check = CodeChecker(sandbox.limits, sandbox)
        program, asserts = Path(folder, "program.py"), Path(folder, "asserts.py")
        program.write_text(PROGRAM)
        asserts.write_text("\n".join([FUNCTION, *ASSERTS]))
        seconds = in_turns(
            {
                "bare start": lambda: bare(program) == PRINTED,
                "sandbox": lambda: check(PROGRAM, {"inputs": [WORDS], "outputs": [PRINTED]}) == 1.0,
                "bare start, asserts": lambda: bare(asserts) == "",
                "sandbox, asserts": lambda: check(FUNCTION, ASSERTS) == 1.0,
            },
            size,
        )
    medians = {side: statistics.median(values) for side, values in seconds.items()}
    return [
        *(
            Row(
                what=f"{of} / bare start of the same, medians",
                unit="x",
                values=[medians[of] / medians[of.replace("sandbox", "bare start")]],
            )
            for of in ("sandbox", "sandbox, asserts")
        ),
        *(Row(what=side, unit="s", values=values) for side, values in seconds.items()),
    ]


def in_turns(sides: Mapping[str, Callable[[], bool]], size: Size) -> dict[str, list[float]]:
    """The seconds of each side, A B C A B C ...; every answer must be right."""
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(size.warm_up + ROUNDS * size.rounds):
        for side, work in sides.items():
            started = time.perf_counter()
            right = work()
            if number >= size.warm_up:
                seconds[side].append(time.perf_counter() - started)
            if not right:
                raise RuntimeError(f"{side}: the program did not do what it does")
    return seconds


def bare(path: Path) -> str:
    """The output of a program in its own interpreter."""
    command = [sys.executable, "-I", "-S", str(path)]
    return subprocess.run(command, input=WORDS, capture_output=True, text=True, check=True, env={}).stdout
