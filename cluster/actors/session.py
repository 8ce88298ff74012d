"""Ray for the length of a run: the cluster that this driver was submitted to, or a local one on loopback."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray._private import services

from cluster.actors.nodes.lean import lean
from cluster.actors.nodes.ray_watch import RayWatch, watch_ray
from cluster.actors.places.device import count_gpus, on_gpu, this_machine
from cluster.actors.places.shared import PINNED
from cluster.actors.places.threads import Threads, threads_of
from configs.errors import InputError
from configs.schema import Config

ANSWERS_S = 10.0  # for a cluster's head to accept a connection
ROOT = Path(__file__).resolve().parents[2]
OURS = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")  # variables of an actor that the user's own do not replace

# How often a thread that waits for others looks for them before it sleeps. By default OpenMP looks for milliseconds, on cores that other
# processes need meanwhile: on a busy machine two threads took several times as long as one. A thread that sleeps at once wakes too late
# for short operations: on a quiet machine a tiny step took a third longer.
SPINS = "GOMP_SPINCOUNT"
BRIEF = "10000"  # about a quarter of a millisecond

# Have torch ask for huge pages. With small ones, where a process happens to get its memory decides how well caches work: the learner of one
# run needed a third more CPU time than that of another.
HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"


def joins_cluster() -> bool:
    """Whether the run goes to a cluster that is already up: `ray job submit` names it in RAY_ADDRESS."""
    return bool(os.environ.get("RAY_ADDRESS"))


def refuse_ray_in_use() -> None:
    """Raise InputError where this process has initialised Ray itself: a run brings its own settings, and ends Ray when it ends."""
    if ray.is_initialized():
        address = ray.get_runtime_context().gcs_address
        raise InputError(
            "Ray is already initialised in this process, and a run has a Ray session of its own: call ray.shutdown() first. "
            f'To use that cluster, set os.environ["RAY_ADDRESS"] = "{address}" as well, if it lives on without this process'
        )


@contextmanager
def ray_session(config: Config | None) -> Iterator[RayWatch]:
    """Join the cluster of RAY_ADDRESS (set by `ray job submit`), else start a local one for `config` that ends with this session.

    Gives the watch over it. The environment of this process is the same afterwards.
    """
    before = dict(os.environ)
    try:
        _start(config)
        RayWatch.current = watch_ray(local=not joins_cluster())
        yield RayWatch.current
    finally:
        ray.shutdown()
        RayWatch.current = None
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _start(config: Config | None) -> None:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Every failure of an actor reaches this driver as an exception; Ray would print those that nobody awaits any more as well.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    if joins_cluster():
        refuse_silent_address(os.environ["RAY_ADDRESS"])
        with _handlers_stay():
            ray.init(log_to_driver=False, logging_level=logging.ERROR)
    else:
        # By default Ray runs its workers at niceness 15, behind everything else on the machine.
        os.environ.setdefault("RAY_worker_niceness", "0")
        # Actors must find the packages whether or not the project is installed.
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        here = this_machine()
        metrics = config is not None and "prometheus" in config.trackers.use
        if not metrics:
            os.environ.setdefault("RAY_enable_metrics_collection", "0")
        with _loopback_stays(), _away_from_the_terminal(), _handlers_stay(), lean(metrics=metrics):
            ray.init(
                address="local",
                num_gpus=int(count_gpus(here)) if config and on_gpu(config, here) else 0,
                include_dashboard=False,
                _node_ip_address="127.0.0.1",
                _metrics_export_port=(config.trackers.prometheus_port or None) if config else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )


def refuse_silent_address(address: str) -> None:
    """Raise ValueError unless something listens at a cluster's HOST:PORT: Ray itself would try again for minutes."""
    wanted = "needed HOST:PORT of a running Ray head (usually port 6379)"
    if "://" in address:
        raise ValueError(f"RAY_ADDRESS is {address}, {wanted}: set that, or submit with `ray job submit --address {address}`")
    named = address
    if address == "auto":
        try:  # it may be a head that was killed, or that of a local run, which listens on loopback only
            address = services.canonicalize_bootstrap_address(address) or ""
        except ConnectionError:  # Ray finds none, and says so at once
            return
        named = f"auto, which Ray takes for {address}"
    host, colon, port = address.rpartition(":")
    if not colon:  # for Ray to resolve
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWERS_S).close()
    except (OSError, ValueError) as error:
        raise ValueError(
            f"RAY_ADDRESS is {named}, where nothing answers ({error}), {wanted}: start it (`ray start --head`), correct the address, or "
            "unset RAY_ADDRESS to run on this machine alone"
        ) from error


