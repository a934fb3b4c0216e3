"""Make the base model a local Hugging Face folder that every later stage can take.

The folder holds the weights as they are (hard-linked where they are local), the model's own Python
code where it needs some, the chat template of the run in the tokenizer's configuration, and the
template's stop words among the generation's end-of-text ids.
"""

import argparse
import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from butler.chat_template import ChatTemplate
from butler.errors import ButlerError, run_cli
from butler.families import family_of
from butler.files import atomic_dir, atomic_write_json
from butler.hf_folder import read_config
from butler.model_folder import (
    PICKLES,
    check_group_size,
    check_model_folder,
    check_served,
    check_values,
    model_config,
)


def locate(
    model: str, repository: Path, revision: str | None, check: Callable[[Path], None]
) -> Path:
    """Return the local folder of `model`: a path, or a hub id that is downloaded at `revision`.

    Of a hub model `check` is called with its JSON files before its weights are fetched.

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
    check(_download(model, revision, allow_patterns=["*.json"]))
    # No pickles: they are not taken, and some are as large as the weights.
    return _download(model, revision, ignore_patterns=list(PICKLES))


def _download(model: str, revision: str, **patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, revision=revision, **patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ButlerError(
            f"hub model '{model}' at revision '{revision}' cannot be had ({reason}); "
            "download it elsewhere and give its folder as base.model"
        ) from error


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link a file, or copy it where the two lie on different file systems."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def check_consent(folder: Path, shown: str, remote_code: bool) -> None:
    """Stop if the folder's configurations name Python code and `remote_code` lets none run.

    `shown` is base.model as the user wrote it.

    Raises:
        ButlerError: naming the modules.
    """
    named = {name for _, config in _configurations(folder, shown) for name in _modules(config)}
    if named and not remote_code:
        raise ButlerError(
            f"{shown} runs Python code of its own ({', '.join(sorted(named))}.py); "
            "set base.remote_code to the value of base.model if you trust it"
        )


def check_run(
    folder: Path, shown: str, remote_code: bool, group_size: int | None, release: str | None
) -> None:
    """Stop if the run's settings do not go with the folder's configurations.

    Args:
        folder: with the base's JSON files at least.
        shown: base.model as the user wrote it.
        remote_code: whether the model's own code may run.
        group_size: of 4-bit weights; None if none are made.
        release: of LMDeploy, as config.yaml names it; None leaves open what serves.

    Raises:
        ButlerError: one sentence that names the file and what does not go with it.
    """
    check_consent(folder, shown, remote_code)
    config = model_config(folder, shown)
    if group_size:
        check_group_size(config, group_size, shown)
    if release:
        check_served(config, release, shown)


def _configurations(folder: Path, shown: str) -> list[tuple[Path, dict[str, Any]]]:
    """Return the configurations of a model that may name code, with their paths.

    Raises:
        ButlerError: if one is no JSON.
    """
    found = []
    for path in (folder / "config.json", folder / "tokenizer_config.json"):
        if path.is_file():
            try:
                found.append((path, json.loads(path.read_text(encoding="utf-8"))))
            except ValueError as error:
                raise ButlerError(f"{shown}/{path.name} is broken: {error}") from error
    return found


def _modules(config: Mapping[str, Any]) -> set[str]:
    """Return the modules that hold what the `auto_map` of a configuration names."""
    values = [v if isinstance(v, list) else [v] for v in config.get("auto_map", {}).values()]
    entries = [entry for value in values for entry in value if entry]
    return {entry.split("--")[-1].split(".")[0] for entry in entries}


def _code_files(folder: Path, shown: str) -> set[str]:
    """Return the modules that the folder's configurations run, and make them local names.

    `repository--module.Class` would send transformers to the hub in the middle of a run.
    """
    named: set[str] = set()
    for path, config in _configurations(folder, shown):
        named |= _modules(config)
        for key, value in config.get("auto_map", {}).items():
            entries = value if isinstance(value, list) else [value]
            local = [entry and entry.split("--")[-1] for entry in entries]
            config["auto_map"][key] = local if isinstance(value, list) else local[0]
        if "auto_map" in config:
            atomic_write_json(path, config)
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
    config = json.loads(path.read_text(encoding="utf-8"))
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
    generation = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    generation["eos_token_id"] = stops
    if tokenizer.bos_token_id is not None:
        generation["bos_token_id"] = tokenizer.bos_token_id
    generation["pad_token_id"] = generation.get("pad_token_id", stops[0])
    atomic_write_json(path, generation)


def prepare(
    source: Path, shown: str, folder: Path, template: ChatTemplate, remote_code: bool
) -> None:
    """Fill `folder` with the base model at `source`, ready for every later stage."""
    check_values(source, shown)
    for path in sorted(source.iterdir()):
        pickled = any(path.match(pattern) for pattern in PICKLES)
        if path.is_file() and not pickled and not path.name.startswith("."):
            weights = path.suffix == ".safetensors"
            (link_or_copy if weights else shutil.copyfile)(path, folder / path.name)
    add_code(folder, shown)
    set_chat_template(folder, shown, template, remote_code)


def main() -> None:
    """Prepare one base model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="folder or hub id")
    parser.add_argument("--revision", help="commit of the hub id")
    parser.add_argument(
        "--repository", type=Path, default=Path(), help="where relative paths start"
    )
    parser.add_argument("--chat-template", required=True, help="name in config/chat_templates.yaml")
    parser.add_argument("--remote-code", action="store_true", help="the model's code may run")
    parser.add_argument("--group-size", type=int, help="of 4-bit weights, if any are made")
    parser.add_argument("--lmdeploy", help="the release that serves, as config.yaml names it")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    template = ChatTemplate.load(args.chat_template)
    check = partial(
        check_run,
        shown=args.model,
        remote_code=args.remote_code,
        group_size=args.group_size,
        release=args.lmdeploy,
    )
    source = locate(args.model, args.repository, args.revision, check)
    check_model_folder(source, args.model)
    check(source)
    with atomic_dir(args.out) as folder:
        prepare(source, args.model, folder, template, args.remote_code)


if __name__ == "__main__":
    run_cli(main)
