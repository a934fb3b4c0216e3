"""Convert a model folder's pickled weights to safetensors, without running what a pickle may hold.

Runs in the environment of xtuner. torch reads tensors alone (weights_only) and refuses all else.
"""

import argparse
import pickle
import shutil
from pathlib import Path

from butler.errors import ButlerError, run_cli
from butler.files import atomic_dir, atomic_write_json
from butler.model_folder import PICKLES


def convert(source: Path, folder: Path) -> None:
    """Write the weights of `source` as safetensors into `folder`, and copy what is no pickle.

    Raises:
        ButlerError: if there are no pickled weights, or one holds more than tensors.
    """
    import torch
    from safetensors.torch import save_file

    shards = sorted(source.glob("pytorch_model*.bin"))
    if not shards:
        raise ButlerError(f"{source} has no pytorch_model*.bin; there is nothing to convert")
    places: dict[str, str] = {}
    for number, path in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        try:
            tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError):
            raise ButlerError(
                f"{path} is no file of tensors alone, so it was not loaded; fetch the model's "
                "safetensors files elsewhere"
            ) from None
        # Tensors that share memory are written each for itself: the format takes no others.
        whole = {key: value.contiguous().clone() for key, value in tensors.items()}
        save_file(whole, folder / name, metadata={"format": "pt"})
        places |= dict.fromkeys(whole, name)
    index = {"metadata": {}, "weight_map": places}
    atomic_write_json(folder / "model.safetensors.index.json", index)
    for path in sorted(source.iterdir()):
        pickled = any(path.match(pattern) for pattern in (*PICKLES, "*.bin.index.json"))
        if path.is_file() and not pickled and not path.name.startswith("."):
            shutil.copyfile(path, folder / path.name)


def main() -> None:
    """Convert one model folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder with pytorch_model*.bin")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    args = parser.parse_args()
    with atomic_dir(args.out) as folder:
        convert(args.model, folder)


if __name__ == "__main__":
    run_cli(main)
