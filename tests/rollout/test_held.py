"""A worker's weights under patches: kept beside the model or changed in place, and refused where they are others than the patch changes."""

from math import prod
from typing import Any

import pytest
import torch

from rollout.delta.changes import take_changes
from rollout.delta.differences import as_integers
from rollout.delta.held import InPlace, Kept
from rollout.delta.patch import Where, join, write_record
from rollout.delta.places import NoPlace, Slice, Spot, spots
from rollout.delta.taker import PatchTaker, Raw, Refused
from rollout.transfer.digest import digest
from rollout.transfer.proof import Entry, Proof, fingerprint

CPU = torch.device("cpu")
SHAPES = {"q": (4, 6), "k": (2, 6), "v": (2, 6), "gate_up": (3, 8, 5), "down": (3, 5, 4), "norm": (7,)}
MANIFEST = tuple(Entry(name, "bfloat16", shape) for name, shape in SHAPES.items())
Weights = dict[str, torch.Tensor]


def some(seed: int) -> Weights:
    torch.manual_seed(seed)
    return {entry.name: torch.randn(entry.shape).bfloat16() for entry in MANIFEST}


def stepped(weights: Weights, share: float = 0.2) -> Weights:
    """The weights after a small step: some numbers move by a unit of their last place."""
    out = {}
    for name, tensor in weights.items():
        step = torch.where(torch.rand(tensor.shape) < share, torch.randint(0, 2, tensor.shape) * 2 - 1, 0)
        out[name] = (tensor.view(torch.int16) + step.to(torch.int16)).view(torch.bfloat16)
    return out


def proof_of(weights: Weights) -> Proof:
    return {name: digest(tensor) for name, tensor in weights.items()}


def patch_of(old: Weights, new: Weights) -> list[Raw]:
    """The patches of two ranks, each with a half of every tensor."""
    raws = []
    for half in (0, 1):
        records = []
        for place, entry in enumerate(MANIFEST):
            middle = prod(entry.shape) // 2
            mine = slice(0, middle) if half == 0 else slice(middle, None)
            before, after = as_integers(old[entry.name])[mine].clone(), as_integers(new[entry.name])[mine]
            places, differences = take_changes(before, after)
            if len(places):
                where = Where(entry=place, start=half * middle)
                records.append(write_record(where, entry, places, after[places], differences))
        raw = join(records)
        raws.append((raw.numpy().tobytes(), digest(raw)))
    return raws


class Served:
    """Served tensors as vLLM's are on a GPU: q, k and v in one, gate and up of all experts in one; `down` may be transposed."""

    def __init__(self, down_transposed: bool = False) -> None:
        self.qkv = torch.zeros(8, 6, dtype=torch.bfloat16)
        self.gate_up = torch.zeros(3, 8, 5, dtype=torch.bfloat16)
        self.down = torch.zeros((3, 4, 5) if down_transposed else (3, 5, 4), dtype=torch.bfloat16)
        self.norm = torch.zeros(7, dtype=torch.bfloat16)
        self.turned = down_transposed

    def load(self, weights: Weights) -> None:
        self.qkv.copy_(torch.cat([weights["q"], weights["k"], weights["v"]]))
        self.gate_up.copy_(weights["gate_up"])
        self.down.copy_(weights["down"].transpose(1, 2) if self.turned else weights["down"])
        self.norm.copy_(weights["norm"])

    def read(self) -> Weights:
        q, k, v = self.qkv.split([4, 2, 2])
        down = self.down.transpose(1, 2).contiguous() if self.turned else self.down
        return {"q": q, "k": k, "v": v, "gate_up": self.gate_up, "down": down, "norm": self.norm}

    def spots(self) -> dict[str, list[Spot]]:
        """Copies as loaders make them: experts one after another, gate and up apart."""
        rows = {"q": 0, "k": 4, "v": 6}
        found = {
            name: spots([(whole(SHAPES[name]), Slice(6 * row, SHAPES[name], (6, 1)))], self.qkv, prod(SHAPES[name]), name)
            for name, row in rows.items()
        }
        halves = [(expert * 40 + half * 20) for expert in range(3) for half in (0, 1)]
        pairs = [(Slice(at, (4, 5), (5, 1)), Slice(at, (4, 5), (5, 1))) for at in halves]
        found["gate_up"] = spots(pairs, self.gate_up, 120, "gate_up")
        put = (1, 5) if self.turned else (4, 1)
        experts = [(Slice(20 * e, (5, 4), (4, 1)), Slice(20 * e, (5, 4), put)) for e in range(3)]
        found["down"] = spots(experts, self.down, 60, "down")
        found["norm"] = spots([(whole((7,)), whole((7,)))], self.norm, 7, "norm")
        return found


def whole(shape: tuple[int, ...]) -> Slice:
    return Slice(0, shape, torch.empty(shape, device="meta").stride())


def holding(kind: str, weights: Weights) -> tuple[PatchTaker, Any]:
    """A worker that holds the weights after a whole publish, and a function that reads what it serves."""
    served = Served(down_transposed=kind == "transposed")
    held = Kept(lambda pairs: served.load(dict(pairs))) if kind == "kept" else InPlace(served.spots())
    taker = PatchTaker(MANIFEST, held, CPU)
    taker.begin()
    for pair in weights.items():
        taker.see([pair])
    served.load(weights)
    taker.whole(proof_of(weights))
    return taker, served.read


