"""Make a tiny random model of another family beside the shipped tokenizer (run by XTuner's Python).

usage: make_tiny_model.py {llama,internlm,qwen2} TOKENIZER_FOLDER OUT
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

SHAPE = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 2048,
}


def main() -> None:
    """Write the model and its tokenizer."""
    family, tokenizer_folder, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    tokenizer = AutoTokenizer.from_pretrained(str(tokenizer_folder))
    if family == "qwen2":
        tokenizer.add_special_tokens(
            {"additional_special_tokens": ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]}
        )
    shape = SHAPE | {"vocab_size": -(-len(tokenizer) // 64) * 64}
    torch.manual_seed(0)
    if family == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(**shape, tie_word_embeddings=False))
    else:
        # InternLM (the first) is this architecture with biases and no grouped heads.
        biased = family == "internlm"
        heads = {"num_key_value_heads": 2} if biased else {}
        model = LlamaForCausalLM(LlamaConfig(**(shape | heads), attention_bias=biased))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.5)
    tokenizer.save_pretrained(out)
    model.half().save_pretrained(out, safe_serialization=True)
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    shutil.copyfile(tokenizer_folder / "generation_config.json", out / "generation_config.json")
    print(config["architectures"][0], sum(p.numel() for p in model.parameters()))


if __name__ == "__main__":
    main()
