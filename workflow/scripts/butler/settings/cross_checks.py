"""What no single key shows: settings against each other, against their files, against this machine.

All of it before the first job, since what is found after a training is found hours late.
"""

import os
import re
import tempfile
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from butler.benchmarks.registry import KINDS
from butler.chat_template import ChatTemplate
from butler.corpus.format_check import check_format
from butler.efficiency.figures import check_session
from butler.errors import ButlerError
from butler.families import FAMILIES
from butler.lmdeploy.guards import check_split
from butler.lmdeploy.release import RELEASES, serves
from butler.lmdeploy.served_folder import model_shape
from butler.model_folder import (
    check_head_norms,
    check_model_folder,
    check_served,
    check_variant_sizes,
    model_config,
)
from butler.schemes import KV_CACHES, PYTORCH, Variant
from butler.settings.run import Settings
from butler.settings.scenarios import Scenario
from butler.settings.trainer import trainer_of

SCRATCH_BYTES = 1 << 20  # Snakemake's scheduler alone writes some hundred KiB
CLOCK_SKEW_S = 10  # that a file server may be ahead of us
TEMPORARY = ("TMPDIR", "TMP", "TEMP")  # what names their folder, for Python and for the scheduler
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def check_run(settings: Settings, repository: Path, gpu: bool) -> None:
    """Check that a run can come to its end, as far as that can be told before the first job.

    Args:
        repository: where relative input paths start.
        gpu: whether this machine has a CUDA GPU.

    Raises:
        ButlerError: one sentence that names the keys that do not go together, or the key and the
            user's own path.
    """
    check_rooms(settings)
    check_engine(settings, gpu)
    check_speed(settings, gpu)
    check_base(settings, repository)
    check_schemes(settings, repository)
    check_corpus(settings, repository)
    for benchmark in settings.benchmarks:
        KINDS[benchmark.kind].check(benchmark, repository, settings.corpus.test_size)


def check_scenarios(scenarios: Iterable[Scenario], repository: Path, gpu: bool) -> None:
    """Check that the run of each scenario can come to its end.

    Raises:
        ButlerError: one sentence that names the scenario, and what check_run found.
    """
    for scenario in scenarios:
        try:
            check_run(scenario.settings, repository, gpu)
        except ButlerError as error:
            raise ButlerError(f"{scenario.where}: {error}") from None


def check_rooms(settings: Settings) -> None:
    """Check that a session holds what is asked of it.

    Raises:
        ButlerError: one sentence that names both keys.
    """
    length = settings.workspace.session_len
    for benchmark in settings.benchmarks:
        if benchmark.max_new_tokens and benchmark.max_new_tokens >= length:
            raise ButlerError(
                f"config: workspace.session_len {length} leaves no room for a question beside "
                f"max_new_tokens {benchmark.max_new_tokens} of benchmark {benchmark.name}; raise "
                "the one or lower the other"
            )
    check_session(settings.efficiency, length)


def check_schemes(settings: Settings, repository: Path) -> None:
    """Check that each chosen variant can be made, served and checked.

    Raises:
        ButlerError: one sentence that names the variant and what lacks.
    """
    limits = settings.checks.kv_nll
    if unknown := sorted(set(limits) - {one.name for one in KV_CACHES.values() if one.quantised}):
        raise ButlerError(
            f"config: checks.kv_nll.{unknown[0]} is of no quantised KV cache; known here: "
            f"{', '.join(one.name for one in KV_CACHES.values() if one.quantised)}"
        )
    for variant in settings.chosen().values():
        check_variant(settings, variant, repository)


