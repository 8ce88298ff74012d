"""A cluster's address that cannot be right is refused at once: Ray itself would try again for minutes."""

import socket

import pytest

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


@pytest.mark.parametrize("named", ["auto", None])
def test_an_address_that_may_be_a_cluster_is_left_to_ray(named: str | None):
    with socket.create_server(("127.0.0.1", 0)) as head:
        refuse_silent_address(named or f"127.0.0.1:{head.getsockname()[1]}")
