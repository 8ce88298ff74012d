"""One request to vLLM: its parameters, and the log-probs of what it sampled."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from vllm import SamplingParams
from vllm.logprobs import FlatLogprobs
from vllm.sampling_params import RequestOutputKind


def sampling(temperature: float, seed: int, limit: int, logprobs: bool = True, known: int = 0) -> SamplingParams:
    """vLLM's parameters for one turn of the model: only the temperature changes the distribution.

    known: tokens of the prompt whose experts are not returned, since an earlier turn brought them.
    """
    return SamplingParams(
        temperature=temperature,
        top_p=1.0,
        top_k=0,
        min_p=0.0,
        seed=seed if temperature > 0 else None,
        max_tokens=limit,
        logprobs=0 if logprobs else None,
        flat_logprobs=logprobs,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
        skip_clone=True,
        routed_experts_prompt_start=known,
    )


def sampled_logprobs(token_ids: NDArray[np.int32], logprobs: Any) -> NDArray[np.float32]:
    """Each sampled token's own log-prob [T]; ValueError if vLLM lists other tokens than the sampled ones, one at each place."""
    flat = logprobs or FlatLogprobs()
    listed = np.asarray(flat.token_ids, np.int32)
    if not np.array_equal(listed, token_ids):
        raise ValueError(f"vLLM returned log-probs of {len(listed)} tokens, needed those of the {len(token_ids)} sampled ones, one each")
    return np.asarray(flat.logprobs, np.float32)
