"""The last lines of a run: its folder, what it achieved, its best step, and what it warned about."""

from collections.abc import Sequence
from pathlib import Path

from cluster.record.checkpoint import best_of, step_of, whole_in
from cluster.record.health_log import Period, read_health
from cluster.record.metrics.best import Row, best_step
from cluster.record.metrics.held_out import greedy_correctness
from cluster.record.metrics.lines import is_number, read_lines, step_files
from cluster.record.metrics.metrics import read_metrics
from cluster.record.metrics.transcripts import transcript_lines
from configs.arithmetic import counted

SEVERAL = 2  # steps from which one of them is the best
ENDS = 10  # steps averaged at either end
RIGHT = 1.0
SHOWN_CHARS = 80  # of a turn


def summary(folder: Path) -> list[str]:
    """Reward from first to last step, speed, held-out correctness, the best step, the picture and the warnings, from the run's files."""
    rows = read_metrics(folder)
    steps = [row for row in rows if is_number(row.get("reward/mean"))]
    evaluated = [(row["step"], found) for row in rows if (found := greedy_correctness(row))]
    lines = [f"run      {folder}"]
    if steps:
        ends = steps[-ENDS:]
        last = sum(row["reward/mean"] for row in ends) / len(ends)
        newest = f"mean of the last {len(ends)} steps" if len(ends) > 1 else f"step {ends[0]['step']}"
        lines.append(f"reward   {steps[0]['reward/mean']:.3f} at step {steps[0]['step']} -> {last:.3f} ({newest})")
        timed = [row for row in steps if is_number(row.get("tokens")) and is_number(row.get("seconds/step"))]
        tokens, seconds = (sum(row[key] for row in timed) for key in ("tokens", "seconds/step"))
        if seconds > 0:
            over = counted(len(timed), "step")
            lines.append(f"speed    {tokens / seconds:,.0f} generated tokens/s over {over}, {seconds / len(timed):.2f} s a step")
    for name in evaluated[-1][1] if evaluated else ():
        course = [(step, found[name]) for step, found in evaluated if name in found]
        before = f"{course[0][1]:.3f} -> " if len(course) > 1 else ""
        since = "" if len(course) > 1 else f" at step {course[0][0]}, not evaluated since"
        lines.append(f"{name:<8} {before}{course[-1][1]:.3f} correctness of greedy responses{since}{_best(course)}")
    lines += best(folder, rows)
    if (folder / "reward.png").exists():
        lines.append(f"picture  {folder / 'reward.png'}")
    if (folder / "report.html").exists():
        lines.append(f"report   {folder / 'report.html'}")
    lines += episodes(folder)
    return [*lines, *(f"warning  {_when(period)}: {period.message}" for period in read_health(folder))]


def best(folder: Path, rows: Sequence[Row]) -> list[str]:
    """The best step and its checkpoint; where that is not kept, the best checkpoint there is."""
    found = best_step(rows)
    if found is None or sum(row["step"] > 0 for row in rows) < SEVERAL:
        return []
    line = f"best     {found.by} {found.value:.3f} at step {found.step}"
    checkpoints = whole_in(folder / "checkpoints")
    kept = [path for path in checkpoints if step_of(path) == found.step]
    if kept or not checkpoints:
        return [f"{line}: {kept[0]}" if kept else line]
    of_kept = best_of(checkpoints, folder)
    return [f"{line}, not kept{f'; best of the kept ones: {of_kept[0]}' if of_kept else ' (run.keep_best)'}"]


def episodes(folder: Path) -> list[str]:
    """An episode of the first step, a wrong one where one was kept, and one of the last step; nothing in a run without episodes.

    One without a reward broke, and shows nothing of the model: it is taken only where no other one was kept.
    """
    lines = []
    files = step_files(folder / "responses")
    for label, step, path in [*(("before", *file) for file in files[:1]), *(("after", *file) for file in files[1:][-1:])]:
        kept = [row for row in read_lines(path) if row.get("turns")]
        scored = [row for row in kept if row["reward"] is not None]
        wrong = [row for row in scored if label == "before" and row["reward"] < RIGHT]
        for row in [*wrong, *scored, *kept][:1]:
            reward = "no reward" if row["reward"] is None else f"reward {row['reward']:.3g}"
            lines.append(f"{label:<8} an episode of step {step}, {reward}:")
            lines += [f"{'':<9}{line}" for line in transcript_lines(row["prompt"], row["turns"], SHOWN_CHARS)]
    return lines


def _best(course: list[tuple[int, float]]) -> str:
    """The best evaluation, where it is not the last."""
    step, best = max(course, key=lambda evaluation: evaluation[1])
    return f" (best {best:.3f} at step {step})" if best > course[-1][1] else ""


def _when(period: Period) -> str:
    if period.last is None:
        return f"since step {period.first}"
    return f"steps {period.first} to {period.last}" if period.last > period.first else f"step {period.first}"
