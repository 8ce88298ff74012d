"""The newest checkpoint as a Hugging Face folder, which transformers loads."""

from typing import Any

from cluster.commands.selfcheck.evidence import Evidence, needed
from cluster.commands.selfcheck.rows import Measured, PartFailed, PartSkipped

PROMPT = "12+34="


def judge(found: Evidence) -> Measured:
    """Every tensor of the model is in the folder and no other, and the logits of a prompt are finite."""
    if found.full:
        raise PartSkipped("a whole model is not loaded into the memory of this process; the command export writes it")
    exported = found.exported
    if exported is None or exported.folder is None:
        raise PartFailed(exported.cause if exported else f"there is no checkpoint to export: {found.first.why()}")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded: Any = AutoModelForCausalLM.from_pretrained(exported.folder, dtype="auto", output_loading_info=True)
    model, report = loaded
    wrong = [f"{len(names)} {kind.replace('_', ' ')} ({sorted(map(str, names))[0]})" for kind, names in report.items() if names]
    needed(not wrong, f"transformers reports {', '.join(wrong)}")
    ids = AutoTokenizer.from_pretrained(exported.folder)(PROMPT, return_tensors="pt", add_special_tokens=False).input_ids
    with torch.no_grad():
        finite = bool(torch.isfinite(model(ids).logits).all())
    needed(finite, "the exported model gives logits that are not finite")
    size = sum(file.stat().st_size for file in exported.folder.glob("*.safetensors"))
    return Measured(numbers={"megabytes": size / 1e6, "parameters": float(model.num_parameters())}, seconds=exported.seconds)
