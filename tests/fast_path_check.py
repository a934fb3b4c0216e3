"""Compare the fast path with peft and stock forwards; print what is apart (a trainer's Python).

usage: fast_path_check.py TOY=BASE…
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

import torch
from bitsandbytes.nn import Linear4bit
from mmengine.config import ConfigDict
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

import butler.xtuner.layers as layers
import butler.xtuner.lora_linear as lora_linear
from butler.xtuner.fast import FastSupervisedFinetune
from butler.xtuner.support import CpuSupervisedFinetune

TOKENS = 48


def distance(one, other):
    return float((one - other).norm() / one.norm().clamp(min=1e-30))


def lora(dropout, targets=None):
    return LoraConfig(r=8, lora_alpha=16, lora_dropout=dropout, target_modules=targets)


class Holder(nn.Module):
    """A model of one linear layer, for peft to wrap."""

    def __init__(self, kind):
        super().__init__()
        make = Linear4bit if kind == "nf4" else nn.Linear
        extra = {"quant_type": "nf4", "compute_dtype": torch.float32} if kind == "nf4" else {}
        self.linear = make(64, 96, bias=kind == "biased", **extra)

    def forward(self, x):
        return self.linear(x)


def fixed_mask(rows, dropout, train):
    """Stand in for dropout: every other value is dropped, whatever the random state."""
    mask = (torch.arange(rows.numel()).view_as(rows) * 7 % 5 < 3).contiguous()
    return rows * mask / (1 - dropout), mask


class FixedDropout(nn.Dropout):
    def forward(self, x):
        return fixed_mask(x.reshape(-1, x.shape[-1]), self.p, True)[0].view_as(x)


def compare_layer(kind, dropout):
    torch.manual_seed(0)
    holder = Holder(kind)
    if kind == "nf4":
        holder.linear.weight = holder.linear.weight.to("cpu")  # which quantises it
    assert (getattr(holder.linear.weight, "quant_state", None) is not None) == (kind == "nf4")
    holder.is_loaded_in_4bit = kind == "nf4"
    layer = get_peft_model(holder, lora(dropout, ["linear"])).base_model.model.linear
    assert type(layer).__name__ == ("Linear4bit" if kind == "nf4" else "Linear")
    nn.init.normal_(layer.lora_B["default"].weight, std=0.1)
    if dropout:
        layer.lora_dropout["default"] = FixedDropout(dropout)
    x, grad = torch.randn(2, 9, 64), torch.randn(2, 9, 96)
    results = []
    for forward in (layer.forward, lambda x: lora_linear.fused_forward(layer, x)):
        inputs = x.clone().requires_grad_()
        layer.zero_grad()
        y = forward(inputs)
        y.backward(grad)
        a, b = layer.lora_A["default"].weight.grad, layer.lora_B["default"].weight.grad
        results.append([y.detach(), inputs.grad, a.clone(), b.clone()])
    pairs = zip(["y", "dx", "dA", "dB"], *results, strict=True)
    return {name: distance(one, other) for name, one, other in pairs}


def first_layer_has_no_dx():
    layer = nn.Linear(8, 8).requires_grad_(False)
    a, b = (torch.randn(*shape, requires_grad=True) for shape in ((2, 8), (8, 2)))
    lora_linear.LoraLinear.apply(torch.randn(3, 8), a, b, layer, 1.0, 0.0).sum().backward()
    return a.grad is not None and b.grad is not None


def build(kind, folder, **options):
    torch.manual_seed(0)
    llm = ConfigDict(
        type=AutoModelForCausalLM.from_pretrained,
        pretrained_model_name_or_path=str(folder),
        trust_remote_code=True,
        torch_dtype=torch.float32,
        quantization_config=dict(
            type=BitsAndBytesConfig,
            load_in_4bit=True,
            bnb_4bit_compute_dtype=torch.float32,
            bnb_4bit_use_double_quant=True,
            bnb_4bit_quant_type="nf4",
        ),
    )
    adapter = ConfigDict(type=LoraConfig, r=8, lora_alpha=16, task_type="CAUSAL_LM")
    return kind(llm=llm, lora=adapter, **options).train()


def batch(packs):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 300, (packs, TOKENS), generator=generator)
    labels = ids.clone()
    for number, start in zip(range(packs), (30, 10), strict=False):
        labels[number, :start] = -100
    return {"input_ids": ids, "labels": labels}


def gradients(model, data):
    model.zero_grad()
    loss = model(data, mode="loss")["loss"]
    loss.backward()
    return float(loss), {n: p.grad for n, p in model.named_parameters() if p.requires_grad}


def compare_model(folder):
    stock = build(CpuSupervisedFinetune, folder, use_activation_checkpointing=False)
    state = stock.state_dict()
    for name in state:
        if "lora_B" in name:
            state[name].normal_(std=0.02)
    fast = build(FastSupervisedFinetune, folder)
    again = build(FastSupervisedFinetune, folder, recompute_layers=1)
    same = list(stock.state_dict()) == list(fast.state_dict())
    for model in (stock, fast, again):
        model.load_state_dict(state, strict=False)
    data = batch(1)
    mask = torch.ones_like(data["input_ids"], dtype=torch.bool)
    loss, wanted = gradients(stock, {**data, "attention_mask": mask})
    found = {"same_names": same, "replaced": fast.replaced}
    for model, prefix in ((fast, ""), (again, "recomputed_")):
        other, gradient = gradients(model, data)
        found[f"{prefix}loss"] = abs(other - loss) / loss
        found[f"{prefix}gradient"] = max(distance(wanted[n], gradient[n]) for n in wanted)
    found["attended"] = attentions(fast, data)
    return found, fast


def two_packs(model):
    data = batch(2)
    together = float(model(data, mode="loss")["loss"])
    parts = [{name: value[i : i + 1] for name, value in data.items()} for i in range(2)]
    return together, sum(float(model(part, mode="loss")["loss"]) for part in parts) / 2


def attentions(model, data):
    """Return how many layers attend in our forward, which hands on to the stock one if masked."""
    calls, attend = [], layers._attend
    layers._attend = lambda *given: calls.append(None) or attend(*given)
    model(data, mode="loss")
    layers._attend = attend
    return len(calls)


def main():
    folders = dict(argument.split("=", 1) for argument in sys.argv[1:])
    models = {toy: compare_model(folder) for toy, folder in folders.items()}
    kinds, dropouts = ("nf4", "plain", "biased"), (0.0, 0.5)
    lora_linear.torch.native_dropout = fixed_mask
    linear = {f"{k} {p}": compare_layer(k, p) for k in kinds for p in dropouts}
    found = {
        "models": {toy: result for toy, (result, _) in models.items()},
        "two_packs": two_packs(next(iter(models.values()))[1]),
        "layers": linear,
        "first_layer_has_no_dx": first_layer_has_no_dx(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
