"""Turn XTuner's checkpoint into a Hugging Face adapter with `xtuner convert pth_to_hf`.

What the training left to resume from can go then: its checkpoint is taken.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from butler.errors import ButlerError, run_cli
from butler.files import atomic_dir, discard
from butler.tools import run_tool, tool_environment
from butler.xtuner.configuration import check_rendered

WANTED = ("adapter_config.json", "adapter_model.safetensors")


def the_checkpoint(folder: Path) -> Path:
    """Return the one checkpoint in `folder`: a file, or a folder for DeepSpeed."""
    found = sorted(folder.glob("iter_*.pth"))
    if len(found) != 1:
        raise ButlerError(f"{folder} holds {len(found)} checkpoints instead of one; train again")
    return found[0]


def main() -> None:
    """Convert one checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="XTuner's, rendered")
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder that holds it")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--discard", type=Path, help="the training's work folder")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    check_rendered(args.config)
    with tempfile.TemporaryDirectory() as cache, atomic_dir(args.out) as folder:
        environment = tool_environment(
            Path(cache), args.threads, TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD="1"
        )
        tool = "xtuner.tools.model_converters.pth_to_hf"
        command = [sys.executable, "-m", tool, str(args.config)]
        command += [str(the_checkpoint(args.checkpoint)), str(folder), "--safe-serialization"]
        run_tool(command, environment)
        if missing := [name for name in WANTED if not (folder / name).is_file()]:
            raise ButlerError(f"pth_to_hf wrote no {missing[0]}; its log says why")
    if args.discard is not None:
        discard(args.discard)


if __name__ == "__main__":
    run_cli(main)
