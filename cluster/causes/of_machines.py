"""Known causes that lie in a machine or between machines: memory, disk, limits, network, Ray."""

from cluster.causes.row import ENGINE, LEARNER, row

OF_MACHINES = (
    # memory of a GPU
    row(
        "no room for the KV cache",
        r"No available memory for the cache blocks|KV cache is needed, which is larger|No available memory.*[Kk][Vv]",
        "raise {rollout.vllm.gpu_memory_utilization}, or lower {data.max_prompt_tokens}, {rollout.max_response_tokens} or"
        " {rollout.vllm.max_model_len}; a larger {rollout.vllm.tensor_parallel_size} spreads the weights. Without a GPU, "
        "VLLM_CPU_KVCACHE_SPACE=GIGABYTES in the environment sets the cache",
    ),
    row(
        "GPU already in use",
        r"Free memory on device .* is less than desired GPU memory utilization",
        "another process uses this GPU (nvidia-smi shows it): end it, or lower {rollout.vllm.gpu_memory_utilization}",
    ),
    row(
        "sampler out of memory",
        r"CUDA out of memory occurred when warming up sampler|max_num_seqs.*out of memory|out of memory.*max_num_seqs",
        "lower {rollout.vllm.max_num_seqs} or {rollout.vllm.gpu_memory_utilization}",
    ),
    row(
        "GPU out of memory in the engine",
        r"OutOfMemoryError|CUDA out of memory|CUDA error: out of memory|HIP out of memory",
        "lower {rollout.vllm.gpu_memory_utilization}, {rollout.vllm.max_num_seqs} or "
        "{rollout.vllm.max_num_batched_tokens}; a larger {rollout.vllm.tensor_parallel_size} spreads the weights over "
        "more GPUs",
        ENGINE,
    ),
    row(
        "GPU out of memory in the learner",
        r"OutOfMemoryError|CUDA out of memory|CUDA error: out of memory|HIP out of memory",
        "lower {learner.micro_batch_tokens} or {learner.head_chunk_tokens}, set {learner.gradient_checkpointing} to true,"
        " offload with learner.deepspeed.zero_optimization.offload_optimizer, or take more {learner.ranks}",
        LEARNER,
    ),
    # memory of the host
    row(
        "killed by Ray's memory monitor",
        r"killed due to the node running low on memory|OutOfMemoryError: Task was killed|low on memory and tasks or actors",
        "the node has too little memory for the run: lower {rollout.groups_per_step}, {rollout.engines}, {learner.ranks} "
        "or {reward.workers}, or use a node with more",
    ),
    row(
        "host out of memory",
        r"out-of-memory killer, which ended|MemoryError|[Cc]annot allocate memory|DefaultCPUAllocator: can't allocate|"
        r"not enough memory: you tried to allocate|std::bad_alloc|bad_alloc|Unable to allocate .* for an array",
        "the process may not use that much memory: lower {learner.micro_batch_tokens}, {rollout.groups_per_step} or "
        "{rollout.engines}, or lift the limit (ulimit -v, the container's memory)",
    ),
    row(
        "/dev/shm is too small",
        r"shared memory file system|No space left on device.*(?:shm|psm_)|unable to (?:open|resize|allocate) shared memory|"
        r"insufficient shared memory|/dev/shm.*(?:too small|No space)|Bus error.*shared",
        "enlarge /dev/shm (docker run --shm-size=16g, or an emptyDir of medium Memory at /dev/shm in Kubernetes)",
    ),
    # disk and files
    row(
        "disk full",
        r"No space left on device|ENOSPC|Disk quota exceeded|database or disk is full|disk I/O error|File too large|disk full:|"
        r"\[Errno 27\]|PytorchStreamWriter failed writing|unexpected pos \d+ vs \d+",
        "free space where {run.dir} lies, name another, or write less: {run.keep_checkpoints}, {run.save_every}",
    ),
    row(
        "read-only file system",
        r"Read-only file system|attempt to write a readonly database",
        "choose a writable folder: {run.dir}",
    ),
    row(
        "permission denied",
        r"Permission ?[Dd]enied|PermissionError|Operation not permitted",
        "let this user read {model.path} and write {run.dir}, or choose others",
    ),
    row(
        "too many open files",
        r"Too many open files|\[Errno 24\]|file descriptor limit",
        "raise the limit of open files before the start: ulimit -n 65536 (for a cluster: before `ray start`)",
    ),
    row(
        "too many processes",
        r"can't start new thread|pthread_create failed|Resource temporarily unavailable|BlockingIOError: \[Errno 11\]",
        "raise the limit of processes (ulimit -u, or the container's pids limit), or lower {reward.workers} and {rollout.engines}",
    ),
    # processes meet
    row(
        "port in use",
        r"[Aa]ddress already in use|EADDRINUSE|errno: ?98|\[Errno 98\]|"
        r"port[^\n]*(?:already )?(?:in use|not available|occupied)",
        "another process has this port: end it or start again (ports are chosen anew), and unset MASTER_PORT and VLLM_PORT",
    ),
    row(
        "network interface",
        r"Unable to find (?:address for|interface)|GLOO_SOCKET_IFNAME|NCCL_SOCKET_IFNAME|no socket interface found|"
        r"[Nn]o such device|Cannot assign requested address",
        "set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME to an interface of this node (`ip addr` lists them), or unset "
        "them; VLLM_HOST_IP must be its own address",
    ),
    row(
        "NCCL",
        r"NCCL error|DistBackendError|ncclUnhandledCudaError|ncclSystemError|ncclRemoteError|ncclInternalError|"
        r"ncclInvalidUsage|Watchdog caught collective operation timeout",
        "GPUs could not talk: run again with NCCL_DEBUG=INFO, check NCCL_SOCKET_IFNAME and that GPUs are free; a slow "
        'step needs a larger {run.deadline_s}; {rollout.transfer} = "gloo" avoids NCCL for the publish',
        follows=True,
    ),
    row(
        "a peer is gone",
        r"Connection (?:closed by peer|reset by peer|refused)|Broken pipe|Timed out waiting .*(?:recv|send|clients)|"
        r"wait timeout after|Socket Timeout|Gloo connectFullMesh failed|CalledBack|collective operation timeout",
        "another member of the exchange ended or could not be reached: look at the logs of the other roles for the first error",
        follows=True,
    ),
    # Ray
    row(
        "Ray of another version",
        r"Version mismatch: The cluster was started with",
        "install the cluster's versions of Ray and Python where you start the run, or submit it with `ray job submit`",
    ),
    row(
        "Ray's folder is too deep",
        r"AF_UNIX path length|path length cannot exceed|socket path.*too long",
        "Ray's sockets need a short path: unset RAY_TMPDIR or set it to a short one such as /tmp/ray",
    ),
    row(
        "no Ray at that address",
        r"Failed to connect to (?:GCS|Ray cluster)|Could not find any running Ray instance|Ray Client|Unable to connect to GCS|"
        r"Failed to (?:get|read) .*GCS|GCS has started\?|check if the GCS server",
        "no Ray cluster answers at RAY_ADDRESS: start it (`ray start --head`), correct the address (HOST:6379), or unset "
        "it to run on this machine alone. A cluster with a token answers nobody without it: RAY_AUTH_MODE=token and its ~/.ray/auth_token",
    ),
    row(
        "Ray could not start",
        r"The current node timed out during startup|node has not been updated|raylet[^\n]*(?:died|failed|not)|"
        r"Failed to start (?:the )?(?:Ray|GCS|raylet)|Failed to register worker|Can't find a node_ip_address",
        "Ray did not start: the machine may lack memory, processes, open files or room in /tmp/ray, or limit them "
        "(ulimit -a); its own logs are in /tmp/ray/session_latest/logs",
    ),
    row(
        "an object of a lost node",
        r"ObjectLostError|OwnerDiedError|ObjectReconstructionFailed|ObjectFetchTimedOut",
        'a node or engine ended with groups that were not yet learned: continue with run.resume="auto"',
        follows=True,
    ),
)
