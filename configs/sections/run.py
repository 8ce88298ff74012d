"""Keys of `[run]`."""

from typing import Literal

from pydantic import Field, StrictBool

from configs.section import Count, PathText, Positive, Section, Whole


class RunConfig(Section):
    """How long the run is, where its files are and how far generation may run ahead of learning."""

    dir: PathText = Field(
        default="runs/gatewise",
        description="folder of the run, outside of any model folder. A relative path starts at the working directory; on a cluster give "
        "an absolute path that every node can read and write",
    )
    steps: Count = Field(default=100, description="steps to train. A resumed run counts the steps before its checkpoint too")
    seed: Whole = Field(default=0, description="seed of the prompt order, of every request, of vLLM and of the learner")
    device: Literal["auto", "cpu", "gpu"] = Field(
        default="auto",
        description='where engines and ranks run; "auto" is "gpu" where the cluster has GPUs and the installed torch is a CUDA build, '
        'and otherwise "cpu"',
    )
    max_staleness: Whole = Field(
        default=0,
        description="largest staleness: steps between the publish of a token's weights and the step that learns the token. "
        "0: generation and learning take turns; 1 and more: generation runs ahead, by `rollout.ahead` steps",
    )
    resume: PathText = Field(
        default="never",
        description='"never", "auto" or a checkpoint folder. "never" refuses a `run.dir` that already holds a run; "auto" continues from '
        "the newest complete checkpoint of `run.dir`, or starts from the model if there is none; a folder continues from that checkpoint",
    )
    origin: PathText | None = Field(
        default=None,
        alias="from",
        description="begin a new run at step 0 from the weights of this checkpoint: a checkpoint folder, or the folder of a run for its "
        'newest one. It needs the same `[model]` and router. `kl.reference = "initial"` stays `model.path`',
    )
    from_optimizer: StrictBool = Field(default=False, description="take the optimizer's moments from `run.from` too")
    save_every: Count = Field(default=50, description="steps between checkpoints. The last step is always saved")
    keep_checkpoints: Count = Field(default=2, description="number of complete checkpoints to keep, the newest ones")
    keep_every: Whole = Field(
        default=0,
        description="also keep, for ever, each checkpoint whose step is a multiple of this; a multiple of `run.save_every`. 0 keeps none",
    )
    keep_best: StrictBool = Field(
        default=False,
        description="also keep the best checkpoint so far: by held-out correctness, from the second evaluation on, else by the mean reward "
        "of its last 10 steps. It takes the disk of one more checkpoint",
    )
    export_checkpoints: StrictBool = Field(
        default=False,
        description="also write the policy of each checkpoint as a Hugging Face folder, `huggingface/` inside the checkpoint. "
        "Training waits for it",
    )
    eval_every: Whole = Field(
        default=50,
        description="steps between evaluations on `data.eval`. 0 evaluates only before the first and after the last step",
    )
    sample_responses: Whole = Field(
        default=4,
        description="responses of every step written as readable text to `responses/`. They are one of each of the first groups; "
        "0 writes none",
    )
    sample_groups: Whole = Field(
        default=0,
        description="number of groups a step that `run.sample_responses` come from. With 1 they are members of one group, to be read side "
        "by side. 0 takes one of each group before a second one of any",
    )
    report: StrictBool = Field(
        default=True,
        description="write `report.html`, one page without a network that shows the run: now and then while it works, and at its end",
    )
    timeline_every: Whole = Field(
        default=10,
        description="steps between recorded steps of `timeline.jsonl`: what every engine, rank and reward worker did when. The step after "
        "each of them is recorded too, and the first two; 0 records none",
    )
    capsule_every: Whole = Field(
        default=0,
        description="steps between capsules: a capsule in `capsules/` has what a step was learned from, and `gatewise replay` computes it "
        "again. 0 keeps one only where an update is dropped or spikes, or an alarm is raised",
    )
    keep_capsules: Whole = Field(
        default=10,
        description="most capsules to keep. Those that were only due go first. Of those with a cause the first and the newest stay. "
        "0 keeps none, also where an update is dropped",
    )
    tensorboard: StrictBool = Field(default=False, description='the same as "tensorboard" in `trackers.use`')
    deadline_s: Positive = Field(
        default=600,
        description="longest time in seconds for any single wait: a start, a group, a learner call, each stage of a publish. "
        "A longer one is an error: set it above the longest step",
    )
    stop_s: Positive = Field(
        default=600,
        description="longest time in seconds between Ctrl-C or SIGTERM and the end of the run, which finishes an update and saves it. "
        "Then the run ends without another checkpoint",
    )
    grace_s: Positive | None = Field(
        default=None,
        description="time in seconds from SIGTERM to SIGKILL in a preemption, a Slurm job or a pod. The run then ends within it: a step "
        "that cannot finish is cut, and the newest finished one is saved from a copy in host memory, which is made after every step. "
        "Left out: SIGTERM stops like Ctrl-C, within `run.stop_s`",
    )
