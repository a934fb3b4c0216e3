"""Make one deployable folder: weights hard-linked, the engine's settings its own.

Of a TurboMind workspace for LMDeploy 0.7.3, or of a model folder for a release that serves those.
"""

import argparse
import os
import shutil
from pathlib import Path

import butler.interpreter  # noqa: F401

import yaml

from butler.errors import ButlerError, run_cli
from butler.files import atomic_dir, atomic_write_text
from butler.lmdeploy.engine_settings import EngineSettings
from butler.lmdeploy.release import RELEASES, quant_policy
from butler.lmdeploy.served_folder import write_record
from butler.lmdeploy.workspace_files import CONFIG, WEIGHTS
from butler.manifest import NAME as MANIFEST
from butler.manifest import check_unchanged, recorded, write_manifest
from butler.schemes import BACKENDS, KV_CACHES, TURBOMIND


def link_tree(source: Path, target: Path) -> None:
    """Hard-link every file below `source` into `target`, making folders as needed.

    Hidden files stay behind: Snakemake dates a folder by one, and a link would share its date.
    """
    hidden = shutil.ignore_patterns(".*")
    try:
        shutil.copytree(source, target, copy_function=os.link, dirs_exist_ok=True, ignore=hidden)
    except shutil.Error as error:  # it holds (from, to, why) of each file
        file, _, why = error.args[0][0]
        raise ButlerError(
            f"{file} cannot be hard-linked into {target.parent} ({why}); name an --out on the same "
            "disk"
        ) from None


def write_settings(folder: Path, settings: EngineSettings) -> None:
    """Put the engine's settings into the workspace's configuration, cutting it off its link."""
    path = folder / CONFIG
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    config["model_config"]["session_len"] = settings.session_len
    config["engine_config"] = settings.model_dump()
    atomic_write_text(path, yaml.safe_dump(config, allow_unicode=True, sort_keys=False))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--workspace", type=Path, help="fp16 or W4 workspace")
    source.add_argument("--model", type=Path, help="model folder, for --lmdeploy latest")
    parser.add_argument("--lmdeploy", choices=RELEASES, default="0.7.3", help="what will serve it")
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default=TURBOMIND,
        help="LMDeploy's engine for a model folder (%(default)s)",
    )
    parser.add_argument("--kv-parameters", type=Path, help="folder of static_kv_parameters.py")
    parser.add_argument("--kv", choices=KV_CACHES, required=True, help="how the KV cache is held")
    parser.add_argument("--cache-max-entry-count", type=float, required=True)
    parser.add_argument("--session-len", type=int, required=True, help="tokens")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    """Make one variant."""
    args = parse_arguments()
    release, kv = RELEASES[args.lmdeploy], KV_CACHES[args.kv]
    settings = EngineSettings.check(
        {
            "quant_policy": quant_policy(kv, release),
            "cache_max_entry_count": args.cache_max_entry_count,
            "session_len": args.session_len,
        },
        "engine settings",
    )
    if release.workspaces != bool(args.workspace):
        wanted = "--workspace" if release.workspaces else "--model"
        raise ButlerError(f"LMDeploy {release.version} serves what {wanted} takes; give that")
    if args.kv_parameters and not (args.workspace and kv.static):
        known = ", ".join(one.name for one in KV_CACHES.values() if one.static)
        raise ButlerError(f"--kv-parameters are for a workspace with --kv {known}; leave them out")
    sources = [path for path in (args.workspace, args.model, args.kv_parameters) if path]
    if args.out.resolve() in [path.resolve() for path in sources]:
        raise ButlerError(f"--out {args.out} is what the variant is made of; name another folder")
    source = args.workspace or args.model
    check_unchanged(source)
    known = recorded(source)
    with atomic_dir(args.out) as folder:
        link_tree(source, folder)
        if args.workspace:
            if args.kv_parameters:
                link_tree(args.kv_parameters, folder / WEIGHTS)
            write_settings(folder, settings)
        else:
            write_record(folder, release.version, settings, args.backend)
        (folder / MANIFEST).unlink(missing_ok=True)
        linked = {name for name in known if (folder / name).samefile(source / name)}
        write_manifest(folder, {folder / name: known[name] for name in linked})


if __name__ == "__main__":
    run_cli(main)
