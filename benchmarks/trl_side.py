"""One training of TRL's GRPOTrainer; the last line of its output has the median seconds of a step."""

import json
import statistics
import sys
import time
from itertools import pairwise
from typing import Any

import torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from benchmarks.mixture import digits
from benchmarks.trl import Job


class Clock(TrainerCallback):
    """Notes when each update ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.ends.append(time.perf_counter())


def rewarded(checker: str, completions: list[str], answer: list[str]) -> list[float]:
    """The rewards of the tiny recipe's checker, or of the mixture's."""
    if checker == "exact":
        return [float(completion.strip() == right) for completion, right in zip(completions, answer, strict=True)]
    return [digits(completion, None) for completion in completions]


def trained(job: Job) -> list[float]:
    """The seconds of the steps after the warm-up."""
    from trl import GRPOConfig, GRPOTrainer

    torch.set_num_threads(job.threads)
    clock = Clock()
    settings = GRPOConfig(
        output_dir=job.folder, per_device_train_batch_size=job.batch, generation_batch_size=job.batch * job.updates,
        num_generations=job.group, max_completion_length=job.tokens, max_steps=job.updates * job.steps, learning_rate=job.lr,
        lr_scheduler_type="constant", beta=0.0, temperature=1.0, top_p=1.0, top_k=0, num_iterations=1, epsilon=job.clip, loss_type="grpo",
        max_grad_norm=job.max_grad_norm, adam_beta2=0.999, use_vllm=False, use_cpu=True, bf16=False, gradient_checkpointing=False,
        logging_steps=10**6, report_to=[], save_strategy="no", disable_tqdm=True, seed=0,
    )  # fmt: skip
    GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32),
        reward_funcs=lambda completions, answer, **_: rewarded(job.checker, completions, answer),
        args=settings,
        train_dataset=load_dataset("json", data_files=job.data)["train"],
        processing_class=AutoTokenizer.from_pretrained(job.model),
        callbacks=[clock],
    ).train()
    last = clock.ends[job.updates - 1 :: job.updates]  # when each step ended
    return [after - before for before, after in pairwise(last)][max(0, job.warm_up - 1) :]


if __name__ == "__main__":
    print(json.dumps({"seconds": statistics.median(trained(Job(**json.loads(sys.argv[1]))))}))
