"""Tokens per second of Gatewise's engine, alone and behind Ray with scoring, against bare `vllm.LLM.generate`.

Every way to vLLM gets the same requests with the same seeds, one step per round, so all generate the same tokens.
"""

from benchmarks.peer import peers
from benchmarks.rounds import CONFIG, OUT, Row, Size, alternate, figures, ratio
from cluster.actors.session import engine_env
from configs.loader import load


def measure(size: Size) -> list[Row]:
    """Rounds of one step's requests through each way to vLLM."""
    overrides = [f"run.dir={OUT / 'rollout'}"]
    env = engine_env(load(CONFIG, overrides), gpu=False)
    with peers(
        {"rollout_sides.bare": env, "rollout_sides.asynchronous": env, "rollout_sides.engine": env, "rollout_sides.actors": {}}, overrides
    ) as on:
        found = alternate(
            {
                "vllm.LLM": lambda number: on["bare"].ask(number=number),
                "AsyncLLM": lambda number: on["asynchronous"].ask(number=number),
                "Engine": lambda number: on["engine"].ask(number=number),
                "actors": lambda number: on["actors"].ask(number=number),
            },
            size,
        )
    speeds = {side: [answer["tokens"] / answer["seconds"] for answer in answers] for side, answers in found.items()}
    tokens = {side: [float(answer["tokens"]) for answer in answers] for side, answers in found.items()}
    return [
        ratio("Engine / vllm.LLM, tokens/s", speeds["Engine"], speeds["vllm.LLM"]),
        ratio("EngineActor + RewardActor / vllm.LLM, tokens/s", speeds["actors"], speeds["vllm.LLM"]),
        ratio("bare AsyncLLM / vllm.LLM, tokens/s", speeds["AsyncLLM"], speeds["vllm.LLM"]),
        ratio("Engine / bare AsyncLLM, tokens/s", speeds["Engine"], speeds["AsyncLLM"]),
        ratio("EngineActor + RewardActor / Engine, tokens/s", speeds["actors"], speeds["Engine"]),
        *(ratio(f"tokens made, {side} / vllm.LLM", tokens[side], tokens["vllm.LLM"]) for side in ("AsyncLLM", "Engine", "actors")),
        *(Row(what=side, unit="tokens/s", values=values) for side, values in speeds.items()),
        *(figures(f"{side}, a step's responses", "s", answers, "seconds") for side, answers in found.items()),
    ]
