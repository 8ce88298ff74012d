"""What an engine hears of its core after each step."""

from typing import Any

from vllm.config import VllmConfig
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.metrics.loggers import PrometheusStatLogger, StatLoggerBase
from vllm.v1.metrics.stats import IterationStats, SchedulerStats

from rollout.engine.pulse import Work


class StepLogger(StatLoggerBase):
    """Counts what each step of the engine core did, and prints nothing. With it vLLM also measures when each request began and ended."""

    def __init__(self, work: Work, vllm_config: VllmConfig, engine_index: int = 0) -> None:
        self.work = work
        self._made = 0  # tokens, as the scheduler counts them

    def record(
        self,
        scheduler_stats: SchedulerStats | None,
        iteration_stats: IterationStats | None,
        mm_cache_stats: Any = None,
        engine_idx: int = 0,
    ) -> None:
        """Called after each step of the core, also one that finished no request and made no token."""
        made = read = 0
        if iteration_stats is not None:
            made, read = iteration_stats.num_generation_tokens, iteration_stats.num_prompt_tokens
        queue = self.work.queue
        if scheduler_stats is not None:
            if (
                counted := scheduler_stats.step_counter
            ):  # also tokens that wait in the core; 0 of another scheduler than `rollout.engine.scheduler`
                made, self._made = counted - self._made, counted
            queue = (scheduler_stats.num_running_reqs, scheduler_stats.num_waiting_reqs, scheduler_stats.kv_cache_usage)
        self.work.step(made, read, queue)

    def log_engine_initialized(self) -> None: ...


def forget_prometheus(llm: AsyncLLM) -> None:
    """Drop vLLM's own counters, which it feeds with the time of every token although nobody can read them in an actor."""
    assert llm.logger_manager is not None, "the engine has a logger"
    loggers = llm.logger_manager.stat_loggers
    loggers[:] = [one for one in loggers if not isinstance(one, PrometheusStatLogger)]
