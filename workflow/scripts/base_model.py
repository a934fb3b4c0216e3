"""Make the base model a local Hugging Face folder that every later stage can take.

The folder holds the weights as they are (hard-linked where that can be; pickled ones are made
safetensors), the model's own Python code where it needs some, the chat template of the run in the
tokenizer's configuration, the template's stop words among the generation's end-of-text ids, and the
manifest of all that.
"""

import argparse
import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

from butler.chat_template import ChatTemplate
from butler.errors import ButlerError, run_cli
from butler.families import TRAINER, TRAINERS, family_of
from butler.files import atomic_dir, atomic_write_json
from butler.hf_folder import read_config
from butler.hubs import HUBS, HubUnreachableError, open_hub
from butler.json_files import read_object
from butler.lmdeploy.release import RELEASES
from butler.manifest import NAME as MANIFEST
from butler.manifest import write_manifest
from butler.model_folder import (
    check_model_folder,
    check_served,
    check_values,
    check_variant_sizes,
    is_pickle,
    model_config,
    weight_files,
    weight_names,
)
from butler.pickled_weights import convert
from butler.progress import progress, say
from butler.schemes import VARIANTS
from butler.settings.serving_stage import AwqSettings

# What of a hub's model is fetched beside its weights: configurations, code, tokenizer, licence.
BESIDE_WEIGHTS = (
    *("*.json", "*.jinja", "*.py", "*.model", "*.txt", "*.tiktoken"),
    *("LICENSE*", "NOTICE*", "README*"),
)
COPIERS = 8  # at a time, where files cannot be linked


def locate(
    model: str,
    repository: Path,
    hub: str,
    revision: str | None,
    pickles: bool,
    check: Callable[[Path], None],
) -> Path:
    """Return the local folder of `model`: a path, or the id of a model that `hub` gives.

    Of a hub's model `check` is called with its JSON files before its weights are fetched.

    Raises:
        ButlerError: if it is not to be had.
    """
    if (repository / model).is_dir():
        return repository / model
    if model.count("/") != 1 or model.startswith((".", "/")):
        raise ButlerError(
            f"base.model '{model}' is not a folder; give the path of a Hugging Face model folder "
            "or a hub id such as internlm/internlm2-chat-7b"
        )
    if revision is None:
        raise ButlerError(f"base.revision is missing: pin the commit of hub model '{model}'")
    source = open_hub(hub, model, revision)
    try:
        listed = source.files()
    except HubUnreachableError as error:
        cached = source.cached()
        if cached is None:
            raise
        say("base_model", f"{error}. What was fetched of this revision before is taken.")
        return cached
    wanted = set(wanted_names((one.name for one in listed), model, pickles))
    check(source.fetch(one for one in listed if one.name.endswith(".json")))
    return source.fetch(one for one in listed if one.name in wanted)


def wanted_names(names: Iterable[str], shown: str, pickles: bool) -> list[str]:
    """Return those of a hub model's file names that are fetched: its weights in one form, its rest.

    Raises:
        ButlerError: if it has no weights, or pickles that may not be read.
    """
    present = list(names)
    rest = [name for name in present if any(fnmatch(name, pattern) for pattern in BESIDE_WEIGHTS)]
    return weight_names(present, shown, pickles) + rest


def place(source: Path, names: Iterable[str], folder: Path) -> None:
    """Put files of `source` into `folder`: weights as hard links where they can be, else copies."""

    def one(name: str) -> None:
        target = folder / name
        if name.endswith(".safetensors"):
            # A file in a hub's cache may be a symbolic link.
            with suppress(OSError):  # on another file system, or on one without hard links
                return os.link((source / name).resolve(), target)
        shutil.copyfile(source / name, target)

    with ThreadPoolExecutor(COPIERS) as pool:
        list(pool.map(one, names))


def check_consent(folder: Path, shown: str, remote_code: bool) -> None:
    """Stop if the folder's configurations name Python code and `remote_code` lets none run.

    `shown` is base.model as the user wrote it.

    Raises:
        ButlerError: naming the modules.
    """
    configurations = _configurations(folder, shown)
    named = {name for path, one in configurations for name in _modules(one, f"{shown}/{path.name}")}
    if named and not remote_code:
        raise ButlerError(
            f"{shown} runs Python code of its own ({', '.join(sorted(named))}.py); "
            "set base.remote_code to the value of base.model if you trust it"
        )


