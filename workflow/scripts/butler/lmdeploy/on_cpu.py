"""What LMDeploy 0.7.3 needs to run where there is no CUDA, and on text of our own.

Its calibration and export are plain PyTorch; only the import of the native engine, `.cuda()` calls
and the slow fp16 arithmetic of CPUs stand in the way.
"""

import json
import os
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from butler.errors import ButlerError

# Enough for 128 samples of 2,048 tokens, the most that is usual, out of short texts.
CALIBRATION_TEXTS = 4000


def without_cuda() -> None:
    """Let LMDeploy's export run without a GPU; call before lmdeploy is imported.

    Does nothing where CUDA is there.
    """
    import torch

    if torch.cuda.is_available():
        return
    stub = types.ModuleType("_turbomind")

    def any_class(name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})

    stub.__getattr__ = any_class  # type: ignore[method-assign]
    sys.modules["_turbomind"] = stub
    torch.Tensor.cuda = lambda self, *args, **kwargs: self  # type: ignore[method-assign]


def write_calibration_text(texts: list[str], folder: Path) -> None:
    """Lay `texts` where LMDeploy's `ptb` data set is found before any hub is asked.

    `load_dataset("ptb_text_only", "penn_treebank")` takes a folder of that name in the working
    directory; LMDeploy joins its sentences with blank lines and cuts samples out of the result.
    """
    data = folder / "ptb_text_only"
    data.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"sentence": text}, ensure_ascii=False) + "\n" for text in texts]
    (data / "train.jsonl").write_text("".join(lines), encoding="utf-8")
    # LMDeploy reads and tokenises this one too, and uses it for nothing.
    (data / "validation.jsonl").write_text(lines[0], encoding="utf-8")
    (data / "README.md").write_text(
        "---\nconfigs:\n- config_name: penn_treebank\n  data_files:\n"
        "  - split: train\n    path: train.jsonl\n"
        "  - split: validation\n    path: validation.jsonl\n---\n",
        encoding="utf-8",
    )


def fp32_view(model: Path, folder: Path) -> Path:
    """Return a folder that shows `model` as fp32: fp16 matmuls are some 50 times slower on a CPU.

    All files are links but config.json, whose torch_dtype says float32.
    """
    folder.mkdir(parents=True)
    for path in model.iterdir():
        if path.name != "config.json":
            os.symlink(path.resolve(), folder / path.name)
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config["torch_dtype"] = "float32"
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@contextmanager
def working_directory(folder: Path) -> Iterator[None]:
    """Run the block in `folder`."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def enough_text(tokenizer: Any, texts: list[str], length: int) -> None:
    """Raise ButlerError if the calibration text is shorter than one sample of `length` tokens."""
    tokens = 0
    for text in texts:
        tokens += len(tokenizer.encode(text))
        if tokens > length:
            return
    raise ButlerError(
        f"calibration.length is {length} tokens, but the training text has {tokens} in all; "
        "lower it or give a larger corpus"
    )
