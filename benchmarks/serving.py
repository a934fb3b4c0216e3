"""Memory and speed of the variants at real size on this GPU, beside a rival and the limits.

Makes a random InternLM2 (7B by default), converts it as the workflow does (with --lmdeploy latest,
in that environment, it is served as it is), measures each variant as the efficiency stage does, all
at equal room for tokens; then the rates of matrix products and of copies, transformers' `generate`
on the same shape, and, with --check, whether a variant really holds the number of chats that was
computed for a card (see serving_capacity.py).

usage: .envs/lmdeploy/bin/python benchmarks/serving.py --work /dev/shm/serving --out serving.json
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import ROOT, ButlerError, atomic_write_json, markdown, publish, record
from random_bases import Shape, add_shape, check, shape_of, shape_options
from serving_capacity import check_card
from serving_models import Maker, run

from butler.efficiency.figures import GB, MIB, RESERVE_BYTES, chats_on_card
from butler.efficiency.measure_engine import measure
from butler.efficiency.speed import Speed, Spread, Waits
from butler.errors import run_cli
from butler.lmdeploy.release import (
    CONVERTER,
    RELEASES,
    check_installed,
    installed_version,
    serves,
)
from butler.schemes import BASELINE, VARIANTS
from butler.settings.judging_stage import EfficiencySettings


def parse_args() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--work", type=Path, required=True, help="folder for the models: 42 GB for a 7B")
    add("--environments", type=Path, default=ROOT / ".envs")
    add("--lmdeploy", choices=RELEASES, default=CONVERTER.name, help="what serves (%(default)s)")
    add("--variants", nargs="+", choices=list(VARIANTS), help="default: all that it serves")
    add(
        "--settings",
        type=EfficiencySettings.from_argument,
        default=EfficiencySettings(new_tokens=256),
        help="JSON of the config's section efficiency, or a file of it; default: 256 new tokens, "
        "else the config's own",
    )
    add("--room-tokens", type=int, default=896, help="room of a request in the cache")
    add("--session-len", type=int, default=2048)
    add("--check", help="VARIANT:GB, a card to try the computed number of chats on")
    add("--check-new-tokens", type=int, default=256, help="of the chats that --check runs")
    add("--no-rival", action="store_true")
    add("--no-limits", action="store_true")
    add("--make-only", action="store_true", help="make the workspaces and stop")
    add("--keep-models", action="store_true", help="keep the Hugging Face folders too")
    add("--out", type=Path, help="JSON; the tables go beside it as Markdown")
    add_shape(parser)
    args = parser.parse_args()
    release = RELEASES[args.lmdeploy]
    args.variants = args.variants or [n for n, one in VARIANTS.items() if serves(release, one)]
    return args


def other(script: str, options: Sequence[object], key: str, work: Path) -> dict[str, float]:
    """Run another benchmark in a process of its own; return what it found under `key`."""
    out = work / f"{key}.json"
    run([sys.executable, ROOT / "benchmarks" / script, "--out", out, *options], work, key)
    return dict(json.loads(out.read_text(encoding="utf-8"))[key])


def shares(
    values: dict[str, float], shape: Shape, limits: dict[str, float], prefill: int
) -> dict[str, float]:
    """Return how much of the GPU's limits a variant uses, 0 to 1.

    Decoding one request reads all weights but the embedding's for each token; reading a prompt
    takes two operations for each weight and token (attention's own, a few percent, not counted,
    and the head's, which is applied to a prompt's last token alone).
    """
    embedding = 2 * shape.vocab * shape.hidden
    read = (values["weight_bytes"] - embedding) * values["decode_tokens_per_s_median"]
    multiplied = shape.parameters() - shape.vocab * shape.hidden
    flops = 2 * multiplied * values[f"prefill_tokens_per_s_median_{prefill}"]
    return {
        "decode_of_copy_bandwidth": round(read / (limits["copy_gb_per_s"] * 1e9), 3),
        "prefill_of_matmul_peak": round(flops / (limits["matmul_float16_tflops"] * 1e12), 3),
    }


def spread(figure: Spread) -> str:
    """Write the median of the repeats with the least and the most."""
    return f"{figure.median:,.0f} ({figure.low:,.0f} to {figure.high:,.0f})"


def waits(found: Waits, factor: float, digits: int) -> str:
    """Write p50 and p90 of waits, in seconds times `factor`."""
    return " and ".join(f"{factor * found.percentiles[p]:.{digits}f}" for p in (50, 90))


def speed_table(report: dict[str, Any], args: argparse.Namespace) -> str:
    """Return memory and speed of each variant as Markdown."""
    measured, rooms = report["variants"], sorted(report["rooms"])
    counts, base = sorted(set(args.settings.concurrency)), measured.get(BASELINE)
    header = ["variant", "weights MiB", "KV B/token"]
    header += [f"GPU MiB, {n} × {args.room_tokens}" for n in rooms]
    header += [f"of {BASELINE}" for _ in rooms if base]
    header += ["one request, tokens/s", *(f"tokens/s, {n} at a time" for n in counts)]
    header += [f"first token s, p50 and p90, {n} at a time" for n in counts]
    header += [f"between tokens ms, p50 and p90, {n} at a time" for n in counts]
    header += ["decode, of copy bandwidth", "prefill, of matmul peak"] if report["shares"] else []
    lines = []
    for name, v in measured.items():
        memory = [f"peak_memory_bytes_{n}" for n in rooms]
        line = [name, f"{v['weight_bytes'] / MIB:,.0f}", f"{v['kv_bytes_per_token']:,.0f}"]
        line += [f"{v[key] / MIB:,.0f}" for key in memory]
        line += [f"{v[key] / base[key]:.2f}" for key in memory if base]
        speed = Speed.read(v)
        loads = [speed.loads[n] for n in counts]
        line += [spread(speed.decode_tokens_per_s)]
        line += [spread(load.tokens_per_s) for load in loads]
        line += [waits(load.first_token, 1, 3) for load in loads]
        line += [waits(load.between_tokens, 1000, 1) for load in loads]
        line += [f"{value:.0%}" for value in report["shares"].get(name, {}).values()]
        lines.append(line)
    return markdown(header, lines)


def tables(report: dict[str, Any], args: argparse.Namespace) -> str:
    """Return the Markdown tables of a report."""
    chats = [[name, *counts.values()] for name, counts in report["chats"].items()]
    settings = args.settings
    header = [f"chats of {settings.chat_tokens} tokens", *(f"{card} GB" for card in settings.cards)]
    text = f"{speed_table(report, args)}\n{markdown(header, chats)}"
    text += f"\nComputed; {RESERVE_BYTES / GB:.2f} GB of each card stay free.\n"
    for key in ("limits", "rival", "check"):
        if report.get(key):
            text += f"\n{key}: {json.dumps(report[key])}\n"
    return text


class Journal:
    """The report as it grows: each figure is on disk at once, a later failure takes none away."""

    def __init__(self, out: Path | None, **first: Any) -> None:
        self.report: dict[str, Any] = {**first, "seconds": {}, "variants": {}}
        self._out, self._start = out, time.perf_counter()

    def add(self, name: str, value: Any, section: dict[str, Any] | None = None) -> None:
        """Keep a figure in the report, or in a section of it, and the seconds that it took."""
        (self.report if section is None else section)[name] = value
        self.report["seconds"][name] = round(time.perf_counter() - self._start, 1)
        self._start = time.perf_counter()
        if self._out is not None:
            atomic_write_json(self._out, record(**self.report))


def compute(report: dict[str, Any], args: argparse.Namespace) -> None:
    """Add what follows from the variants' figures: rooms, shares of the limits, chats by card."""
    measured, limits, settings = report["variants"], report["limits"], args.settings
    largest = max(settings.concurrency)
    names = next(iter(measured.values()))
    start = "peak_memory_bytes_"
    report["rooms"] = [int(name.removeprefix(start)) for name in names if name.startswith(start)]
    shape = shape_of(args)
    report["shares"] = (
        {name: shares(v, shape, limits, largest) for name, v in measured.items()} if limits else {}
    )
    report["chats"] = {
        name: {f"{card}": chats_on_card(v, card, settings.chat_tokens) for card in settings.cards}
        for name, v in measured.items()
    }


