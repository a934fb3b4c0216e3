"""Random adapters, and what transformers and PEFT make of them (run by XTuner's Python).

usage: adapter_check.py make BASE OUT SEED
       adapter_check.py nll BASE ADAPTER   prints {model: {how: NLL of each sequence}} as JSON
"""

import json
import os
import random
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))
os.environ["HF_HOME"] = tempfile.mkdtemp()

import torch
import torch.nn.functional as functional
import transformers.integrations.bitsandbytes as integration
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from xtuner.model.utils import find_all_linear_names

from butler.model_likelihood import likelihoods
from check_training import WithAdapter

# As butler/xtuner/support.py has it on a CPU.
integration._validate_bnb_multi_backend_availability = lambda raise_exception: True


def load(base, nf4=False):
    options = {"trust_remote_code": True, "torch_dtype": torch.float32}
    if nf4:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_compute_dtype=torch.float32,
            bnb_4bit_use_double_quant=True,
            bnb_4bit_quant_type="nf4",
        )
    return AutoModelForCausalLM.from_pretrained(base, **options).eval()


def make(base, out, seed):
    """Write a random adapter for the modules that XTuner trains, both halves of it other than 0."""
    torch.manual_seed(int(seed))
    model = load(base)
    names = find_all_linear_names(model)
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=names))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.02)
    model.half().save_pretrained(out)


def whole_nll(model, tokens):
    """Return the mean NLL of a sequence's tokens by a model that is loaded whole."""
    ids = torch.tensor([tokens])
    with torch.inference_mode():
        logits = model(input_ids=ids, use_cache=False).logits[0].float()
    return float(functional.cross_entropy(logits[:-1], ids[0, 1:]))


def nll(base, adapter):
    """Print the NLL of random sequences, streamed and with the whole model."""
    draw = random.Random(0)
    sequences = [[draw.randrange(3, 2000) for _ in range(n)] for n in (3, 40, 17, 2, 90)]
    folder = Path(base)
    found = {}
    for name, nf4 in (("plain", False), ("nf4", True)):
        weights = WithAdapter(folder, Path(adapter), "cpu", torch.float32 if nf4 else None)
        streamed = likelihoods(folder, sequences, weights=weights)
        whole = PeftModel.from_pretrained(load(base, nf4), adapter).eval()
        found[name] = {
            "streamed": [float(values.mean()) for values in streamed],
            "whole": [whole_nll(whole, tokens) for tokens in sequences],
        }
    print(json.dumps(found))


if __name__ == "__main__":
    {"make": make, "nll": nll}[sys.argv[1]](*sys.argv[2:])
