"""From an exception and a role's log to the cause: on excerpts of real logs, and on errors as Ray raises them."""

import asyncio
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest
import ray

from cluster.causes.cause import MOST_LINES, find_cause
from cluster.causes.chain import first_cause
from cluster.causes.died import UNSAID, describe_exit, how_it_died
from cluster.causes.report import report
from cluster.causes.roles import Role, RoleFailed, RoleLate, register
from tests.toys.run import run_config

CORE = """\
--- gatewise: engine-0 on 127.0.0.1, process 1 ---
RuntimeError: of an earlier attempt
--- gatewise: engine-0 on 127.0.0.1, process 4792 ---
WARNING 11-26 02:17:18 [vllm.py:709] Model Runner V2 requires Triton; using the V1 model runner instead.
(EngineCore pid=5139) ERROR 11-26 02:17:27 [core.py:1368] EngineCore encountered a fatal error.
(EngineCore pid=5139) ERROR 11-26 02:17:27 [core.py:1368] Traceback (most recent call last):
(EngineCore pid=5139) ERROR 11-26 02:17:27 [core.py:1368]   File "/x/vllm/v1/engine/core.py", line 1352, in run_engine_core
(EngineCore pid=5139) ERROR 11-26 02:17:27 [core.py:1368]     engine_core.run_busy_loop()
ERROR 11-26 02:17:27 [async_llm.py:843] AsyncLLM output_handler failed.
(EngineCore pid=5139) ERROR 11-26 02:17:27 [core.py:1368]   File "/x/vllm/_custom_ops.py", line 3868, in cpu_attn_get_scheduler_metadata
(EngineCore pid=5139) ERROR 11-26 02:17:27 [core.py:1368]     scheduler_metadata = torch.ops._C.get_scheduler_metadata(
(EngineCore pid=5139) ERROR 11-26 02:17:27 [core.py:1368]                          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
(EngineCore pid=5139) ERROR 11-26 02:17:27 [core.py:1368] RuntimeError: Unsupported CPU attention configuration: head_dim=24 isa=1
ERROR 11-26 02:17:27 [async_llm.py:843] Traceback (most recent call last):
ERROR 11-26 02:17:27 [async_llm.py:843]   File "/x/vllm/v1/engine/core_client.py", line 1175, in get_output_async
ERROR 11-26 02:17:27 [async_llm.py:843]     raise self._format_exception(outputs) from None
ERROR 11-26 02:17:27 [async_llm.py:843] vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above)
(EngineCore pid=5139) Process EngineCore:
"""
KILLED_CORE = """\
EngineCore (process 5139): killed by SIGKILL
ERROR 11-26 02:18:02 [async_llm.py:843] Traceback (most recent call last):
ERROR 11-26 02:18:02 [async_llm.py:843]   File "/x/vllm/v1/engine/async_llm.py", line 789, in output_handler
ERROR 11-26 02:18:02 [async_llm.py:843] vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above)
"""
LOST_WORKER = """\
(EngineCore pid=7926) ERROR 11-26 05:41:30 [multiproc_executor.py:314] Worker proc VllmWorker-1 died unexpectedly (exit code: None),
(EngineCore pid=7926) ERROR 11-26 05:41:39 [core.py:1609] Invocation of collective_rpc method failed
(EngineCore pid=7926) ERROR 11-26 05:41:39 [core.py:1609] Traceback (most recent call last):
(EngineCore pid=7926) ERROR 11-26 05:41:39 [core.py:1609]     raise RuntimeError("cancelled")
(EngineCore pid=7926) ERROR 11-26 05:41:39 [core.py:1609] RuntimeError: cancelled
(EngineCore pid=7926) ERROR 11-26 05:41:39 [core.py:1368] EngineCore encountered a fatal error.
(EngineCore pid=7926) ERROR 11-26 05:41:39 [core.py:1368] Traceback (most recent call last):
(EngineCore pid=7926) ERROR 11-26 05:41:39 [core.py:1368]     raise RuntimeError("Executor failed.")
(EngineCore pid=7926) ERROR 11-26 05:41:39 [core.py:1368] RuntimeError: Executor failed.
"""
CANCELLED = """\
ray::EngineActor.receive() (pid=4242, ip=10.0.0.7, actor_id=ACTOR)
  File "/x/vllm/v1/engine/core_client.py", line 1214, in _call_utility_async
    return await future
Exception: Call to collective_rpc method failed: cancelled"""
CREATION = """\
The actor died because of an error raised in its creation task, \
\x1b[36mray::EngineActor.__init__()\x1b[39m (pid=2, ip=10.0.0.7, actor_id=ACTOR)
  File "/x/vllm/engine/arg_utils.py", line 2429, in create_engine_config
    scheduler_config = SchedulerConfig(
                       ^^^^^^^^^^^^^^^^
pydantic_core._pydantic_core.ValidationError: 1 validation error for SchedulerConfig
max_num_seqs
  Input should be greater than or equal to 1 [type=greater_than_equal, input_value=0, input_type=int]
    For further information visit https://errors.pydantic.dev/2.14/v/greater_than_equal"""
