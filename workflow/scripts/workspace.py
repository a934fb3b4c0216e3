"""Convert a Hugging Face, AWQ or GPTQ model to a TurboMind workspace with `lmdeploy convert`."""

import argparse
import os
import shutil
import tempfile
from pathlib import Path

from butler.errors import ButlerError, run_cli
from butler.families import family_of
from butler.files import atomic_dir
from butler.hf_folder import ModelTensors, read_config
from butler.lmdeploy.guards import check_split
from butler.lmdeploy.on_cpu import without_cuda
from butler.lmdeploy.release import CONVERTER, check_installed, installed_version
from butler.lmdeploy.served_folder import is_workspace, model_shape, write_record
from butler.lmdeploy.workspace_files import WEIGHTS as FILES
from butler.manifest import write_manifest
from butler.progress import progress
from butler.schemes import FORMATS

# LMDeploy's plain template: chats take the workspace's own chat_template.json.
BUILT_IN_TEMPLATE = "base"


def keep_biases(model: Path, readers: dict[str, str]) -> None:
    """Let LMDeploy read the attention's biases where its reader for the architecture drops them.

    Such a reader writes attn_bias 0 whatever the weights hold; the one that the family's record
    names instead reads the same tensors with their biases. `readers` is changed in place.
    """
    family = family_of(read_config(model), str(model / "config.json"))
    biased = any(name.endswith(family.query_bias) for name in ModelTensors(model).names())
    if biased and family.bias_reader:
        readers[family.architecture] = family.bias_reader


def convert(model: Path, model_format: str, group_size: int, tp: int, folder: Path) -> None:
    """Run LMDeploy's converter in this process.

    Raises:
        ButlerError: if TurboMind does not know the architecture.
    """
    without_cuda()
    from lmdeploy.turbomind.deploy.converter import main as lmdeploy_convert
    from lmdeploy.turbomind.supported_models import SUPPORTED_ARCHS, is_supported

    keep_biases(model, SUPPORTED_ARCHS)
    if not is_supported(str(model)):
        raise ButlerError(f"TurboMind of LMDeploy {CONVERTER.version} does not support {model}")
    lmdeploy_convert(
        model.name,
        str(model),
        model_format=model_format,
        chat_template=BUILT_IN_TEMPLATE,
        dst_path=str(folder),
        tp=tp,
        group_size=group_size,
    )


def main() -> None:
    """Convert one model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--format", choices=FORMATS, required=True)
    parser.add_argument("--group-size", type=int, default=0, help="of AWQ; 0 for hf")
    parser.add_argument("--tp", type=int, default=1, help="GPUs that share the tensors")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    check_installed(CONVERTER, installed_version())
    check_split(args.tp, model_shape(args.model), "workspace.tp")
    with tempfile.TemporaryDirectory() as cache, atomic_dir(args.out) as folder:
        os.environ["HF_HOME"] = cache

        def status() -> str:
            return f"{len(list((folder / FILES).glob('layers.*')))} of the layers' files written"

        with progress("workspace", status):
            convert(args.model, args.format, args.group_size, args.tp, folder)
        if not is_workspace(folder):
            raise ButlerError("lmdeploy convert wrote no workspace; its log says why")
        # The converter copies every .json, the weights' index among them.
        for path in folder.glob("*.index.json"):
            path.unlink()
        chat = args.model / "chat_template.json"
        if not (folder / chat.name).is_file():
            shutil.copyfile(chat, folder / chat.name)
        write_record(folder, CONVERTER.version)
        write_manifest(folder)


if __name__ == "__main__":
    run_cli(main)
