"""A message to the engine's core that asks for several responses to one prompt, and the requests that it stands for."""

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any

from vllm.v1.request import Request

MEMBERS = "members"  # a key of vLLM's `extra_args`, of which vLLM reads its own keys only

Member = tuple[str, int]  # the id of a request of vLLM, and its seed


def for_members(params: Any, members: Sequence[Member]) -> Any:
    """Sampling parameters that ask for a response for each member; one alone is asked for as it is."""
    if len(members) > 1:
        params = copy(params)
        params.extra_args = {MEMBERS: [list(member) for member in members]}
    return params


def with_seed(params: Any, seed: int) -> Any:
    """The same sampling parameters for one member alone; a greedy response has no seed."""
    own = copy(params)
    own.extra_args = None
    if params.seed is not None:
        own.seed = seed
    return own


def separated(request: Request) -> Iterator[Request]:
    """The request of each member, or a request that has none as it is. The blocks of the prompt are hashed once for all."""
    params = request.sampling_params
    members = ((params.extra_args if params else None) or {}).get(MEMBERS)
    if params is None or members is None:
        yield request
        return
    for name, seed in members:
        one = Request(
            name,
            request.prompt_token_ids,
            with_seed(params, seed),
            None,
            client_index=request.client_index,
            arrival_time=request.arrival_time,
            cache_salt=request.cache_salt,
        )
        one.block_hashes, one._block_hasher = list(request.block_hashes), request._block_hasher
        yield one
