"""The last lines of a run: its folder and what it achieved."""

from pathlib import Path

from cluster.record.held_out import greedy_accuracies
from cluster.record.metrics import read_metrics

ENDS = 10  # steps averaged at either end


def summary(folder: Path) -> list[str]:
    """Reward from first to last step, speed, held-out accuracy before and after, and the picture, from the run's own metrics."""
    rows = read_metrics(folder)
    steps = [row for row in rows if row.get("reward/mean") is not None]
    evaluated = [found for row in rows if (found := greedy_accuracies(row))]
    lines = [f"run      {folder}"]
    if steps:
        ends = steps[-ENDS:]
        last = sum(row["reward/mean"] for row in ends) / len(ends)
        lines.append(
            f"reward   {steps[0]['reward/mean']:.3f} at step {steps[0]['step']} -> {last:.3f} (mean of the last {len(ends)} steps)"
        )
        tokens, seconds = sum(row["tokens"] for row in steps), sum(row["seconds/step"] for row in steps)
        lines.append(f"speed    {tokens / seconds:,.0f} generated tokens/s over {len(steps)} steps, {seconds / len(steps):.2f} s a step")
    for name, after in evaluated[-1].items() if evaluated else ():
        before = next(found[name] for found in evaluated if name in found)
        lines.append(f"{name:<8} {before:.3f} -> {after:.3f} greedy accuracy")
    return [*lines, f"picture  {folder / 'reward.png'}"]
