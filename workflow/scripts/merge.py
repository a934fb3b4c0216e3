"""Merge the adapter into the unquantised base with `xtuner convert merge`."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from butler.devices import resolve_device
from butler.errors import ButlerError, run_cli
from butler.files import atomic_dir
from butler.hf_folder import carry_over
from butler.tools import run_tool, tool_environment


def check_adapter(adapter: Path, base: Path) -> None:
    """Raise ButlerError if the adapter was trained on another base than this one."""
    settings = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    trained_on = settings.get("base_model_name_or_path") or ""
    if Path(trained_on).name != base.name:
        raise ButlerError(f"adapter {adapter} was trained on {trained_on}, not on {base}")


def main() -> None:
    """Merge one adapter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    check_adapter(args.adapter, args.base)
    with tempfile.TemporaryDirectory() as cache, atomic_dir(args.out) as folder:
        command = [sys.executable, "-m", "xtuner.tools.model_converters.merge"]
        command += [str(args.base), str(args.adapter), str(folder), "--safe-serialization"]
        command += ["--device", resolve_device(args.device)]
        run_tool(command, tool_environment(Path(cache), args.threads))
        if not any(folder.glob("*.safetensors")) or not (folder / "config.json").is_file():
            raise ButlerError("xtuner merge wrote no model; its log says why")
        carry_over(args.base, folder)


if __name__ == "__main__":
    run_cli(main)
