"""Keys of `[model]`."""

from typing import Literal

from pydantic import Field, StrictBool, StrictStr

from configs.section import Section


class ModelConfig(Section):
    """The checkpoint that is trained."""

    path: StrictStr = Field(
        description="folder of a Hugging Face causal language model with `config.json`, `*.safetensors` and its tokenizer. "
        "A hub id is not accepted: download the model first"
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        default="bfloat16",
        description="precision of the learner's forward pass, and of the engines unless `rollout.dtype` is set. "
        "With bfloat16 DeepSpeed keeps fp32 master weights",
    )
    trust_remote_code: StrictBool = Field(default=False, description="let transformers and vLLM run Python code from the model's folder")