DEATH = """\
The actor died unexpectedly before finishing this task.
\tclass_name: LearnerActor
\tactor_id: ACTOR
\tpid: 4242
\tip: 10.0.0.7
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits with
a connection error code 2. End of file. Some common causes include: (1) the process was killed by the OOM killer due to high memory usage,
(2) ray stop --force was called, or (3) the worker crashed unexpectedly due to SIGSEGV or another unexpected error."""
CHAINED = """\
ray::LearnerActor.start() (pid=7, ip=10.0.0.7, actor_id=ACTOR)
KeyError: 'foo'

During handling of the above exception, another exception occurred:

ray::LearnerActor.start() (pid=7, ip=10.0.0.7, actor_id=ACTOR)
  File "/x/transformers/models/auto/configuration_auto.py", line 432, in from_pretrained
    raise ValueError(
ValueError: The checkpoint you are trying to load has model type `foo` but Transformers does not recognize this architecture."""
MISMATCH = "lm_head.weight | MISMATCH | Reinit due to size mismatch - ckpt: torch.Size([84, 64]) vs model:torch.Size([84, 128])"
REPORT = (
    f"Qwen3MoeForCausalLM LOAD REPORT from: /m\n{MISMATCH}\n\nNotes:\n- MISMATCH: they did not match the original empty weight shapes.\n"
)
ABOVE = """\
ray::LearnerActor.start() (pid=7, ip=10.0.0.7, actor_id=ACTOR)
  File "/x/transformers/utils/loading_report.py", line 316, in log_state_dict_report
    raise RuntimeError(
RuntimeError: You set `ignore_mismatched_sizes` to `False`, thus raising an error. For details look at the above report!"""
PEER = """\
ray::LearnerActor.step() (pid=7, ip=10.0.0.7, actor_id=ACTOR)
  File "/x/torch/distributed/distributed_c10d.py", line 1, in all_reduce
    work.wait()
RuntimeError: [pair.cc:534] Connection closed by peer [127.0.0.1]:4242"""


def failed(folder: Path, name: str, log: str, said: str, actor: str) -> tuple[RoleFailed, Role]:
    """The error of a role with this log, about which Ray says this."""
    role = Role(name, folder / f"{name.replace(' ', '-')}.log")
    role.log.write_text(log)
    register(actor, role)
    try:
        raise ray.exceptions.RayActorError(error_msg=said.replace("ACTOR", actor))
    except ray.exceptions.RayActorError as error:
        return RoleFailed.behind(role, "could not start", error), role


