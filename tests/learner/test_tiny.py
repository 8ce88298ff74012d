"""The tiny model is a real model; its folder is made completely or not at all; its held-out sums are never trained on."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3MoeForCausalLM

from learner.tiny import __main__ as command
from learner.tiny import make
from learner.tiny import warm_up as warm_up_module
from learner.tiny.arithmetic import split_sums
from learner.tiny.make import make_tiny, repeatable
from learner.tiny.model import build_model
from learner.tiny.tasks import TASKS
from learner.tiny.tokenizer import CHARACTERS, make_tokenizer
from learner.tiny.transcript import IGNORED
from learner.tiny.warm_up import encode_rows, measure, warm_up
from tests.toys.model import CHARACTERS as TOY_CHARACTERS
from tests.toys.model import tiny_config, toy_tokenizer


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "deep" / "tiny"
    make_tiny(folder, progress=lambda line: None, most_steps=2)
    return folder


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_folder_holds_a_qwen3_moe_of_one_million_parameters(tiny: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny / "model")
    assert isinstance(model, Qwen3MoeForCausalLM)
    assert 0.95e6 < model.num_parameters() < 1.1e6
    assert (model.config.num_experts, model.config.num_experts_per_tok, model.config.norm_topk_prob) == (8, 2, True)
    assert model.dtype == torch.float32
    assert model.config.eos_token_id == model.generation_config.eos_token_id == make_tokenizer().eos_token_id


def test_the_saved_tokenizer_gives_back_every_text(tiny: Path) -> None:
    saved, made = AutoTokenizer.from_pretrained(tiny / "model"), make_tokenizer()
    for text in (CHARACTERS, "37+58=", "  two  spaces , and a dot . ", "a\nb"):
        assert saved.encode(text) == made.encode(text)
        assert len(saved.encode(text)) == len(text)
        assert saved.decode(saved.encode(text)) == text
    assert (saved.pad_token_id, saved.bos_token_id, saved.eos_token_id) == (0, 1, 2)
    assert saved.decode([*saved.encode("95"), saved.eos_token_id], skip_special_tokens=True) == "95"


def test_held_out_sums_are_disjoint_from_train_and_both_are_all(tiny: Path) -> None:
    train, held_out = read(tiny / "train.jsonl"), read(tiny / "eval.jsonl")
    asked = {row["prompt"] for row in train} | {row["prompt"] for row in held_out}
    assert len(held_out) == 256
    assert len(train) + len(held_out) == len(asked) == 8100
    for row in (*train, *held_out):
        assert sum(map(int, row["prompt"].removesuffix("=").split("+"))) == int(row["answer"])


def test_a_folder_that_is_whole_is_left_alone(tiny: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny.rglob("*")}
    said: list[str] = []
    make_tiny(tiny, progress=said.append)
    assert {path: path.stat().st_mtime_ns for path in tiny.rglob("*")} == before
    assert said == [f"{tiny} is already made"]


def test_a_folder_of_another_seed_or_another_kind_is_refused_and_kept(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="made with seed 0, not 1"):
        make_tiny(tiny, seed=1)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="was not made by"):
        make_tiny(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_an_interrupted_make_leaves_no_folder_and_the_next_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    untrained = {"sums": replace(TASKS["sums"], warm_up=lambda *_, **__: {"steps": 0})}
    monkeypatch.setattr(make, "TASKS", untrained)
    folder = tmp_path / "tiny"
    with monkeypatch.context() as patched:
        patched.setattr(make, "write_rows", stop)
        with pytest.raises(KeyboardInterrupt):
            make_tiny(folder, progress=lambda line: None)
    assert not folder.exists()
    make_tiny(folder, progress=lambda line: None)
    assert {path.name for path in tmp_path.iterdir()} == {"tiny"}
    assert {path.name for path in folder.iterdir()} == {"model", "train.jsonl", "eval.jsonl", "made.json"}


def test_the_same_seed_makes_the_same_weights_and_leaves_torchs_state_alone(tiny: Path, tmp_path: Path) -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    make_tiny(tmp_path / "again", progress=lambda line: None, most_steps=2)
    assert (tiny / "model/model.safetensors").read_bytes() == (tmp_path / "again/model/model.safetensors").read_bytes()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_seeds_hold_out_different_sums() -> None:
    assert split_sums(0) == split_sums(0)
    assert split_sums(0)[1] != split_sums(1)[1]


def test_only_answers_and_their_eos_are_learned() -> None:
    tokenizer = toy_tokenizer()
    ids, labels = encode_rows([{"prompt": "1+1=", "answer": "2"}, {"prompt": "9+9=", "answer": "18"}], tokenizer)
    assert [tokenizer.decode(row[row != IGNORED]) for row in labels] == ["2<eos>", "18<eos>"]
    assert ids.shape == labels.shape == (2, 7)
    assert ids[0, -1] == tokenizer.pad_token_id


def test_measured_accuracy_is_what_generation_shows() -> None:
    tokenizer = toy_tokenizer()
    ids, labels = encode_rows([{"prompt": f"{n}=", "answer": str(n)} for n in range(10)], tokenizer)
    with repeatable(0):
        model = build_model(tiny_config())
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        for _ in range(8):
            model(input_ids=ids, labels=labels).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        reached = measure(model, ids, labels)
        greedy = model.generate(ids[:, :2], max_new_tokens=2, do_sample=False)
        sampled = model.generate(ids[:, :2].repeat(200, 1), max_new_tokens=2, do_sample=True, top_k=0)
    assert reached.greedy == pytest.approx((greedy == ids).all(-1).double().mean().item())
    assert reached.sampled == pytest.approx((sampled == ids.repeat(200, 1)).all(-1).double().mean().item(), abs=0.04)
    assert 0.05 < reached.sampled < 0.95  # or the comparison says nothing


def test_warming_up_makes_sampled_answers_right_more_often() -> None:
    tokenizer, rows = toy_tokenizer(), split_sums(0)[0][:500]
    with repeatable(0):
        model = build_model(tiny_config())
        before = measure(model, *encode_rows(rows, tokenizer))
        taken = warm_up(model, tokenizer, rows, most_steps=12, progress=lambda line: None)
        after = measure(model, *encode_rows(rows, tokenizer))
    assert taken == 12
    assert after.sampled > 5 * before.sampled


def test_warming_up_ends_at_the_first_probe_that_is_good_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, rows = toy_tokenizer(), split_sums(0)[0][:500]
    monkeypatch.setattr(warm_up_module, "ENOUGH", 0.0)
    with repeatable(0):
        assert warm_up(build_model(tiny_config()), tokenizer, rows, most_steps=50, progress=lambda line: None) == 10


def test_the_toy_tokenizer_fits_the_toy_model() -> None:
    assert len(toy_tokenizer()) == tiny_config().vocab_size
    assert toy_tokenizer().encode(TOY_CHARACTERS) == list(range(4, 32))


def test_making_the_model_lets_deepspeed_warn_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DS_ACCELERATOR", "cuda")
    monkeypatch.delenv("DS_ACCELERATOR")
    monkeypatch.setattr("sys.argv", ["tiny", str(tmp_path)])
    monkeypatch.setattr(command, "make_tiny", lambda *_, **__: None)
    assert command.main() == 0
    assert os.environ["DS_ACCELERATOR"] == "cpu"
