"""Fuzz one parser with atheris, guided by coverage, and write down what came of it.

Whatever the bytes, a parser takes them or refuses them with ButlerError or Rejected; anything else
is a finding, kept with its input and its traceback (one for each place that it came from).

usage: python -m pip install atheris && python tests/fuzz.py corpus --minutes 10 --out FILE.json
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import traceback
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPTS = HERE.parent / "workflow" / "scripts"
PARSERS = ("corpus", "ceval", "workspace", "config", "chat")
MEMORY_MB = 4096
SECONDS_OF_ONE = 20  # an input that takes longer is a finding


def parse_args() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parser", choices=PARSERS)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--max-bytes", type=int, default=6000, help="of one input")
    parser.add_argument("--out", type=Path, help="JSON of the figures and the findings")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Fuzz, or start the process that does."""
    args = parse_args()
    if args.child:
        fuzz(args)
        return
    with tempfile.TemporaryDirectory() as name:
        report = run(args, Path(name))
    text = json.dumps(report, ensure_ascii=False, indent=2)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")
    print(text)
    sys.exit(1 if report["findings"] else 0)


def run(args: argparse.Namespace, home: Path) -> dict[str, object]:
    """Fuzz in a process of its own, which libFuzzer never returns from, and read what it says."""
    command = [sys.executable, __file__, args.parser, "--minutes", str(args.minutes)]
    command += ["--max-bytes", str(args.max_bytes), "--child", str(home)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace", cwd=home)
    findings = [json.loads(file.read_text()) for file in sorted(home.glob("finding-*.json"))]
    counted = re.search(r"Done (\d+) runs in (\d+) second", done.stderr)
    if counted is None or done.returncode:
        findings.append({"error": f"ended with {done.returncode}", "trace": done.stderr[-3000:]})
        for left in [*home.glob("crash-*"), *home.glob("timeout-*"), *home.glob("oom-*")]:
            findings.append({"error": left.name, "input": left.read_bytes().hex()[:20000]})
    last = re.findall(r"cov: (\d+)", done.stderr)
    return {
        "command": f"tests/fuzz.py {args.parser} --minutes {args.minutes:g}",
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "executions": int(counted[1]) if counted else None,
        "seconds": int(counted[2]) if counted else None,
        "covered": int(last[-1]) if last else None,
        "findings": findings,
    }


def fuzz(args: argparse.Namespace) -> None:
    """Feed the parser until the time is over; findings go to files, so that it goes on."""
    import atheris

    sys.path[:0] = [str(SCRIPTS), str(HERE)]
    with atheris.instrument_imports(include=["butler"]):
        import fuzz_parsers
    from butler.corpus.records import Rejected
    from butler.errors import ButlerError

    parser = fuzz_parsers.make(args.parser)
    seeds = args.child / "seeds"
    seeds.mkdir()
    for number, seed in enumerate(parser.seeds):
        (seeds / str(number)).write_bytes(seed[: args.max_bytes])

    def one(data: bytes) -> None:
        try:
            parser.run(data)
        except ButlerError as error:
            fuzz_parsers.assert_sentence(error)
        except Rejected:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            keep(args.child, data, error)

    options = [f"-max_total_time={int(args.minutes * 60)}", f"-max_len={args.max_bytes}"]
    options += [f"-rss_limit_mb={MEMORY_MB}", f"-timeout={SECONDS_OF_ONE}", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, str(seeds)], one)
    atheris.Fuzz()


def keep(home: Path, data: bytes, error: Exception) -> None:
    """Write a finding down, unless there is one from the same place."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "butler" in frame.filename] or frames
    place = f"{type(error).__name__} at {Path(ours[-1].filename).name}:{ours[-1].lineno}"
    path = home / f"finding-{blake2b(place.encode(), digest_size=6).hexdigest()}.json"
    if path.exists():
        return
    trace = "".join(traceback.format_exception(error))[-4000:]
    found = {"error": f"{place}: {str(error)[:300]!r}", "trace": trace, "input": data.hex()}
    path.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