@pytest.mark.parametrize(
    ("name", "log", "said", "line", "advice"),
    [
        (
            "engine 0",
            CORE,
            "EngineDeadError",
            "RuntimeError: Unsupported CPU attention configuration: head_dim=24 isa=1",
            "model.path (model now)",
        ),
        ("engine 0", KILLED_CORE, DEATH, "ProcessDied: engine 0 (process 4242): engine core killed by SIGKILL", ""),
        ("engine 0", LOST_WORKER, CANCELLED, f"ProcessDied: engine 0 (process 4242): its worker VllmWorker-1 {UNSAID}", ""),
        (
            "engine 0",
            LOST_WORKER.replace("None", "-11"),
            CANCELLED,
            "ProcessDied: engine 0 (process 4242): its worker VllmWorker-1 killed by SIGSEGV",
            "",
        ),
        (
            "engine 0",
            "",
            CREATION,
            "ValidationError: max_num_seqs Input should be greater than or equal to 1",
            "rollout.vllm.max_num_seqs (not set)",
        ),
        (
            "learner rank 0",
            "loading\n*** SIGSEGV received at time=1 ***\n",
            DEATH,
            "ProcessDied: learner rank 0 (process 4242): killed by SIGSEGV",
            "",
        ),
        (
            "learner rank 0",
            "loading\n",
            DEATH,
            f"ProcessDied: learner rank 0 (process 4242): {UNSAID}",
            "",
        ),
        (
            "learner rank 0",
            "terminate called after throwing\n  what():  std::bad_alloc\n*** SIGABRT received at time=1 ***\n",
            DEATH,
            "ProcessDied: learner rank 0 (process 4242): killed by SIGABRT (std::bad_alloc)",
            "lower learner.micro_batch_tokens",
        ),
        (
            "learner rank 0",
            "",
            f"{DEATH}\n1 worker(s) were killed due to the node running low on memory.",
            "ProcessDied: learner rank 0 (process 4242): killed by Ray's memory monitor (killed due to the node running low on memory)",
            "too little memory",
        ),
        (
            "learner rank 0",
            "",
            CHAINED,
            "ValueError: The checkpoint you are trying to load has model type `foo` but Transformers does not recognize this architecture.",
            "choose another model.path (model now)",
        ),
        ("learner rank 0", REPORT, ABOVE, f"RuntimeError: {MISMATCH}", "config.json of these weights"),
        ("learner rank 0", "", PEER, "RuntimeError: [pair.cc:534] Connection closed by peer [127.0.0.1]:4242", "logs of the other roles"),
    ],
)
def test_the_cause_is_found_in_log_and_error(tmp_path: Path, name: str, log: str, said: str, line: str, advice: str):
    actor = f"{abs(hash((name, log, said))):032x}"
    error, role = failed(tmp_path, name, log, said if "ACTOR" in said else f"{said} actor_id=ACTOR", actor)
    cause = find_cause(ExceptionGroup("tasks", [error, ValueError("later")]), run_config(tmp_path))
    assert cause.line.startswith(line)
    assert cause.line.endswith(")") >= bool(advice), "a known cause has a name, for libraries that do not say it plainly"
    assert (cause.role, cause.log, cause.what) == (name, role.log, "could not start")
    assert cause.node == (None if said == "EngineDeadError" else "10.0.0.7")
    assert advice in (cause.advice or "")
    assert bool(cause.advice) == bool(advice)


def test_a_role_that_is_late_is_named_with_the_end_of_its_log(tmp_path: Path):
    (tmp_path / "engine.log").write_text("loading\nwaiting for a lock\n")
    cause = find_cause(RoleLate(Role("engine 0", tmp_path / "engine.log"), "was not ready", 3.0))
    assert cause.line == "RoleLate: engine 0 was not ready within run.deadline_s (3 s)"
    assert cause.excerpt == ("loading", "waiting for a lock")


