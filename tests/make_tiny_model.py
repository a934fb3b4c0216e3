"""Make a tiny random model of another base beside the shipped tokenizer (a trainer's Python).

usage: make_tiny_model.py {TOY} TOKENIZER_FOLDER OUT

The sizes are toys; what differs between bases is as the real one has it: heads of so many values,
grouped or not, tied or not, biases, norms, and how rotary embeddings are stretched.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
import transformers
from transformers import AutoTokenizer

SHAPE = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
}
HALVES = {"num_attention_heads": 4, "num_key_value_heads": 2}  # heads of 64 values
# With transformers' 0.02 all tokens are as likely and attention is even, whatever is wrong in it.
WIDE = {"initializer_range": 0.06}
LLAMA3 = {
    "rope_type": "llama3",
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
LONG = {"max_position_embeddings": 131072, "rope_theta": 500000.0}
QWEN_TOKENS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
LLAMA3_TOKENS = [
    *("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>"),
    *("<|eom_id|>", "<|eot_id|>"),
]
# By toy: the class of transformers, or of XTuner where transformers has none, what config.json says
# beside SHAPE, and tokens that the shipped tokenizer lacks.
TOYS = {
    "llama": ("Llama", {}, []),
    # InternLM (the first) is LLaMA with biases and no grouped heads.
    "internlm": ("Llama", {"num_key_value_heads": 2, "attention_bias": True}, []),
    "llama3_1": ("Llama", WIDE | LONG | {"rope_scaling": LLAMA3 | {"factor": 8.0}}, LLAMA3_TOKENS),
    "llama3_2": (
        "Llama",
        WIDE
        | LONG
        | HALVES
        | {"rope_scaling": LLAMA3 | {"factor": 32.0}, "tie_word_embeddings": True},
        LLAMA3_TOKENS,
    ),
    "qwen2": ("Qwen2", {}, QWEN_TOKENS),
    "qwen2_5_0_5b": ("Qwen2", WIDE | HALVES | {"tie_word_embeddings": True}, QWEN_TOKENS),
    # Its heads together are wider than the hidden state, as those of the sizes up to 4B.
    "qwen3": (
        "Qwen3",
        WIDE
        | {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 128}
        | {"rope_theta": 1000000.0, "tie_word_embeddings": True},
        [*QWEN_TOKENS, "<think>", "</think>"],
    ),
    "internlm3": (
        "InternLM3",
        WIDE
        | {"head_dim": 128, "max_position_embeddings": 32768, "rope_theta": 50000000}
        | {"rope_scaling": {"rope_type": "dynamic", "factor": 6.0}},
        [],
    ),
}
INTERNLM3_CODE = {
    "AutoConfig": "configuration_internlm3.InternLM3Config",
    "AutoModelForCausalLM": "modeling_internlm3.InternLM3ForCausalLM",
}


def classes(name):
    """Return the configuration's and the model's class."""
    if hasattr(transformers, f"{name}Config"):
        return getattr(transformers, f"{name}Config"), getattr(transformers, f"{name}ForCausalLM")
    from xtuner._lite.modelings import internlm3

    return internlm3.InternLM3Config, internlm3.InternLM3ForCausalLM


def internlm2_5(base: Path, out: Path) -> None:
    """Write the shipped base with InternLM2.5's rotary embedding, stretched past its positions."""
    shutil.copytree(base, out)
    path = out / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["rope_scaling"] = {"type": "dynamic", "factor": 2.0}
    path.write_text(json.dumps(config, indent=2), encoding="utf-8")


def main() -> None:
    """Write the model and its tokenizer."""
    toy, tokenizer_folder, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if toy == "internlm2_5":
        return internlm2_5(tokenizer_folder, out)
    name, changed, tokens = TOYS[toy]
    tokenizer = AutoTokenizer.from_pretrained(str(tokenizer_folder))
    if tokens:
        tokenizer.add_special_tokens({"additional_special_tokens": tokens})
    if "<|begin_of_text|>" in tokens:
        tokenizer.bos_token, tokenizer.eos_token = "<|begin_of_text|>", "<|eot_id|>"
    shape = SHAPE | changed | {"vocab_size": -(-len(tokenizer) // 64) * 64}
    torch.manual_seed(0)
    config_class, model_class = classes(name)
    model = model_class(config_class(**shape))
    with torch.no_grad():
        for tensor, parameter in model.named_parameters():
            if tensor.endswith("bias"):
                parameter.normal_(std=0.5)
            elif tensor.endswith(("q_norm.weight", "k_norm.weight")):
                parameter.uniform_(0.5, 1.5)
    tokenizer.save_pretrained(out)
    model.half().save_pretrained(out, safe_serialization=True)
    path = out / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    if name == "InternLM3":
        config["auto_map"] = INTERNLM3_CODE
        path.write_text(json.dumps(config, indent=2), encoding="utf-8")
    shutil.copyfile(tokenizer_folder / "generation_config.json", out / "generation_config.json")
    print(config["architectures"][0], sum(p.numel() for p in model.parameters()))


if __name__ == "__main__":
    main()
