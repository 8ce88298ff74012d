"""Known causes that lie in a model's files, in kernels and compilers, or in sizes that do not fit each other."""

from cluster.causes.row import LEARNER, row

OF_MODELS = (
    # the model's files
    row(
        "damaged safetensors file",
        r"HeaderTooLarge|header too large|MetadataIncompleteBuffer|incomplete metadata|InvalidHeaderDeserialization|"
        r"[Ii]nvalid JSON in header|HeaderTooSmall|header too small|InvalidHeaderStart|file not fully covered|"
        r"invalid.*header.*deserial|SafetensorError",
        "a weights file is damaged or was not downloaded completely: download {model.path} again and compare the sizes of its files",
    ),
    row(
        "missing weights",
        r"weights were not initialized from checkpoint|missing keys|Missing key\(s\)|newly initialized|"
        r"misses? (?:some|all) of (?:its|their) weights|does not contain .*weight|weights? .* (?:is|are) missing|"
        r"not found in .*safetensors|is incomplete",
        "{model.path} lacks tensors that its config.json asks for: download it again, or correct its config.json",
    ),
    row(
        "weights of another shape",
        r"size mismatch for|shape mismatch|[Ss]hapes? .*do(?:es)? not match|Attempted to load weight|"
        r"mismatched_(?:sizes|keys)|mismatched (?:shapes|sizes|keys)|loaded_weight\.shape|[Tt]ensor.*has shape .*expected|"
        r"must match the size of tensor",
        "a weights file does not fit its config.json (vocab_size, hidden_size, heads): give the config.json of these "
        "weights in {model.path}",
    ),
    row(
        "own code needed",
        r"trust_remote_code|contains custom code",
        "if you trust the code in the model's folder, set {model.trust_remote_code} to true",
    ),
    row(
        "tokenizer needs a library",
        r"(?:sentencepiece|SentencePiece|tiktoken|protobuf)[^\n]*(?:required|not (?:installed|found)|install|environment)|"
        r"requires the (?:SentencePiece|protobuf)|No module named '(?:sentencepiece|tiktoken|google)",
        "install what the message names (pip install sentencepiece tiktoken protobuf) on every node, or add a "
        "tokenizer.json to {model.path}",
    ),
    row(
        "no tokenizer",
        r"[Cc]an't load (?:the )?tokenizer|Couldn't instantiate the backend tokenizer|no tokenizer that can be loaded|"
        r"Error parsing tokenizer|data did not match any variant",
        "add the tokenizer's files (tokenizer.json, tokenizer_config.json) to {model.path}",
    ),
    row(
        "architecture unknown",
        r"Model architectures .* (?:are not supported|failed to be inspected)|Model architecture .* is not supported|"
        r"does not recognize this architecture|Unrecognized model in|Unrecognized configuration class|"
        r"has no vLLM implementation|Cannot find model module",
        "the installed vLLM or transformers does not know this model: choose another {model.path}, or correct "
        "`architectures` in its config.json",
    ),
    # attention, precision, kernels
    row(
        "head size",
        r"Unsupported CPU attention configuration|[Hh]ead(?:_| )?(?:size|dim)[^\n]*(?:not supported|unsupported|is not)|"
        r"(?:[Uu]nsupported|not support)[^\n]*head(?:_| )?(?:size|dim)|This flash attention build does not support headdim",
        "no attention kernel here has the model's head_dim: choose another {model.path}, or another "
        "{rollout.vllm.attention_backend}; vLLM on CPU has 32, 64, 80, 96, 112, 128, 160, 192, 224, 256 and 512",
    ),
    row(
        "FlashAttention missing",
        r"FlashAttention\d? ?has been toggled on|FlashAttention\d* is not available|"
        r"flash_attn[^\n]*(?:not|doesn't|No module)|No module named 'flash_attn",
        'use {learner.attention} = "sdpa", or install flash-attn for this torch and GPU on every node',
        LEARNER,
    ),
    row(
        "attention not supported",
        r"No valid attention backend|does not support (?:an attention implementation|Flash Attention|SDPA)|"
        r"scaled_dot_product_attention. yet|"
        r"[Aa]ttention backend[^\n]*(?:not supported|not valid|[Ii]nvalid|unknown|Unknown)|"
        r"(?:Invalid|Unknown) (?:attention )?backend|is not valid for this configuration|attn_implementation|"
        r"Cannot use [\w.]+ backend on",
        "remove {rollout.vllm.attention_backend} so that vLLM chooses, and set {learner.attention} to one that the model "
        "has (sdpa or eager)",
    ),
    row(
        "bfloat16 needs a newer GPU",
        r"Bfloat16 is only supported on GPUs|bf16 is not supported|BFloat16 is not supported|does not support bfloat16",
        'this GPU has no bfloat16: set {model.dtype} to "float32" or take a GPU of compute capability 8.0 or higher',
    ),
    row(
        "precision not supported",
        r"Unknown dtype|[Uu]nsupported dtype|dtype[^\n]*(?:not supported|unsupported|is not)|"
        r"not implemented for '(?:Half|BFloat16|Float8|Byte)|fp8[^\n]*(?:not supported|requires|unsupported)|Type fp16|"
        r"(?:fp16|float16)[^\n]*not support|expected (?:m1 and m2|mat1 and mat2) to have the same dtype|"
        r"quantization[^\n]*not supported|quantization[^\n]*(?:is not|unsupported|capability)",
        "this device has no kernel for that number format: change {model.dtype}, {rollout.vllm.dtype}, "
        "{rollout.vllm.kv_cache_dtype} or {rollout.vllm.quantization}",
    ),
    row(
        "driver too old",
        r"NVIDIA driver on your system is too old|CUDA driver version is insufficient|"
        r"system has unsupported display driver|forward compatibility was attempted",
        "update the NVIDIA driver of the node, or install the torch that is built for its CUDA (nvidia-smi shows the newest it supports)",
    ),
    row(
        "GPU not supported by this build",
        r"no kernel image is available|is not compatible with the current PyTorch installation|"
        r"the provided PTX was compiled with an unsupported toolchain",
        "this torch or vLLM is not built for this GPU's architecture: install a build that lists it, or use another node",
    ),
    row(
        "no GPU found",
        r"No CUDA GPUs are available|Found no NVIDIA driver|no CUDA-capable device|invalid device ordinal|"
        r"Failed to infer device type",
        "the process sees no GPU: check nvidia-smi on its node and CUDA_VISIBLE_DEVICES; start Ray with --num-gpus as many as there are",
    ),
    # compilers
    row(
        "DeepSpeed cannot compile",
        r"CUDA_HOME does not exist|MissingCUDAException|CUDAMismatchException|Installed CUDA version .* does not match|"
        r"Unable to JIT load|Error building extension|Ninja is required|CUDA_HOME environment variable is not set|"
        r"CUDA was not found on the system|Unable to find a (?:C\+\+ )?compiler|cpu_adam",
        "DeepSpeed compiles an operator and finds no compiler: install a C++ compiler, ninja and, for GPU operators, the "
        "CUDA toolkit of torch's version (set CUDA_HOME); without offload in {learner.deepspeed} fewer operators are "
        "needed",
    ),
    row(
        "no C compiler",
        r"Failed to find C compiler|InvalidCxxCompiler|No working C\+\+ compiler|Compiler: \S+ is not found|"
        r"CppCompileError|C\+\+ compile error|InductorError|BackendCompilerFailed|fatal error: Python\.h|"
        r"Python\.h: No such file|PTXASError|Cannot find ptxas",
        "torch.compile or Triton needs a C compiler and Python's headers: install gcc, g++ and python3-dev on every node,"
        " or set {rollout.vllm.enforce_eager} to true",
    ),
    # sizes that do not divide
    row(
        "tensor parallelism does not divide the model",
        r"attention heads .*divisible by tensor parallel|must be divisible by (?:the )?tensor|is not divisible by \d+|"
        r"not divisible by tp_size|tensor_parallel_size[^\n]*divisib",
        "choose a divisor of the model's attention heads (num_attention_heads in its config.json): {rollout.vllm.tensor_parallel_size}",
    ),
    row(
        "engine's context above the model's",
        r"max_model_len \(\d+\) is greater than the derived max_model_len",
        "the model's context is shorter: lower {rollout.vllm.max_model_len} or remove it; prompts and responses set it",
    ),
    row(
        "engine's context too short for a prompt",
        r"(?:prompt|input)[^\n]*(?:longer than|exceeds?|greater than)[^\n]*(?:maximum|max_model_len|context)|"
        r"maximum (?:model|context) length",
        "raise {rollout.vllm.max_model_len} to at least {data.max_prompt_tokens} plus {rollout.max_response_tokens}, or remove it",
    ),
    row(
        "batch below one sequence",
        r"max_num_batched_tokens[^\n]*(?:smaller|less|must be|greater)|max_num_seqs[^\n]*(?:must|greater|least)",
        "correct {rollout.vllm.max_num_batched_tokens} and {rollout.vllm.max_num_seqs}: the first is at least the second "
        "and one whole prompt",
    ),
)
