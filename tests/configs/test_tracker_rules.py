"""What `[trackers]` takes, and that no secret gets into a config or a message."""

import tomllib
from pathlib import Path

import pytest

from configs.errors import ConfigError
from configs.loader import dump, load

KEY = "0123456789abcdef0123456789abcdef01234567"
TINY = Path(__file__).parents[2] / "configs/tiny_cpu.toml"


@pytest.mark.parametrize(
    ("given", "needed"),
    [
        (['trackers.use=["wandbb"]'], 'did you mean "wandb"?'),
        (['trackers.use=["W&B"]'], 'did you mean "wandb"?'),
        (['trackers.use=["comet"]'], 'use "wandb", "mlflow"'),
        (['trackers.use=["mlflow", "mlflow"]'], "name each tracker once"),
        (["trackers.use=wandb"], "needed an array of texts"),
        ([f'trackers.use=["{KEY}"]'], "is not shown"),
        ([f"trackers.project='{KEY}'"], "set WANDB_API_KEY"),
        (["trackers.name='http://me:hunter22@host'"], "set WANDB_API_KEY"),
        ([f"trackers.wandb_api_key='{KEY}'"], "set WANDB_API_KEY in the environment"),
        ([f"wandb_api_key='{KEY}'"], "set WANDB_API_KEY in the environment"),
        ([f"trackers.token='{KEY}'"], "in the environment"),
        (["mlflow_tracking_password='hunter22'"], "MLFLOW_TRACKING_PASSWORD"),
        (["trackers.mlflow_uri='http://me:hunter22@host'"], "set MLFLOW_TRACKING_URI in the environment"),
        (["trackio_write_token='hunter22'"], "set TRACKIO_WRITE_TOKEN"),
        (["trackers.project=''"], "not empty"),
        (["trackers.project='  '"], "printable"),
        (["trackers.project='a/b'", 'trackers.use=["wandb"]'], "use - instead"),
        (["trackers.prometheus_port=8090"], "has no effect"),
        (["trackers.prometheus_port=70000", 'trackers.use=["prometheus"]'], "65535"),
        (["trackers.offline=true"], "has no effect"),
        (["trackers.end_s=0"], "above 0"),
        (["trackers.responses_every=-1"], "at least 0"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_needed_and_no_secret_is_shown(given: list[str], needed: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(TINY, given)
    assert needed in str(raised.value)
    assert KEY not in str(raised.value)
    assert "hunter22" not in str(raised.value)


def test_the_older_key_and_the_list_ask_for_the_same() -> None:
    assert load(TINY, ["run.tensorboard=true"]).followed_by == ["tensorboard"]
    both = load(TINY, ["run.tensorboard=true", 'trackers.use=["tensorboard", "prometheus", "mlflow"]'])
    assert both.followed_by == ["tensorboard", "mlflow"]
    assert tomllib.loads(dump(both))["trackers"]["use"] == ["tensorboard", "prometheus", "mlflow"]
