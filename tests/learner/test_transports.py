from pathlib import Path

import pytest

from configs.sections.rollout import RolloutConfig
from learner.weights.sender import SENDERS, open_sender
from rollout.transfer.transport import TRANSPORTS, Gloo, Ipc, Nccl, Rendezvous, Seat, choose_transport
from tests.toys.run import run_config


@pytest.mark.parametrize(
    ("name", "gpu", "chosen"), [("auto", True, Nccl), ("auto", False, Gloo), ("gloo", True, Gloo), ("nccl", True, Nccl)]
)
def test_the_transport_is_the_one_named_or_else_that_of_the_hardware(name: str, gpu: bool, chosen: type):
    config = run_config(Path("run"), run={"deadline_s": 60}, rollout={"transfer": name})
    transport = choose_transport(config, gpu=gpu)
    assert isinstance(transport, chosen)
    assert transport.deadline_s == 30, "nobody waits for ever, also where nobody can call back"


@pytest.mark.parametrize(("name", "gpu", "chosen"), [("auto", True, Ipc), ("auto", False, Gloo), ("gloo", True, Gloo), ("ipc", False, Ipc)])
def test_on_shared_gpus_weights_go_through_memory_that_both_sides_map(name: str, gpu: bool, chosen: type):
    config = run_config(Path("run"), run={"deadline_s": 60}, rollout={"transfer": name}, placement={"share": True})
    assert isinstance(choose_transport(config, gpu=gpu), chosen)


def test_an_engine_is_told_the_rank_beside_it():
    meeting = Rendezvous(name="publish-1", host="127.0.0.1", port=5, world_size=3)
    told = Ipc(deadline_s=30).init_info(Seat(rendezvous=meeting, rank_offset=1, beside=4))
    assert told["beside"] == 4, "the engine's own number counts, not its place among the living"


def test_every_transport_that_a_config_can_name_has_both_ends():
    assert set(RolloutConfig.model_fields["transfer"].annotation.__args__) == {"auto", *TRANSPORTS}
    assert {*SENDERS, Ipc} == set(TRANSPORTS.values()), "with ipc every rank sends"


@pytest.mark.parametrize(("host", "bind"), [("127.0.0.1", "127.0.0.1"), ("10.0.0.7", "")])
def test_an_engine_listens_on_loopback_only_where_the_learner_does(host: str, bind: str):
    seat = Seat(rendezvous=Rendezvous(name="publish-1", host=host, port=5, world_size=3), rank_offset=2)
    assert Gloo(deadline_s=30).init_info(seat) == {
        "host": host,
        "port": 5,
        "name": "publish-1",
        "rank_offset": 2,
        "world_size": 3,
        "bucket_bytes": 4 << 20,
        "deadline_s": 30,
        "bind": bind,
    }


def test_a_rank_that_does_not_send_takes_part_in_the_gathers_and_copies_nothing():
    class Source:
        """Counts its passes; iterating it would copy every layer."""

        passes = 0

        def stand_by(self) -> None:
            self.passes += 1

    source = Source()
    sender = open_sender(Gloo(deadline_s=1), source, Rendezvous(name="", host="", port=0, world_size=2), rank=1, listener=None)
    sender.send()
    sender.send()
    assert source.passes == 2