def card_to_check(args: argparse.Namespace) -> tuple[str, float] | None:
    """Return the variant and the GB that --check names.

    Raises:
        ButlerError: if it names no variant that is measured.
    """
    if args.check is None:
        return None
    name, _, card = args.check.partition(":")
    if name not in args.variants or not card.replace(".", "", 1).isdigit():
        raise ButlerError(
            f"--check takes one of the --variants and GB, as w4kv8:24; not {args.check}"
        )
    return name, float(card)


def main() -> None:
    """Run the command line."""
    args = parse_args()
    shape, work = shape_of(args), args.work.resolve()
    check(shape)
    card = card_to_check(args)
    settings = args.settings
    tokens = (settings.prompt_tokens, settings.new_tokens)
    if max(sum(tokens), args.room_tokens) > args.session_len:
        raise ButlerError("--room-tokens and the requests must fit --session-len")
    options = shape_options(shape)
    release = RELEASES[args.lmdeploy]
    check_installed(release, installed_version())
    journal = Journal(args.out, shape=shape.__dict__, lmdeploy=release.version)
    report = journal.report
    maker = Maker(work, options, args.environments, args.session_len, release, args.keep_models)
    journal.add("made", maker.make(args.variants))
    if args.make_only:
        publish(record(**report), args.out)
        return
    limits = {} if args.no_limits else other("device_limits.py", [], "limits", work)
    journal.add("limits", limits)
    for name in args.variants:
        path = work / "workspaces" / name
        found = measure(path, settings, args.room_tokens, trust_remote_code=True)
        journal.add(name, {metric: value for metric, value, _ in found}, report["variants"])
    compute(report, args)
    if card is not None:
        path, values = work / "workspaces" / card[0], report["variants"][card[0]]
        found = check_card(path, values, card[1], settings.chat_tokens, args.check_new_tokens)
        journal.add("check", {"variant": card[0], **found})
    if not args.no_rival:
        batches = ["--batches", *sorted({1, min(max(settings.concurrency), 64)})]
        same = ["--prompt-tokens", tokens[0], "--new-tokens", tokens[1], *options]
        rival = other("generate_rival.py", [*batches, *same], "generate", work)
        journal.add("rival", {"transformers generate": rival})
    publish(record(**report), args.out, tables(report, args))


if __name__ == "__main__":
    run_cli(main)