def check_variant(settings: Settings, variant: Variant, repository: Path) -> None:
    """Check that a variant, also one that is asked for by its name alone, can be made and served.

    Raises:
        ButlerError: one sentence that names the variant and what lacks.
    """
    release, base = RELEASES[settings.lmdeploy], settings.base.model
    if not serves(release, variant):
        able = [one.name for one in RELEASES.values() if serves(one, variant)]
        raise ButlerError(
            f"config: variant {variant.name} is asked for, but lmdeploy: {release.name} does not "
            f"serve it; set lmdeploy: {' or '.join(able)}, or leave it out of variants"
        )
    if variant.backend == PYTORCH and settings.workspace.tp > 1:
        raise ButlerError(
            f"config: variant {variant.name} runs in LMDeploy's PyTorch engine, which was not "
            "tried here on several GPUs; set workspace.tp: 1, or leave it out of variants"
        )
    if (repository / base).is_dir():
        config, group = model_config(repository / base, base), settings.awq.group_size
        # The reference engine holds any head.
        serving = None if settings.engine == "reference" else release.name
        check_variant_sizes(config, variant, group, serving, base)


def check_engine(settings: Settings, gpu: bool) -> None:
    """Check that what serves can serve: releases without workspaces and several GPUs need CUDA.

    `gpu` says whether this machine has one; jobs may run elsewhere, where `device: cuda` says so.

    Raises:
        ButlerError: one sentence that names the keys that do not go together.
    """
    tp = settings.workspace.tp
    needs = [] if RELEASES[settings.lmdeploy].workspaces else [f"lmdeploy: {settings.lmdeploy}"]
    needs += [f"workspace.tp: {tp}"] if tp > 1 else []
    for key in needs if settings.engine == "reference" else []:
        raise ButlerError(
            f"config: {key} cannot be served with engine: reference; set engine: lmdeploy and use "
            "a CUDA machine"
        )
    engine = settings.serving_engine(gpu)
    for key in needs if gpu and engine == "reference" else []:
        raise ButlerError(
            f"config: {key} is served on CUDA alone, and with device: {settings.device} the "
            "reference engine serves; set device: auto"
        )
    if settings.engine == "lmdeploy" and settings.device == "cpu" and gpu:
        raise ButlerError(
            "config: engine: lmdeploy serves on a GPU, and device: cpu would have its jobs ask for "
            "none; set device: auto"
        )
    needs += ["engine: lmdeploy"] if settings.engine == "lmdeploy" else []
    for key in needs if not gpu else []:
        if engine != "lmdeploy" or settings.device != "cuda":
            raise ButlerError(
                f"config: {key} is served on CUDA alone and there is no GPU here; set engine: "
                "lmdeploy and device: cuda if the jobs run on a machine that has one"
            )


def check_speed(settings: Settings, gpu: bool) -> None:
    """Check that what the rule goes by is measured: speeds are, of LMDeploy on a GPU alone.

    `gpu` says whether this machine has one; jobs may run elsewhere, where `device: cuda` says so.

    Raises:
        ButlerError: one sentence that names the key and what to set.
    """
    target, loads = settings.decision.target, settings.efficiency.concurrency
    if target is not None and target.requests not in loads:
        raise ButlerError(
            f"config: decision.target.requests {target.requests} is not in efficiency.concurrency "
            f"{loads}, so nothing is measured at that load; add it there or take one of those"
        )
    keys = {"decision.prefer: speed": "memory"} if settings.decision.prefer == "speed" else {}
    keys |= {"decision.target": "null"} if target is not None else {}
    measured = settings.serving_engine(gpu) == "lmdeploy"
    for key, otherwise in keys.items() if not measured else []:
        name, value = key.partition(":")[0], otherwise
        raise ButlerError(
            f"config: {key} goes by LMDeploy's speed on a GPU, and the reference engine, which "
            f"serves here, shows none; set {name}: {value}, or engine: lmdeploy and device: cuda "
            "if the jobs run on a machine with a GPU"
        )


def check_device(settings: Settings, gpu: bool) -> None:
    """Check that the jobs of a run on this machine find the GPU that they are told to use.

    Raises:
        ButlerError: if there is none.
    """
    if missing := missing_gpu(settings, gpu):
        raise ButlerError(f"config: {missing}")


def missing_gpu(settings: Settings, gpu: bool) -> str | None:
    """Return what to do about the GPU that the settings name, if this machine has none."""
    if settings.device != "cuda" or gpu:
        return None
    return (
        "device is cuda and there is no CUDA GPU here; set device: auto or cpu, or give a profile "
        "that sends the jobs to a machine that has one"
    )


