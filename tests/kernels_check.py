"""Compare the fast path's kernels in bf16 with plain torch in fp32; print the distances as JSON.

Run by XTuner's Python with a device, cuda or cpu. Each distance is relative, of the output and of
each gradient; beside it stands that of the plain operations in bf16, the least to be expected.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

import torch
from torch import nn

from butler.xtuner import kernels_torch
from butler.xtuner.kernels import kernels_for
from butler.xtuner.lora_linear import LoraLinear

TOKENS, HEAD = 256, 128


def distance(one, other):
    return float((one.float() - other).norm() / other.norm())


def run(operation, inputs, weights, dtype):
    """Return the outputs and gradients of an operation at one precision, inputs taken anew."""
    given = [x.detach().to(dtype).requires_grad_() if x.is_floating_point() else x for x in inputs]
    # Through a copy: some of the kernels write over what they are given.
    outputs = operation(*(x.clone() if x.is_floating_point() else x for x in given))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    pairs = zip(outputs, weights, strict=True)
    sum((out.float() * weight.float()).sum() for out, weight in pairs).backward()
    return [*(out.detach() for out in outputs), *(x.grad for x in given if x.is_floating_point())]


def compare(name, inputs, device, *fixed):
    """Return {kernel's distance, plain bf16's distance} from plain fp32, the worst of all."""

    def bound(module):
        return lambda *given: getattr(module, name)(*given, *fixed)

    plain = bound(kernels_torch)
    sample = plain(*inputs)
    sample = sample if isinstance(sample, tuple) else (sample,)
    weights = [torch.randn_like(out) for out in sample]
    wanted = run(plain, inputs, weights, torch.float32)
    found = {
        "kernel": run(bound(kernels_for(torch.device(device))), inputs, weights, torch.bfloat16),
        "plain": run(plain, inputs, weights, torch.bfloat16),
    }
    return {
        which: max(distance(a, b) for a, b in zip(values, wanted, strict=True))
        for which, values in found.items()
    }


def lora_share(device):
    """Return the share of a LoRA product of 2e-4 an entry of B that arrives in bf16."""
    layer = nn.Linear(1024, 1536, bias=False, device=device, dtype=torch.bfloat16)
    nn.init.normal_(layer.weight, std=0.04)
    layer.requires_grad_(False)
    x = torch.randn(512, 1024, device=device, dtype=torch.bfloat16)
    a = (torch.rand(64, 1024, device=device) * 2 - 1) / 32
    b = 2e-4 * torch.randn(1536, 64, device=device).sign()
    wanted = 0.25 * (x.float() @ a.t()) @ b.t()
    outputs = [LoraLinear.apply(x, a, up, layer, 0.25, 0.0).float() for up in (b, 0 * b)]
    return float(((outputs[0] - outputs[1]) * wanted).sum() / wanted.square().sum())


def main():
    device = sys.argv[1]
    torch.manual_seed(0)

    def rand(*shape):
        return torch.randn(*shape, device=device)

    angles = torch.outer(torch.arange(TOKENS), 1e4 ** -(torch.arange(0, HEAD, 2) / HEAD))
    cos, sin = (torch.cat([f(angles)] * 2, -1)[None].to(device) for f in (torch.cos, torch.sin))
    q, k, v = (rand(2, heads, TOKENS, HEAD) for heads in (8, 2, 2))
    targets = torch.randint(0, 2048, (TOKENS,), device=device)
    found = {
        "rms_norm": compare("rms_norm", [rand(TOKENS, 512), 1 + 0.1 * rand(512)], device, 1e-5),
        # Qwen3's queries and keys.
        "norm_of_heads": compare("rms_norm", [rand(2, 64, 8, HEAD), rand(HEAD)], device, 1e-6),
        "silu_mul": compare("silu_mul", [rand(TOKENS, 512), rand(TOKENS, 512)], device),
        "rope": compare("rope", [q, k], device, cos, sin),
        "attention": compare("attention", [q, k, v], device),
        "token_losses": compare("token_losses", [rand(TOKENS, 2048), targets], device),
        "lora_share": lora_share(device),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
