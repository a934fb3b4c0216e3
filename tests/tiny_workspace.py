"""Tiny TurboMind workspaces from random weights, and a plain model to compare them with.

The plain model works on the unconverted weights (halves of each head not interleaved, one matrix
per projection), with loops and a full score matrix, and shares no code with the engine.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import yaml
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from butler.manifest import write_manifest

HEAD = 128
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] "
    "+ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ("<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>")


@dataclass
class Tiny:
    """Shape and contents of a tiny model."""

    hidden: int = 256
    heads: int = 2
    kv_heads: int = 1
    layers: int = 2
    inter: int = 384
    vocab: int = 300
    bias: bool = False
    qk_norm: bool = False
    w4: bool = False
    theta: float = 10000.0
    eps: float = 1e-5
    session_len: int = 640
    seed: int = 0
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    files: dict[str, np.ndarray] = field(default_factory=dict)
    stored: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)

    def build(self, path: Path, **engine_config: float) -> Path:
        """Make the weights and write the workspace to `path`.

        A variant's if a key of `engine_config` is given; what it leaves out has a value that
        changes nothing here.
        """
        generator = torch.Generator().manual_seed(self.seed)

        def normal(*shape: int, std: float) -> torch.Tensor:
            return (torch.randn(*shape, generator=generator) * std).half().float()

        self._add("tok_embeddings", normal(self.vocab, self.hidden, std=1.0), ".0.weight")
        output = normal(self.vocab, self.hidden, std=0.15)
        output[: len(SPECIAL)] = 0  # so that a greedy answer does not end by chance
        self._add("output", output, ".0.weight")
        self._add("norm", 1 + normal(self.hidden, std=0.1), ".weight")
        for i in range(self.layers):
            self._build_layer(i, normal)
        self._write(path, engine_config)
        return path

    def logits(self, tokens: list[int]) -> torch.Tensor:
        """Return fp32 [len(tokens), vocab] of the plain model."""
        t = self.tensors
        x = t["tok_embeddings"][tokens]
        for i in range(self.layers):
            x = x + self._attention(i, self._norm(x, t[f"{i}.attention_norm"]))
            y = self._norm(x, t[f"{i}.ffn_norm"])
            gate = y @ t[f"{i}.w1"]
            x = x + (gate / (1 + torch.exp(-gate)) * (y @ t[f"{i}.w3"])) @ t[f"{i}.w2"]
        return self._norm(x, t["norm"]) @ t["output"].T

    def greedy(self, prompt: list[int], count: int) -> list[int]:
        """Return the likeliest continuation, without any cache."""
        tokens = list(prompt)
        for _ in range(count):
            tokens.append(int(self.logits(tokens)[-1].argmax()))
        return tokens[len(prompt) :]

    def _norm(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return x / torch.sqrt((x * x).mean(-1, keepdim=True) + self.eps) * weight

    def _rope(self, x: torch.Tensor) -> torch.Tensor:
        """Rotate x [tokens, HEAD]: feature j with feature j + HEAD/2."""
        half = HEAD // 2
        speeds = self.theta ** (-torch.arange(half).double() / half)
        angles = torch.outer(torch.arange(len(x)).double(), speeds)
        cos, sin = angles.cos().float(), angles.sin().float()
        first, second = x[:, :half], x[:, half:]
        return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)

    def _attention(self, i: int, x: torch.Tensor) -> torch.Tensor:
        t = self.tensors
        q, k, v = (x @ t[f"{i}.{n}"] + t.get(f"{i}.{n}_bias", 0) for n in "qkv")
        heads = []
        for h in range(self.heads):
            g = h // (self.heads // self.kv_heads)
            qh, kh = q[:, h * HEAD : (h + 1) * HEAD], k[:, g * HEAD : (g + 1) * HEAD]
            if self.qk_norm:
                qh, kh = self._norm(qh, t[f"{i}.q_norm"]), self._norm(kh, t[f"{i}.k_norm"])
            qh, kh = self._rope(qh), self._rope(kh)
            scores = qh @ kh.T / HEAD**0.5
            future = torch.ones_like(scores).triu(1).bool()
            weights = scores.masked_fill(future, -1e30).softmax(-1)
            heads.append(weights @ v[:, g * HEAD : (g + 1) * HEAD])
        return torch.cat(heads, -1) @ t[f"{i}.o"] + t.get(f"{i}.o_bias", 0)

    def _build_layer(self, i: int, normal: Callable[..., torch.Tensor]) -> None:
        q, kv = self.heads * HEAD, self.kv_heads * HEAD
        shapes = {
            "q": (self.hidden, q),
            "k": (self.hidden, kv),
            "v": (self.hidden, kv),
            "o": (q, self.hidden),
            "w1": (self.hidden, self.inter),
            "w2": (self.inter, self.hidden),
            "w3": (self.hidden, self.inter),
        }
        made = {n: self._linear(s, normal) for n, s in shapes.items()}
        for name, (weight, _) in made.items():
            self.tensors[f"{i}.{name}"] = weight
        self.stored |= {f"{i}.{name}": arrays for name, (_, arrays) in made.items()}
        for suffix in made["q"][1]:
            parts = [made[n][1][suffix] for n in "qkv"]
            qkv = np.concatenate([interleave(parts[0]), interleave(parts[1]), parts[2]], -1)
            self._file(f"layers.{i}.attention.w_qkv.0.{suffix}", qkv)
            self._file(f"layers.{i}.attention.wo.0.{suffix}", made["o"][1][suffix])
            for n in ("w1", "w2", "w3"):
                self._file(f"layers.{i}.feed_forward.{n}.0.{suffix}", made[n][1][suffix])
        for n in ("attention_norm", "ffn_norm"):
            weight = (1 + normal(self.hidden, std=0.1)).half()
            self.tensors[f"{i}.{n}"] = weight.float()
            self._file(f"layers.{i}.{n}.weight", weight.numpy())
        for n in ("q_norm", "k_norm") if self.qk_norm else ():
            weight = (1 + normal(HEAD, std=0.3)).half()
            self.tensors[f"{i}.{n}"] = weight.float()
            self._file(f"layers.{i}.attention.{n}", interleave(weight.numpy()))
        if self.bias:
            biases = {n: normal(shapes[n][1], std=0.5) for n in "qkvo"}
            self.tensors |= {f"{i}.{n}_bias": b for n, b in biases.items()}
            halves = {n: b.half().numpy() for n, b in biases.items()}
            qkv = np.concatenate([interleave(halves["q"]), interleave(halves["k"]), halves["v"]])
            self._file(f"layers.{i}.attention.w_qkv.0.bias", qkv)
            self._file(f"layers.{i}.attention.wo.0.bias", halves["o"])

    def _linear(
        self, shape: tuple[int, int], normal: Callable[..., torch.Tensor]
    ) -> tuple[torch.Tensor, dict[str, np.ndarray]]:
        """Return the fp32 weight and the arrays that store it, by file ending."""
        weight = normal(*shape, std=1.5 * shape[0] ** -0.5)
        if not self.w4:
            return weight, {"weight": weight.half().numpy()}
        groups = weight.view(-1, 128, shape[1])
        low, high = groups.amin(1), groups.amax(1)
        scales = ((high - low) / 15).half().float()
        zeros = (-low / scales).round().clamp(0, 15)
        codes = (groups / scales[:, None] + zeros[:, None]).round().clamp(0, 15)
        weight = ((codes - zeros[:, None]) * scales[:, None]).view(shape)
        return weight, {
            "qweight": codes.view(shape).numpy().astype(np.uint8),
            "scales": scales.half().numpy(),
            "zeros": zeros.half().numpy(),
        }

    def _add(self, name: str, tensor: torch.Tensor, suffix: str) -> None:
        self.tensors[name] = tensor.half().float()
        self._file(name + suffix, tensor.half().numpy())

    def _file(self, name: str, array: np.ndarray) -> None:
        if name.endswith("qweight"):
            array = pack_nibbles(array)
        self.files[name] = np.ascontiguousarray(array)

    def _write(self, path: Path, engine_config: dict[str, float]) -> None:
        folder = path / "triton_models" / "weights"
        folder.mkdir(parents=True)
        for name, array in self.files.items():
            array.tofile(folder / name)
        config = self.config()
        if engine_config:
            plain = {"quant_policy": 0, "cache_max_entry_count": 0.5}
            config["engine_config"] = plain | {"session_len": self.session_len} | engine_config
        (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        write_tokenizer(path, self.vocab)
        write_manifest(path)

    def config(self) -> dict[str, dict[str, object]]:
        """Return what LMDeploy 0.7.3 writes to config.yaml for this model."""
        zeros = (
            "expert_inter_size experts_per_token kv_lora_rank q_lora_rank qk_rope_dim v_head_dim"
        )
        model = dict.fromkeys(zeros.split(), 0) | {
            "attn_bias": int(self.bias),
            "chat_template": "internlm2",
            "embedding_size": self.vocab,
            "expert_num": [],
            "group_size": 128 if self.w4 else 0,
            "head_num": self.heads,
            "hidden_units": self.hidden,
            "inter_size": [self.inter] * self.layers,
            "kv_head_num": self.kv_heads,
            "model_arch": "InternLM2ForCausalLM",
            "model_format": "awq" if self.w4 else "hf",
            "model_name": "tiny",
            "moe_group_num": 1,
            "moe_shared_gate": False,
            "norm_eps": self.eps,
            "norm_topk_prob": False,
            "num_layer": self.layers,
            "qk_norm": self.qk_norm,
            "routed_scale": 1.0,
            "session_len": self.session_len,
            "size_per_head": HEAD,
            "topk_group": 1,
            "topk_method": "greedy",
            "tp": 1,
            "tune_layer_num": 1,
            "vocab_size": self.vocab,
            "weight_type": "int4" if self.w4 else "float16",
        }
        attention = {
            "attention_factor": -1.0,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "cache_block_seq_len": 64,
            "high_freq_factor": 1.0,
            "low_freq_factor": 1.0,
            "max_position_embeddings": self.session_len,
            "original_max_position_embeddings": 0,
            "rope_scaling_factor": 0.0,
            "rope_scaling_type": "",
            "rope_theta": self.theta,
            "rotary_embedding": HEAD,
            "softmax_scale": 0.0,
            "use_dynamic_ntk": 0,
            "use_logn_attn": 0,
        }
        return {"model_config": model, "attention_config": attention, "lora_config": {"lora_r": 0}}


def interleave(x: np.ndarray) -> np.ndarray:
    """Put feature j and j + HEAD/2 of every head side by side, along the last axis."""
    order = [h + j for h in range(0, x.shape[-1], HEAD) for p in range(64) for j in (p, p + 64)]
    return x[..., order]


def pack_nibbles(codes: np.ndarray) -> np.ndarray:
    """Pack uint8 [in, out] of 0..15 to int32 [in, out/8], first column in the lowest bits."""
    words = codes.reshape(len(codes), -1, 8).astype(np.uint32)
    return sum(words[..., i] << np.uint32(4 * i) for i in range(8)).view(np.int32)


def tokens(count: int, seed: int) -> list[int]:
    """Return so many tokens of a text, none of them special."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(len(SPECIAL), 300, (count,), generator=generator).tolist()


def write_tokenizer(path: Path, vocab: int) -> None:
    """Write a byte-level tokenizer with chat tokens, its template and the stop tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*SPECIAL, *alphabet]
    assert len(words) <= vocab
    tokenizer = Tokenizer(models.BPE({w: i for i, w in enumerate(words)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIAL])
    tokenizer.save(str(path / "tokenizer.json"))
    files = {
        "tokenizer_config.json": {
            "bos_token": "<s>",
            "eos_token": {"content": "</s>"},
            "chat_template": TEMPLATE,
        },
        "generation_config.json": {"eos_token_id": [2, 4]},
    }
    for name, value in files.items():
        (path / name).write_text(json.dumps(value), encoding="utf-8")