@pytest.mark.parametrize("kind", ["kept", "in place", "transposed"])
def test_a_worker_serves_the_new_weights_after_each_patch_and_proves_them(kind: str) -> None:
    old = some(0)
    taker, read = holding(kind, old)
    for _ in range(3):
        new = stepped(old)
        assert taker.take(fingerprint(proof_of(old)), patch_of(old, new)) == proof_of(new)
        assert all(torch.equal(as_integers(tensor.contiguous()), as_integers(new[name])) for name, tensor in read().items())
        old = new


@pytest.mark.parametrize("kind", ["kept", "in place"])
def test_a_patch_of_other_weights_is_refused_and_changes_nothing(kind: str) -> None:
    held, other = some(0), some(1)
    taker, read = holding(kind, held)
    with pytest.raises(Refused, match="holds other weights"):
        taker.take(fingerprint(proof_of(other)), patch_of(other, stepped(other)))
    assert all(torch.equal(tensor, held[name]) for name, tensor in read().items())
    new = stepped(held)
    assert taker.take(fingerprint(proof_of(held)), patch_of(held, new)) == proof_of(new)


def test_a_worker_in_mid_publish_refuses() -> None:
    held = some(0)
    taker, _ = holding("in place", held)
    taker.begin()
    with pytest.raises(Refused, match="other weights"):
        taker.take(fingerprint(proof_of(held)), patch_of(held, stepped(held)))


@pytest.mark.parametrize("kind", ["kept", "in place"])
def test_numbers_that_changed_behind_its_back_are_noticed_and_it_holds_nothing_any_more(kind: str) -> None:
    old, new = some(0), stepped(some(0))
    taker, read = holding(kind, old)
    target = taker.held.tensors["norm"] if isinstance(taker.held, Kept) else read()["norm"]
    target += 1
    with pytest.raises(Refused, match="norm has other numbers"):
        taker.take(fingerprint(proof_of(old)), patch_of(old, new))
    with pytest.raises(Refused, match="other weights"):
        taker.take(fingerprint(proof_of(old)), patch_of(old, new))


def test_an_altered_patch_is_refused_before_anything_is_written() -> None:
    old = some(0)
    taker, read = holding("in place", old)
    (raw, said), second = patch_of(old, stepped(old))
    with pytest.raises(Refused, match="arrived altered"):
        taker.take(fingerprint(proof_of(old)), [(raw[:-1] + bytes([raw[-1] ^ 1]), said), second])
    assert all(torch.equal(tensor, old[name]) for name, tensor in read().items())


def test_an_empty_patch_leaves_everything() -> None:
    old = some(0)
    taker, _ = holding("in place", old)
    assert taker.take(fingerprint(proof_of(old)), patch_of(old, old)) == proof_of(old)


def test_a_model_that_shuffles_what_it_loads_is_named_and_never_patched() -> None:
    old = some(0)
    served = Served()
    taker = PatchTaker(MANIFEST, InPlace(served.spots()), CPU)
    served.load(old)
    served.gate_up.copy_(served.gate_up.flip(1))  # as a kernel that wants up before gate
    taker.whole(proof_of(old))
    with pytest.raises(Refused, match="gate_up are served in another form"):
        taker.take(fingerprint(proof_of(old)), patch_of(old, stepped(old)))


def test_a_worker_without_a_way_to_patch_says_why() -> None:
    taker = PatchTaker(MANIFEST, None, CPU, "its model cannot be patched: head serves by Fp8LinearMethod")
    taker.whole(proof_of(some(0)))
    with pytest.raises(Refused, match="Fp8LinearMethod"):
        taker.take("", [])


def test_a_worker_with_a_part_of_a_tensor_takes_its_part_and_carries_the_whole_digest() -> None:
    """Tensor parallelism: each worker holds half of the rows of q, and all of k."""
    manifest = (Entry("q", "bfloat16", (4, 6)), Entry("k", "bfloat16", (2, 6)))
    old = {name: tensor for name, tensor in some(0).items() if name in ("q", "k")}
    new = stepped(old)
    proof = {name: digest(tensor) for name, tensor in old.items()}
    raw = join(
        [
            write_record(Where(entry=place), entry, places, as_integers(new[entry.name])[places], differences)
            for place, entry in enumerate(manifest)
            for places, differences in [take_changes(as_integers(old[entry.name]).clone(), as_integers(new[entry.name]))]
        ]
    )
    for worker in (0, 1):
        half, k = old["q"][2 * worker : 2 * worker + 2].clone(), old["k"].clone()
        part = spots([(Slice(12 * worker, (2, 6), (6, 1)), whole((2, 6)))], half, 24, "q")
        taker = PatchTaker(manifest, InPlace({"q": part, "k": spots([(whole((2, 6)), whole((2, 6)))], k, 12, "k")}), CPU)
        taker.see(old.items())
        taker.whole(proof)
        found = taker.take(fingerprint(proof), [(raw.numpy().tobytes(), digest(raw))])
        assert found == {name: digest(tensor) for name, tensor in new.items()}
        assert torch.equal(half, new["q"][2 * worker : 2 * worker + 2])
        assert torch.equal(k, new["k"])


def test_the_copies_of_all_experts_are_one_spot() -> None:
    assert [len(found) for found in Served().spots().values()] == [1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("taken", "said"),
    [(Slice(0, (3, 2), (1, 1)), "overlap"), (Slice(0, (3, 2), (0, 1)), "several places")],
    ids=["overlapping", "expanded"],
)
def test_copies_without_a_place_for_each_number_are_refused(taken: Slice, said: str) -> None:
    with pytest.raises(NoPlace, match=said):
        spots([(taken, Slice(0, (3, 2), (2, 1)))], torch.zeros(6), 6, "odd")