@contextmanager
def _loopback_stays() -> Iterator[None]:
    """Stop Ray from replacing loopback by the host's outer address, so that its servers listen on loopback only."""
    resolve = services.resolve_ip_for_localhost
    services.resolve_ip_for_localhost = lambda host: host
    try:
        yield
    finally:
        services.resolve_ip_for_localhost = resolve


@contextmanager
def _away_from_the_terminal() -> Iterator[None]:
    """Start Ray's processes in a process group of their own.

    Ctrl-C, a closing terminal and `timeout` signal the driver's whole group. Engines and ranks must outlive that to finish the update.
    """
    names: dict[str, Any] = vars(services)
    ours = names["ConsolePopen"]
    names["ConsolePopen"] = partial(ours, process_group=0)
    try:
        yield
    finally:
        names["ConsolePopen"] = ours


@contextmanager
def _handlers_stay() -> Iterator[None]:
    """Keep this process's handler of SIGTERM, which Ray replaces in the main thread by one that kills its processes at once."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread() and before is not None:
        signal.signal(signal.SIGTERM, before)


def engine_env(config: Config, gpu: bool) -> dict[str, str]:
    """Environment of an engine's process; on CPU with the threads that it computes with."""
    threads = str(threads_here(config, gpu).engine)
    env = {"VLLM_LOGGING_LEVEL": "WARNING", "VLLM_NO_USAGE_STATS": "1", "TOKENIZERS_PARALLELISM": "false"}
    # With shared places Ray reserves no cores for the actor, and would allow it a single thread.
    if config.placement.share or config.rollout.threads != "auto":
        env["OMP_NUM_THREADS"] = threads
    if not gpu:
        env |= {
            "CUDA_VISIBLE_DEVICES": "",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            # Runs the only CPU worker inside the engine core's process.
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "OMP_NUM_THREADS": threads,
            **computing(),
        }
        if not joins_cluster():
            env["VLLM_HOST_IP"] = "127.0.0.1"
        if config.rollout.vllm.get("enforce_eager"):
            # vLLM still compiles some functions at its first request, for many seconds on a CPU.
            env["TORCHDYNAMO_DISABLE"] = "1"
    return _unless_set(env)


def learner_env(config: Config, gpu: bool) -> dict[str, str]:
    """Environment of a learner rank's process."""
    threads = str(threads_here(config, gpu).rank)
    env = {"VLLM_LOGGING_LEVEL": "WARNING", "TOKENIZERS_PARALLELISM": "false", "DS_ACCELERATOR": "cuda" if gpu else "cpu"}
    if config.placement.share or config.learner.threads != "auto":
        env["OMP_NUM_THREADS"] = threads
    if not gpu:
        env |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": threads, **computing()}
    elif not config.placement.share and "PYTORCH_ALLOC_CONF" not in os.environ:
        # Micro-batches and gathered layers of ever other sizes would leave gaps in the GPU's memory. Ranks that share GPUs send weights as
        # CUDA IPC handles, which are many times slower to make and to open for such segments. Engines are left to vLLM.
        env["PYTORCH_CUDA_ALLOC_CONF"] = f"expandable_segments:True,{PINNED}"
    return _unless_set(env)


def computing() -> dict[str, str]:
    """How a process on CPUs gets memory, and how its threads wait for each other, unless the user's own policy says so."""
    return {HUGE_PAGES: "1"} | ({} if "OMP_WAIT_POLICY" in os.environ else {SPINS: BRIEF})


def _unless_set(env: dict[str, str]) -> dict[str, str]:
    """Keep the user's variables, except OMP_NUM_THREADS, which Ray sets for submitted drivers, and the GPUs that a CPU run must not see."""
    return {name: value if name in OURS else os.environ.get(name, value) for name, value in env.items()}


def threads_here(config: Config, gpu: bool) -> Threads:
    """The threads of a run that starts now. On GPUs "auto" is the reserved cores, as they only feed the GPU."""
    if gpu or joins_cluster():
        return threads_of(config, None)
    # Ray counts the cores of a machine or a container; a process may be bound to fewer.
    return threads_of(config, min(int(this_machine()[0]["CPU"]), len(os.sched_getaffinity(0))))
