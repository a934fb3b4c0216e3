"""Make one deployable workspace: weights hard-linked, the engine's settings its own."""

import argparse
import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from butler.errors import ButlerError, run_cli
from butler.files import atomic_dir, atomic_write_text
from butler.manifest import NAME as MANIFEST
from butler.manifest import verify_manifest, write_manifest

WEIGHTS = Path("triton_models") / "weights"


def link_tree(source: Path, target: Path) -> None:
    """Hard-link every file below `source` into `target`, making folders as needed.

    Hidden files stay behind: Snakemake dates a folder by one, and a link would share its date.
    """
    hidden = shutil.ignore_patterns(".*")
    shutil.copytree(source, target, copy_function=os.link, dirs_exist_ok=True, ignore=hidden)


def write_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Put the engine's settings into the workspace's configuration, cutting it off its link."""
    path = folder / WEIGHTS / "config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    config["model_config"]["session_len"] = settings["session_len"]
    config["engine_config"] = settings
    atomic_write_text(path, yaml.safe_dump(config, allow_unicode=True, sort_keys=False))


def main() -> None:
    """Make one variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True, help="fp16 or W4 workspace")
    parser.add_argument("--kv-parameters", type=Path, help="folder of kv8_parameters.py")
    parser.add_argument("--quant-policy", type=int, choices=[0, 8], required=True)
    parser.add_argument("--cache-max-entry-count", type=float, required=True)
    parser.add_argument("--session-len", type=int, required=True, help="tokens")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.quant_policy and not args.kv_parameters:
        raise ButlerError("--quant-policy 8 needs --kv-parameters")
    verify_manifest(args.workspace)
    with atomic_dir(args.out) as folder:
        link_tree(args.workspace, folder)
        if args.kv_parameters:
            link_tree(args.kv_parameters, folder / WEIGHTS)
        write_settings(
            folder,
            {
                "quant_policy": args.quant_policy,
                "cache_max_entry_count": args.cache_max_entry_count,
                "session_len": args.session_len,
            },
        )
        (folder / MANIFEST).unlink(missing_ok=True)
        write_manifest(folder)


if __name__ == "__main__":
    run_cli(main)
