"""Each known cause is recognised in what the installed libraries print, and its advice names keys that exist."""

import re

import pytest

from cluster.causes.known import KNOWN, filled, known
from configs.loader import load

ENGINE, RANK, ANY = "engine 0", "learner rank 1", ""
SAID = (
    (
        "no room for the KV cache",
        ENGINE,
        "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when",
    ),
    (
        "no room for the KV cache",
        ENGINE,
        "ValueError: To serve at least one request with the model's max seq len (4096), (4.0 GiB KV cache is needed, which is larger than "
        "the available KV cache memory (1.0 GiB). Based on the available memory, the estimated maximum model length is 1024.",
    ),
    (
        "GPU already in use",
        ENGINE,
        "ValueError: Free memory on device cuda:0 (10.1/79.2 GiB) on startup is less than desired GPU memory utilization (0.9, 71.3 GiB).",
    ),
    ("sampler out of memory", ENGINE, "RuntimeError: CUDA out of memory occurred when warming up sampler with 1024 dummy requests."),
    (
        "GPU out of memory in the engine",
        ENGINE,
        "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity",
    ),
    (
        "GPU out of memory in the learner",
        RANK,
        "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity",
    ),
    ("killed by Ray's memory monitor", RANK, "2 worker(s) were killed due to the node running low on memory. OOM kill reason: usage above"),
    (
        "host out of memory",
        ANY,
        "MemoryError: Unable to allocate 8.00 PiB for an array with shape (1125899906842624,) and data type float64",
    ),
    (
        "host out of memory",
        RANK,
        "RuntimeError: [enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you",
    ),
    (
        "/dev/shm is too small",
        RANK,
        "RuntimeError: unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)",
    ),
    ("disk full", ANY, "OSError: [Errno 28] No space left on device"),
    ("disk full", ANY, "OperationalError: database or disk is full"),
    ("disk full", RANK, "OSError: [Errno 27] File too large"),
    ("read-only file system", ANY, "OSError: [Errno 30] Read-only file system: '/ro/run'"),
    ("permission denied", ANY, "PermissionError: [Errno 13] Permission denied: '/root/run'"),
    ("too many open files", RANK, "RuntimeError: [enforce fail at device.cc:186] rv != -1. -1 vs -1. Too many open files"),
    ("too many processes", ENGINE, "RuntimeError: can't start new thread"),
    ("damaged safetensors file", ENGINE, "SafetensorError: Error while deserializing header: header too large"),
    ("damaged safetensors file", RANK, "SafetensorError: Error while deserializing header: incomplete metadata, file not fully covered"),
    (
        "damaged safetensors file",
        RANK,
        "SafetensorError: Error while deserializing header: invalid JSON in header: expected value at line 1",
    ),
    (
        "missing weights",
        ENGINE,
        "ValueError: Following weights were not initialized from checkpoint: {'model.layers.1.self_attn.q_proj.weight'}",
    ),
    (
        "weights of another shape",
        RANK,
        "RuntimeError: Error(s) in loading state_dict: size mismatch for lm_head.weight: copying a param with",
    ),
    ("own code needed", ENGINE, "ValueError: The repository m contains custom code which must be executed to correctly load the model."),
    (
        "tokenizer needs a library",
        ANY,
        "ImportError: LlamaTokenizer requires the SentencePiece library but it was not found in your environment.",
    ),
    (
        "tokenizer needs a library",
        ANY,
        "ValueError: `tiktoken` is required to read a `tiktoken` file. Install it with `pip install tiktoken`.",
    ),
    ("no tokenizer", ENGINE, "OSError: Can't load tokenizer for 'm'. If you were trying to load it from 'https://huggingface.co/models'"),
    (
        "architecture unknown",
        ENGINE,
        "ValueError: Model architectures ['FooForCausalLM'] are not supported for now. Supported architectures: ",
    ),
    (
        "architecture unknown",
        RANK,
        "ValueError: The checkpoint you are trying to load has model type `foo` but Transformers does not recognize this architecture.",
    ),
    ("head size", ENGINE, "RuntimeError: Unsupported CPU attention configuration: head_dim=24 isa=1 kv_cache_idx=0"),
    (
        "FlashAttention missing",
        RANK,
        "ImportError: FlashAttention2 has been toggled on, but it cannot be used due to the following error: the package",
    ),
    (
        "attention not supported",
        ENGINE,
        "ValueError: No valid attention backend found for NVIDIA H100 with AttentionSelectorConfig(head_size=80). Reasons: {}.",
    ),
    (
        "attention not supported",
        RANK,
        "ValueError: GptOss does not support an attention implementation through torch.nn.functional.scaled_dot_product_attention yet.",
    ),
    (
        "bfloat16 needs a newer GPU",
        ENGINE,
        "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla T4",
    ),
    ("precision not supported", RANK, "RuntimeError: \"addmm_impl_cpu_\" not implemented for 'Half'"),
    (
        "driver too old",
        RANK,
        "RuntimeError: The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver",
    ),
    ("GPU not supported by this build", ENGINE, "AcceleratorError: CUDA error: no kernel image is available for execution on the device"),
    ("no GPU found", RANK, "RuntimeError: No CUDA GPUs are available"),
    ("DeepSpeed cannot compile", RANK, "MissingCUDAException: CUDA_HOME does not exist, unable to compile CUDA op(s)"),
    ("DeepSpeed cannot compile", RANK, "RuntimeError: Error building extension 'cpu_adam'"),
    (
        "no C compiler",
        ENGINE,
        "RuntimeError: Failed to find C compiler. Please specify via CC environment variable or set triton.knobs.build.impl.",
    ),
    (
        "no C compiler",
        ENGINE,
        "InductorError: InvalidCxxCompiler: No working C++ compiler found in torch._inductor.config.cpp.cxx: (None, 'g++')",
    ),
    (
        "tensor parallelism does not divide the model",
        ENGINE,
        "ValidationError: Total number of attention heads (4) must be divisible by tensor parallel size (3).",
    ),
    (
        "engine's context above the model's",
        ENGINE,
        "ValidationError: User-specified max_model_len (4096) is greater than the derived max_model_len (max_position_embeddings=256)",
    ),
    ("engine's context too short for a prompt", ENGINE, "ValueError: The prompt (length 25) exceeds the maximum model length of 20."),
    (
        "batch below one sequence",
        ENGINE,
        "ValidationError: max_num_batched_tokens (16) must be greater than or equal to max_num_seqs (128)",
    ),
    ("port in use", ENGINE, "DistNetworkError: The server socket has failed to listen on any local network address. port: 22, errno: 98"),
    ("network interface", RANK, "RuntimeError: [enforce fail at device.cc:99] Unable to find address for: eth77"),
    ("NCCL", RANK, "DistBackendError: NCCL error in: NCCLUtils.cpp:77, unhandled system error, NCCL version 2.27.5"),
    ("a peer is gone", RANK, "RuntimeError: [pair.cc:534] Connection closed by peer [127.0.0.1]:4242"),
    ("a peer is gone", RANK, "CalledBack: the publish was called back, as another member is lost"),
    ("Ray of another version", ANY, "RuntimeError: Version mismatch: The cluster was started with:\n    Ray: 2.50.0\n    Python: 3.12.1"),
    ("Ray's folder is too deep", ANY, "OSError: validate_socket_filename failed: AF_UNIX path length cannot exceed 107 bytes: /tmp/x"),
    ("no Ray at that address", ANY, "RuntimeError: Failed to connect to GCS."),
    ("no Ray at that address", ANY, "ConnectionError: Failed to connect to Ray cluster at 10.0.0.1:6379"),
    (
        "Ray could not start",
        ANY,
        "Exception: The current node timed out during startup. This could happen because some of the raylet failed",
    ),
    ("an object of a lost node", RANK, "ObjectLostError: Failed to retrieve object 00ff"),
)


