import pytest
import torch
from torch import Tensor

from learner.model.logprobs import chunked_logprobs, token_logprobs


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def test_logprobs_and_entropy_are_those_of_the_tempered_softmax() -> None:
    logits, tokens = draw(2, 3, 5), torch.tensor([[0, 4, 2], [1, 1, 3]])
    logprobs, entropy = token_logprobs(logits, tokens, 0.7)
    p = (logits / 0.7).exp()
    p = p / p.sum(-1, keepdim=True)
    torch.testing.assert_close(logprobs, p.gather(-1, tokens[..., None])[..., 0].log())
    torch.testing.assert_close(entropy, -(p * p.log()).sum(-1))


def test_half_precision_logits_are_summed_in_single_precision() -> None:
    logits, tokens = draw(4, 50_000).bfloat16(), torch.arange(4)
    logprobs, entropy = token_logprobs(logits, tokens, 1.0)
    assert logprobs.dtype == entropy.dtype == torch.float32
    torch.testing.assert_close(logprobs, token_logprobs(logits.double(), tokens, 1.0)[0].float(), atol=1e-4, rtol=0)


def test_entropy_is_finite_where_logits_are_minus_infinity_and_carries_no_gradient() -> None:
    logits = torch.tensor([[0.0, 0.0, float("-inf")]], requires_grad=True)
    logprobs, entropy = token_logprobs(logits, torch.tensor([1]), 1.0)
    torch.testing.assert_close(entropy, torch.tensor([2.0]).log())
    assert not entropy.requires_grad
    assert logprobs.requires_grad


@pytest.mark.parametrize("chunks", [1, 2, 3, 7, 12])
def test_chunks_change_neither_values_nor_gradients_and_each_runs_the_head(chunks: int) -> None:
    head, tokens, upstream = draw(5, 6).requires_grad_(), torch.arange(7) % 6, draw(7)
    hidden = draw(7, 5).requires_grad_()
    dense, dense_entropy = token_logprobs(hidden @ head, tokens, 0.8)
    expected = torch.autograd.grad((dense * upstream).sum(), [hidden, head])
    calls = 0

    def count(part: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return part @ head

    logprobs, entropy = chunked_logprobs(hidden, count, tokens, 0.8, chunks)
    assert calls == chunks
    torch.testing.assert_close(logprobs, dense, atol=1e-12, rtol=0)
    torch.testing.assert_close(entropy, dense_entropy, atol=1e-12, rtol=0)
    assert not entropy.requires_grad
    gradients = torch.autograd.grad((logprobs * upstream).sum(), [hidden, head])
    assert calls == 2 * chunks
    for ours, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


def test_no_tokens_still_run_the_head_on_every_chunk() -> None:
    head = draw(5, 6).requires_grad_()
    logprobs, _ = chunked_logprobs(torch.zeros(0, 5, dtype=torch.float64), lambda h: h @ head, torch.zeros(0, dtype=torch.int64), 1.0, 3)
    (gradient,) = torch.autograd.grad(logprobs.sum(), [head])
    assert gradient.eq(0).all()


@pytest.mark.parametrize("chunks", [1, 3])
def test_the_gradient_of_the_entropy_is_that_of_the_written_out_formula(chunks: int) -> None:
    head, tokens, upstream, hidden = draw(5, 6).requires_grad_(), torch.arange(7) % 6, draw(7), draw(7, 5).requires_grad_()
    p = ((hidden @ head) / 0.7).softmax(-1)
    expected = torch.autograd.grad((-(p * p.log()).sum(-1) * upstream).sum(), [hidden, head])
    logprobs, entropy = chunked_logprobs(hidden, lambda h: h @ head, tokens, 0.7, chunks, entropy_gradient=True)
    plain = chunked_logprobs(hidden, lambda h: h @ head, tokens, 0.7, chunks)
    assert torch.equal(logprobs, plain[0])
    assert torch.equal(entropy, plain[1])
    for ours, theirs in zip(torch.autograd.grad((entropy * upstream).sum(), [hidden, head]), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


def test_the_gradient_of_the_entropy_is_finite_where_a_token_is_impossible() -> None:
    logits = torch.tensor([[0.3, -0.2, float("-inf")]], dtype=torch.float64, requires_grad=True)
    _, entropy = token_logprobs(logits, torch.tensor([1]), 1.0, entropy_gradient=True)
    (gradient,) = torch.autograd.grad(entropy.sum(), logits)
    p = torch.tensor([0.3, -0.2], dtype=torch.float64).softmax(0)
    torch.testing.assert_close(gradient[0, :2], -p * (p.log() + entropy.item()))
    assert gradient[0, 2] == 0
