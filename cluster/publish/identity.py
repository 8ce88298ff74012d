"""The identity publish: at start, publishing the weights that the engines already have must not change their answers."""

from collections.abc import Sequence

from cluster.publish.probe import PROBES, TOLERANCE, compare
from cluster.publish.publisher import Published, Publisher, PublishFailed
from rollout.types import Prompt


async def prove_identity(publisher: Publisher, prompts: Sequence[Prompt]) -> Published:
    """Publish version 0 and compare greedy tokens and log-probs of a few prompts before and after; raises PublishFailed.

    An engine that dies or is late meanwhile is buried. Where none is left that has answered twice, those that replace them are asked.
    """
    newcomers, engines = publisher.newcomers, publisher.engines
    newcomers.probes = [prompt.token_ids for prompt in prompts[:PROBES]]
    tolerance = TOLERANCE[engines.config.engine_dtype]
    tried = False
    while True:
        await engines.some_alive()
        asked = engines.alive
        before = dict(zip(asked, await newcomers.answers(asked), strict=True))
        if all(found is None for found in before.values()):  # such a model would kill the next ones too, so they are tried once
            if tried:
                raise engines.none_left()
            tried = True
            continue
        published = await publisher.publish(0)
        left = [engine for engine in engines.alive if before.get(engine) is not None]
        compared = False
        for engine, after in zip(left, await newcomers.answers(left), strict=True):
            answers = before[engine]
            if answers is None or after is None:
                continue
            compared = True
            for found in compare(answers, after):
                # In bfloat16 a tie may break the other way.
                if not found.nats <= tolerance or (found.before != found.after and tolerance == TOLERANCE["float32"]):
                    raise PublishFailed(
                        f"{engine.name} answers probe {found.place} differently after the identity publish: tokens {found.before} became "
                        f"{found.after}, largest log-prob difference {found.nats:.2e} (allowed {tolerance:.0e}); "
                        "its weights are not the learner's"
                    )
        if compared:
            return published
