"""What a run reserves: a bundle for each engine, and bundles of ranks that keep an expert group on one node."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from cluster.actors.places.numbering import in_order_of_node
from configs.rules.engine import gpus_per_engine
from configs.schema import Config

Bundle = dict[str, float]
EXACT = 4  # decimals of a resource that Ray tells apart


@dataclass(frozen=True, slots=True)
class Layout:
    """Bundles, each of which lies whole on a node, and the actors in them: every engine, then every rank."""

    bundles: list[Bundle]
    homes: list[int]  # the bundle of each actor
    needs: list[Bundle]  # what each actor takes of its bundle; nothing where actors share it
    engines: int  # the number of engines among the actors
    group: int  # consecutive ranks that work together most: learner.expert_parallel

    def with_engines(self, count: int) -> "Layout":
        """The same ranks beside another number of engines, each in a bundle of its own."""
        engine, more = self.bundles[0], count - self.engines
        return replace(
            self,
            bundles=[*(dict(engine) for _ in range(count)), *self.bundles[self.engines :]],
            homes=[*range(count), *(home + more for home in self.homes[self.engines :])],
            needs=[*(dict(engine) for _ in range(count)), *self.needs[self.engines :]],
            engines=count,
        )

    def numbered(self, nodes: Sequence[str]) -> "Layout":
        """The same bundles with ranks numbered by node; `nodes[i]` is the node of bundle i, in words that sort."""
        slots = self.homes[self.engines :]
        order = in_order_of_node([nodes[slot] for slot in slots], self.group)
        return replace(self, homes=[*self.homes[: self.engines], *(slots[i] for i in order)])


def layouts(config: Config, gpu: bool) -> Iterator[Layout]:
    """The ways to reserve a run with its fewest engines, the best first; a bundle always lies on one node.

    First every expert group has a bundle. Then ever fewer have one, and the ranks of the rest come in parts of a group, at last singly.
    Where engines and ranks share GPUs there is one way: a bundle for each engine with the ranks beside it.
    """
    if config.placement.share:
        yield _shared(config, gpu)
        return
    engine: Bundle = {"CPU": float(config.rollout.cpus_per_engine)}
    rank: Bundle = {"CPU": float(config.learner.cpus_per_rank)}
    if gpu:
        engine["GPU"] = float(gpus_per_engine(config))
        rank["GPU"] = 1.0
    engines, ranks, group = config.rollout.fewest_engines, config.learner.ranks, config.learner.expert_parallel
    for whole in range(ranks // group, -1, -1):
        rest = ranks - whole * group
        for part in (n for n in range(group - 1, 0, -1) if group % n == 0) if rest else (1,):
            sizes = [group] * whole + [part] * (rest // part)
            yield Layout(
                bundles=[dict(engine) for _ in range(engines)]
                + [{kind: round(count * size, EXACT) for kind, count in rank.items()} for size in sizes],
                homes=[*range(engines), *(engines + i for i, size in enumerate(sizes) for _ in range(size))],
                needs=[dict(engine) for _ in range(engines)] + [dict(rank) for _ in range(ranks)],
                engines=engines,
                group=group,
            )


def _shared(config: Config, gpu: bool) -> Layout:
    """A bundle for each engine, with the cores of the side that needs more: the other side rests meanwhile."""
    engines, workers = config.rollout.fewest_engines, gpus_per_engine(config)
    bundle: Bundle = {"CPU": float(max(config.rollout.cpus_per_engine, workers * config.learner.cpus_per_rank))}
    if gpu:
        bundle["GPU"] = float(workers)
    return Layout(
        bundles=[dict(bundle) for _ in range(engines)],
        homes=[*range(engines), *(engine for engine in range(engines) for _ in range(workers))],
        needs=[{} for _ in range(engines * (1 + workers))],
        engines=engines,
        group=config.learner.expert_parallel,
    )