def check_base(settings: Settings, repository: Path) -> None:
    """Check the base model: its template, the consent to its code, its folder or its hub id.

    Raises:
        ButlerError: one sentence that names the key and the user's own path.
    """
    base = settings.base
    ChatTemplate.load(base.chat_template)
    check_consent(base.model, base.remote_code, "base.remote_code lets the Python code")
    check_consent(base.model, base.pickles, "base.pickles lets the pickled weights")
    trainer_of(base, repository)
    folder = repository / base.model
    if folder.is_dir():
        check_model_folder(folder, base.model, bool(base.pickles))
        config = model_config(folder, base.model)
        check_served(config, settings.lmdeploy, base.model, settings.engine == "reference")
        check_split(settings.workspace.tp, model_shape(folder), "config: workspace.tp")
    elif not HUB_ID.fullmatch(base.model):
        raise ButlerError(
            f"config: base.model {base.model} is neither a folder nor a hub id such as "
            "internlm/internlm2-chat-7b"
        )
    elif base.revision is None:
        raise ButlerError(
            f"config: base.revision is missing; pin the commit of {base.model}, 40 digits"
        )
    elif base.architecture and settings.engine != "reference":
        where = "config: base.architecture"
        check_head_norms(FAMILIES[base.architecture], settings.lmdeploy, where)


def check_consent(model: str, consent: str | bool, rule: str) -> None:
    """Check that a consent is to the model that is taken, not one that was inherited.

    `rule` begins with the key and says what it lets; the rest is "of MODEL be loaded".

    Raises:
        ButlerError: one sentence that says what the key takes.
    """
    key = rule.split()[0]
    if consent is True:
        raise ButlerError(
            f"config: {key} is true, which names no model; set it to the value of base.model "
            f"({model}) if you trust that model, else to false"
        )
    if consent and consent != model:
        raise ButlerError(
            f"config: {rule} of {consent} be loaded, but base.model is {model}; set it to the "
            "latter if you trust it, else to false"
        )


def check_corpus(settings: Settings, repository: Path) -> None:
    """Check that the raw records are there, and that a sample of them leaves some to train on.

    Raises:
        ButlerError: one sentence that names the keys, or the key and the user's path.
    """
    path, sample, held_out = settings.corpus.path, settings.corpus.sample, settings.corpus.test_size
    if 0 < sample <= held_out:
        raise ButlerError(
            f"config: corpus.sample {sample} is not above corpus.test_size {held_out}, so nothing "
            "would be left to train on; raise the one or lower the other"
        )
    if not (repository / path).exists():
        raise ButlerError(
            f"config: corpus.path {path} is neither a file nor a folder; give your raw records"
        )
    check_format(repository / path, settings.corpus.format)


def check_clock(paths: Iterable[Path]) -> None:
    """Check that no input is dated in the future, before anything long starts.

    Snakemake would take what is made from it for older than its input when the job is over, and
    remove it.

    Raises:
        ButlerError: one sentence that names the newest file and its date.
    """
    dated = [(path.stat().st_mtime, path) for path in paths if path.exists()]
    newest, path = max(dated, default=(0.0, Path()))
    if newest > time.time() + CLOCK_SKEW_S:
        raise ButlerError(
            f"{path} is dated {datetime.fromtimestamp(newest):%Y-%m-%d %H:%M:%S}, in the future; "
            "set the clock right, or touch it if the clock is"
        )


def check_temporary_folders() -> None:
    """Check that there is room for temporary files, of Snakemake's scheduler and of the tools.

    Raises:
        ButlerError: one sentence that names the folder which is full or cannot be written.
    """
    named = {name: Path(os.environ.get(name) or tempfile.gettempdir()) for name in TEMPORARY}
    for name, folder in named.items():
        try:
            if folder.is_dir():  # else the system's own is taken
                with tempfile.TemporaryFile(dir=folder) as stream:
                    stream.write(bytes(SCRATCH_BYTES))
        except OSError as error:
            raise ButlerError(
                f"no temporary file of {SCRATCH_BYTES >> 20} MiB can be written in {folder} "
                f"({error.strerror}); free some space there, or name another folder with {name}="
            ) from None
