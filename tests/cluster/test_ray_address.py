"""A cluster's address that cannot be right is refused at once: Ray itself would try again for minutes."""

import socket

import pytest
from ray._private import services

from cluster.actors.session import refuse_silent_address


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", "RAY_ADDRESS is 127.0.0.1:1, where nothing answers"),
        ("127.0.0.1:port", "RAY_ADDRESS is 127.0.0.1:port, where nothing answers"),
        ("http://127.0.0.1:8265", "`ray job submit --address http://127.0.0.1:8265`"),
    ],
)
def test_an_address_without_a_cluster_is_refused(address: str, said: str):
    with pytest.raises(ValueError, match="needed HOST:PORT of a running Ray head") as refused:
        refuse_silent_address(address)
    assert said in str(refused.value)


@pytest.mark.parametrize("by_auto", [True, False])
def test_an_address_that_answers_is_left_to_ray(by_auto: bool, monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
        monkeypatch.setattr(services, "canonicalize_bootstrap_address", lambda _: address)
        refuse_silent_address("auto" if by_auto else address)


def test_auto_is_refused_where_the_head_that_ray_finds_does_not_answer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(services, "canonicalize_bootstrap_address", lambda _: "127.0.0.1:1")
    with pytest.raises(ValueError, match=r"RAY_ADDRESS is auto, which Ray takes for 127\.0\.0\.1:1, where nothing answers"):
        refuse_silent_address("auto")


def test_auto_without_any_head_is_left_to_ray(monkeypatch: pytest.MonkeyPatch):
    def none(_: str) -> str:
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr(services, "canonicalize_bootstrap_address", none)
    refuse_silent_address("auto")