@pytest.mark.parametrize("stack", ["sync", "async"])
def test_an_error_while_closing_does_not_hide_the_error_that_ended_the_run(stack: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cluster.causes.chain.OURS", (str(Path(__file__).parent),))

    def close() -> None:
        raise OSError(28, "No space left on device")

    async def run() -> None:
        async with AsyncExitStack() as closing:
            closing.callback(close)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(asyncio.sleep(0))
                raise RuntimeError("the run")

    def plain() -> None:
        with ExitStack() as closing:
            closing.callback(close)
            raise RuntimeError("the run")

    with pytest.raises(OSError, match="No space") as ended:
        plain() if stack == "sync" else asyncio.run(run())
    assert str(first_cause(ended.value)) == "the run"


def test_what_a_library_handled_on_the_way_to_its_error_is_not_the_cause():
    with pytest.raises(ValueError, match="invalid literal") as ended:
        int("x")
    ended.value.__context__ = KeyError("x")  # that no frame of ours has passed on
    assert first_cause(ended.value) is ended.value


def test_an_error_that_is_raised_while_another_is_handled_is_the_cause(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cluster.causes.chain.OURS", (str(Path(__file__).parent),))

    def give_up() -> None:
        raise RuntimeError("three times in a row")

    def work() -> None:
        try:
            raise KeyError("once")
        except KeyError:
            give_up()

    with pytest.raises(RuntimeError) as ended:
        work()
    assert first_cause(ended.value) is ended.value


def test_a_failure_takes_at_most_thirty_lines_and_its_traceback_lies_in_the_run(tmp_path: Path):
    noise = "\n".join(f"line {n}" for n in range(1000))
    error, role = failed(tmp_path, "engine 3", CORE + noise, "EngineDeadError actor_id=ACTOR", "ab" * 16)
    lines = report(error, run_config(tmp_path))
    assert len(lines) <= MOST_LINES
    assert lines[0] == f"engine 3 could not start; its log: {role.log}"
    assert lines[-1] == "gatewise: RuntimeError: Unsupported CPU attention configuration: head_dim=24 isa=1 (head size)"
    kept = (tmp_path / "logs" / "driver.log").read_text()
    assert "RayActorError: EngineDeadError" in kept
    assert f"traceback of the driver: {tmp_path / 'logs' / 'driver.log'}" in lines


def test_a_bug_shows_where_it_is(tmp_path: Path):
    try:
        {}["nothing"]
    except KeyError as error:
        lines = report(error, run_config(tmp_path / "none"))
    assert lines[0].startswith("Traceback")
    assert lines[-2:] == ["this looks like a bug in gatewise: please report it", "gatewise: KeyError: 'nothing'"]
    assert len(lines) <= MOST_LINES


def test_a_refusal_shows_all_its_lines_and_writes_nothing(tmp_path: Path):
    assert report(ValueError("first\nsecond"), run_config(tmp_path)) == ["gatewise: ValueError: first\nsecond"]
    assert not (tmp_path / "logs").exists()


def test_exit_codes_are_named():
    assert [describe_exit(code) for code in (1, -9, -11, -99)] == [
        "exited with status 1",
        "killed by SIGKILL",
        "killed by SIGSEGV",
        "killed by signal 99",
    ]


def test_the_kernels_out_of_memory_killer_is_named_where_it_acted_during_the_run():
    assert how_it_died("", "") == UNSAID
    said = how_it_died("", "", oom_kills=1)
    assert said == "killed by SIGKILL, most likely by the kernel's out-of-memory killer, which ended 1 process of this machine meanwhile"
    assert how_it_died("*** SIGSEGV received at time=1 ***", "", oom_kills=1) == "killed by SIGSEGV"


def test_the_first_cause_is_found_through_groups_and_wrappers():
    root = ValueError("root")
    wrapped = RuntimeError("from an actor")
    wrapped.cause = root  # as Ray wraps what an actor raised
    nested = ExceptionGroup("outer", [ExceptionGroup("inner", [wrapped, KeyError("second")]), OSError("third")])
    assert first_cause(nested) is root
    assert first_cause(root) is root
    wrapped.cause = "only text"
    assert first_cause(nested) is wrapped