def check_run(
    folder: Path,
    shown: str,
    remote_code: bool,
    variants: Sequence[str] = (),
    group_size: int = AwqSettings().group_size,
    release: str | None = None,
    trainer: str = TRAINER,
    reference: bool = False,
) -> None:
    """Stop if the run's settings do not go with the folder's configurations.

    Args:
        folder: with the base's JSON files at least.
        shown: base.model as the user wrote it.
        remote_code: whether the model's own code may run.
        variants: that are made of it, by name.
        group_size: of 4-bit weights.
        release: of LMDeploy, as config.yaml names it; None leaves open what serves.
        trainer: the tool that is to train it.
        reference: whether the engine on the CPU serves what that release makes.

    Raises:
        ButlerError: one sentence that names the file and what does not go with it.
    """
    check_consent(folder, shown, remote_code)
    config = model_config(folder, shown)
    family = family_of(config, f"{shown}/config.json")
    if family.trainer != trainer:
        raise ButlerError(
            f"{shown}/config.json names architecture {family.architecture}, which trains in the "
            f"environment {family.trainer} and not in {trainer}; set base.architecture: "
            f"{family.architecture}"
        )
    if release:
        serving = None if reference else release
        for name in variants:
            check_variant_sizes(config, VARIANTS[name], group_size, serving, shown)
        check_served(config, release, shown, reference)


def _configurations(folder: Path, shown: str) -> list[tuple[Path, dict[str, Any]]]:
    """Return the configurations of a model that may name code, with their paths.

    Raises:
        ButlerError: if one is no JSON object.
    """
    found = []
    for path in (folder / "config.json", folder / "tokenizer_config.json"):
        if path.is_file():
            found.append((path, read_object(path, f"{shown}/{path.name}")))
    return found


def _modules(config: Mapping[str, Any], file: str) -> set[str]:
    """Return the modules that hold what the `auto_map` of a configuration names.

    `file` is what the user calls the configuration.

    Raises:
        ButlerError: if it names no classes.
    """
    named = config.get("auto_map", {})
    # By class; a tokenizer's oldest form is the list alone (transformers, tokenization_auto.py).
    values = named.values() if isinstance(named, dict) else [named]
    entries = [one for value in values for one in (value if isinstance(value, list) else [value])]
    texts = all(isinstance(one, str | None) for one in entries)
    if not texts or not isinstance(named, dict | list):
        raise ButlerError(
            f"{file}: auto_map takes classes of code by name, found {json.dumps(named)[:80]}; take "
            "it out if the model has no code of its own, else fetch the file again"
        )
    return {one.split("--")[-1].split(".")[0] for one in entries if one}


def _local(named: Any) -> Any:
    """Return the value of an `auto_map`, or of a class in it, with names of local code alone."""
    if isinstance(named, dict):
        return {key: _local(one) for key, one in named.items()}
    if isinstance(named, list):
        return [_local(one) for one in named]
    return named and named.split("--")[-1]


def _code_files(folder: Path, shown: str) -> set[str]:
    """Return the modules that the folder's configurations run, and make them local names.

    `repository--module.Class` would send transformers to the hub in the middle of a run.
    """
    named: set[str] = set()
    for path, config in _configurations(folder, shown):
        named |= _modules(config, f"{shown}/{path.name}")
        if "auto_map" in config:
            atomic_write_json(path, config | {"auto_map": _local(config["auto_map"])})
    return named


def add_code(folder: Path, shown: str) -> None:
    """Put the Python code that the configurations name into `folder`, if it is not there yet.

    Raises:
        ButlerError: if the base does not hold it and XTuner does not ship it.
    """
    named = _code_files(folder, shown)
    missing = [name for name in sorted(named) if not (folder / f"{name}.py").is_file()]
    if not missing:
        return
    module = family_of(read_config(folder), f"{shown}/config.json").code
    shipped = _shipped(module) if module else {}
    for name in missing:
        if name not in shipped:
            raise ButlerError(f"{shown} lacks {name}.py, which its configuration names; fetch it")
        shutil.copyfile(shipped[name], folder / f"{name}.py")


def _shipped(module: str) -> dict[str, Path]:
    """Return the files of a package in this environment by their names."""
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise ButlerError(f"module {module} is not installed; rebuild envs/xtuner")
    return {path.stem: path for path in Path(found.origin).parent.glob("*.py")}


