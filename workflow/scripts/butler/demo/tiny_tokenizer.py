"""The tiny base's tokenizer: byte-level BPE in the files that Hugging Face's fast tokenizer reads.

Before merging, text is cut into digits, listed words and else single Chinese characters, so that a
word has the same tokens wherever it stands and no token holds a piece of a character beside
another's.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from butler.chat_template import ChatTemplate
from butler.demo.pantry import FRUITS, GRAINS, PROTEINS, SEASONINGS, VEGETABLES
from butler.files import atomic_write_json, atomic_write_text

VOCABULARY = 4032
SPECIAL = ("<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>")
UNK, BOS, EOS, IM_START, IM_END = range(5)
MODEL_MAX_LENGTH = 2048
_LONGEST = 15  # bytes: five Chinese characters
_WORDS = """
以下是 中国 关于 考试 初中 单项 选择题 请选出 其中 正确 答案 下列 位于 国家 首都
行政中心 简称 元素 符号 原子 序数 化学式 作者 作品 计算 等于 算式 时期 人物 生活 时代
判断 对错 属于 反义词 平方 洗净 去皮 切块 切片 切丝 切段 切丁 备用 焯水 翻炒 爆香 炒香
出锅 调味 即可 均匀 金黄 小火 中火 大火 锅中 放油 分钟 适量 少许 沥干 捞出 装盘 加盐
加水 水开 烧热 拌匀 炒匀 放入 倒入
"""


def _cuts() -> str:
    """Return the pattern of what stands alone: listed words, Chinese characters, blanks."""
    words = {*_WORDS.split(), *VEGETABLES, *PROTEINS, *FRUITS, *GRAINS, *SEASONINGS}
    listed = sorted((word for word in words if len(word) > 1), key=lambda word: (-len(word), word))
    return "|".join([*listed, r"\p{Han}", r"[\n ]"])


def train_tokenizer(texts: Iterable[str], vocabulary: int = VOCABULARY) -> Tokenizer:
    """Return a tokenizer of at most `vocabulary` tokens learned from `texts`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_cuts()), "isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=_LONGEST,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", BOS)]
    )
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path, template: str) -> None:
    """Write tokenizer.json, tokenizer_config.json and special_tokens_map.json to `folder`."""
    atomic_write_text(folder / "tokenizer.json", tokenizer.to_str(pretty=False) + "\n")
    names = {
        "bos_token": SPECIAL[BOS],
        "eos_token": SPECIAL[EOS],
        "pad_token": SPECIAL[EOS],
        "unk_token": SPECIAL[UNK],
        "additional_special_tokens": [SPECIAL[IM_START], SPECIAL[IM_END]],
    }
    added = {
        str(number): {
            "content": content,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": True,
        }
        for number, content in enumerate(SPECIAL)
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": MODEL_MAX_LENGTH,
        "clean_up_tokenization_spaces": False,
        "chat_template": ChatTemplate.load(template).to_jinja(),
        "added_tokens_decoder": added,
        **names,
    }
    atomic_write_json(folder / "tokenizer_config.json", config)
    atomic_write_json(folder / "special_tokens_map.json", names)


def load_tokenizer(folder: Path) -> Tokenizer:
    """Return the tokenizer that `save_tokenizer` wrote to `folder`."""
    text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    json.loads(text)  # a readable error, where the library's own would be a Rust panic
    return Tokenizer.from_str(text)
