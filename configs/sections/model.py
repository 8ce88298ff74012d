"""Keys of `[model]`."""

from typing import Literal

from pydantic import Field, StrictBool, StrictStr

from configs.section import Section


class ModelConfig(Section):
    """The checkpoint that is trained."""

    path: StrictStr = Field(
        examples=["models/Qwen3-30B-A3B"],
        description='folder of a Hugging Face causal language model, or its hub id, such as "Qwen/Qwen3-30B-A3B". '
        "A folder has `config.json`, `*.safetensors` and the tokenizer. `@REVISION` after an id names a branch, a tag or a commit",
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        default="bfloat16",
        description="precision of the learner's forward pass, and of the engines unless `rollout.dtype` is set. "
        "With bfloat16 DeepSpeed keeps fp32 master weights",
    )
    trust_remote_code: StrictBool = Field(default=False, description="let transformers and vLLM run Python code from the model's folder")