def set_chat_template(folder: Path, shown: str, template: ChatTemplate, remote_code: bool) -> None:
    """Write the template into the tokenizer's configuration and its stops into the generation's.

    Raises:
        ButlerError: if the tokenizer has more tokens than the embedding, or a stop word of the
            template is not one of them.
    """
    from transformers import AutoTokenizer

    path = folder / "tokenizer_config.json"
    config = read_object(path, f"{shown}/{path.name}")
    config["chat_template"] = template.to_jinja()
    atomic_write_json(path, config)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    atomic_write_json(folder / "chat_template.json", template.to_lmdeploy())

    tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=remote_code)
    model = read_config(folder)
    tokens, rows = max(tokenizer.get_vocab().values()) + 1, model["vocab_size"]
    if tokens > rows:
        raise ButlerError(
            f"the tokenizer of {shown} has {tokens} tokens and the embedding {rows} rows; take the "
            "tokenizer that the model was trained with"
        )
    stops = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    for word in template.stop_words:
        ids = tokenizer.encode(word, add_special_tokens=False)
        # An unknown word is one token too. Its id does not tell: some models have one token for
        # what is unknown and for the end of a text. Slow tokenizers decode with a space before.
        if len(ids) != 1 or tokenizer.decode(ids).strip() != word.strip():
            usual = " or ".join(family_of(model, f"{shown}/config.json").templates)
            hint = f", for its architecture usually {usual}" if usual else ""
            raise ButlerError(
                f"chat template {template.name} stops at '{word}', which is not one token of the "
                f"tokenizer of {shown}; set base.chat_template to the one that the base model was "
                f"trained with{hint}"
            )
        stops += [ids[0]] if ids[0] not in stops else []
    path = folder / "generation_config.json"
    generation = read_object(path, f"{shown}/{path.name}") if path.is_file() else {}
    generation["eos_token_id"] = stops
    if tokenizer.bos_token_id is not None:
        generation["bos_token_id"] = tokenizer.bos_token_id
    generation["pad_token_id"] = generation.get("pad_token_id", stops[0])
    atomic_write_json(path, generation)


def prepare(
    source: Path,
    shown: str,
    folder: Path,
    template: ChatTemplate,
    remote_code: bool,
    pickles: bool = False,
) -> None:
    """Fill `folder` with the base model at `source`, ready for every later stage.

    Its values are checked, and its manifest is written: what later stages read is what was checked.
    Of a folder with pickled weights alone, `pickles` lets them be read and made safetensors.
    """
    weights = weight_files(source, shown, pickles)
    names = [path.name for path in source.iterdir() if path.is_file()]
    size = sum(path.stat().st_size for path in weights) / 1e9
    with progress("base_model", lambda: f"{size:.1f} GB of weights are being placed and read"):
        place(source, [name for name in names if not _left(name)], folder)
        if is_pickle(weights[0].name):
            convert(weights, folder, shown)
            check_model_folder(folder, shown)
        # While the tokenizer's library starts and the files are hashed.
        with ThreadPoolExecutor(1) as pool:
            checked = pool.submit(check_values, folder, shown)
            add_code(folder, shown)
            set_chat_template(folder, shown, template, remote_code)
            write_manifest(folder)
            checked.result()


def _left(name: str) -> bool:
    """Whether a file of a base stays where it is: hidden, pickled, or a manifest of older files."""
    return name.startswith(".") or is_pickle(name) or name == MANIFEST


def main() -> None:
    """Prepare one base model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="folder or hub id")
    parser.add_argument("--hub", choices=sorted(HUBS), default="huggingface", help="of a hub id")
    parser.add_argument("--revision", help="commit of the hub id")
    parser.add_argument(
        "--repository", type=Path, default=Path(), help="where relative paths start"
    )
    parser.add_argument("--chat-template", required=True, help="name in config/chat_templates.yaml")
    parser.add_argument("--remote-code", action="store_true", help="the model's code may run")
    parser.add_argument("--pickles", action="store_true", help="pickled weights may be read")
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=[], help="to be made")
    parser.add_argument("--group-size", type=int, default=AwqSettings().group_size)
    parser.add_argument("--lmdeploy", choices=RELEASES, help="the release that serves")
    parser.add_argument("--reference", action="store_true", help="the CPU's engine serves it")
    parser.add_argument("--trainer", choices=sorted(TRAINERS), default=TRAINER)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    template = ChatTemplate.load(args.chat_template)
    check = partial(
        check_run,
        shown=args.model,
        remote_code=args.remote_code,
        variants=args.variants,
        group_size=args.group_size,
        release=args.lmdeploy,
        trainer=args.trainer,
        reference=args.reference,
    )
    source = locate(args.model, args.repository, args.hub, args.revision, args.pickles, check)
    check_model_folder(source, args.model, args.pickles)
    check(source)
    with atomic_dir(args.out) as folder:
        prepare(source, args.model, folder, template, args.remote_code, args.pickles)


if __name__ == "__main__":
    run_cli(main)
