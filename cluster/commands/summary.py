"""The last lines of a run: its folder, what it achieved, and what it warned about."""

from pathlib import Path

from cluster.record.metrics import read_metrics
from cluster.record.warnings import Episode, read_warnings
from configs.arithmetic import plural

ENDS = 10  # steps averaged at either end


def summary(folder: Path) -> list[str]:
    """Reward from first to last step, speed, held-out correctness before and after, the picture and the warnings, from the run's files."""
    rows = read_metrics(folder)
    steps = [row for row in rows if row.get("reward/mean") is not None]
    evaluated = [row for row in rows if row.get("eval/greedy") is not None]
    lines = [f"run      {folder}"]
    if steps:
        ends = steps[-ENDS:]
        last = sum(row["reward/mean"] for row in ends) / len(ends)
        newest = f"mean of the last {len(ends)} steps" if len(ends) > 1 else f"step {ends[0]['step']}"
        lines.append(f"reward   {steps[0]['reward/mean']:.3f} at step {steps[0]['step']} -> {last:.3f} ({newest})")
        tokens, seconds = sum(row["tokens"] for row in steps), sum(row["seconds/step"] for row in steps)
        count = f"{len(steps)} {plural('step', len(steps))}"
        lines.append(f"speed    {tokens / seconds:,.0f} generated tokens/s over {count}, {seconds / len(steps):.2f} s a step")
    if evaluated:
        before, after = evaluated[0], evaluated[-1]
        lines.append(
            f"held-out {before['eval/greedy']:.3f} -> {after['eval/greedy']:.3f} correctness of greedy responses{_best(evaluated)}"
        )
    if (folder / "reward.png").exists():
        lines.append(f"picture  {folder / 'reward.png'}")
    return [*lines, *(f"warning  {_when(episode)}: {episode.message}" for episode in read_warnings(folder))]


def _best(evaluated: list[dict[str, float]]) -> str:
    """The best evaluation, where it is not the last."""
    best = max(evaluated, key=lambda row: row["eval/greedy"])
    return f" (best {best['eval/greedy']:.3f} at step {best['step']})" if best["eval/greedy"] > evaluated[-1]["eval/greedy"] else ""


def _when(episode: Episode) -> str:
    if episode.last is None:
        return f"since step {episode.first}"
    return f"steps {episode.first} to {episode.last}" if episode.last > episode.first else f"step {episode.first}"