@pytest.mark.parametrize(("name", "role", "said"), SAID)
def test_a_known_cause_is_found_in_what_a_library_says(name: str, role: str, said: str):
    found = known(said, role)
    assert found is not None
    assert found.name == name


def test_every_row_of_the_table_is_recognised_in_a_real_text():
    assert {row.name for row in KNOWN} == {name for name, _, _ in SAID}


@pytest.mark.parametrize(
    "said", ["RuntimeError: step 3: none of the responses could be scored", "KeyError: 'score'", "ValueError: bad shape"]
)
def test_an_unknown_error_gets_no_advice(said: str):
    assert known(said, ENGINE) is None


def test_each_advice_names_keys_that_exist_with_the_value_of_the_run():
    config = load("configs/tiny_cpu.toml", ["rollout.vllm.max_num_seqs=7"])
    values = config.model_dump()
    for row in KNOWN:
        for key in re.findall(r"\{([^}]+)\}", row.advice):
            section, name, *_ = key.split(".")
            assert name in values[section], f"{row.name}: {key}"
        assert "{" not in filled(row.advice, values)
    advice = filled("lower {rollout.vllm.max_num_seqs} or {learner.micro_batch_tokens}, {rollout.vllm.max_model_len}", values)
    assert (
        advice == "lower rollout.vllm.max_num_seqs (7 now) or learner.micro_batch_tokens (4096 now), rollout.vllm.max_model_len (not set)"
    )
    assert filled("lower {rollout.vllm.max_num_seqs}", None) == "lower rollout.vllm.max_num_seqs"
