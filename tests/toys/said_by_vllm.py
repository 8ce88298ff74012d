"""Plain vLLM on a folder: `python -m tests.toys.said_by_vllm FOLDER TEXT...` prints log-probs of all tokens but the first."""

import json
import os
import sys

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # one process less to start
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # else some functions are compiled at the first request

from vllm import LLM, SamplingParams

if __name__ == "__main__":
    llm = LLM(model=sys.argv[1], dtype="float32", enforce_eager=True, max_model_len=32, disable_log_stats=True)
    said = []
    for output in llm.generate(sys.argv[2:], SamplingParams(max_tokens=1, prompt_logprobs=0), use_tqdm=False):
        rest = zip(output.prompt_token_ids[1:], output.prompt_logprobs[1:], strict=True)
        said.append([known[token].logprob for token, known in rest])
    print(json.dumps(said))
