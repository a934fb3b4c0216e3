"""What to tell of a run that failed: which stage, why, where its log is, what to try."""

import re
from dataclasses import dataclass
from pathlib import Path

from butler.errors import FULL_DISK, NO_SPACE

TAIL_BYTES = 20_000
BEFORE = 600  # characters before "Error in rule", where Snakemake tells the exit code
_BLOCK = re.compile(
    r"^Error in (?:group|rule) (?P<rule>\w+)[^\n]*:\n(?P<body>(?:[ \t]+.*\n?)+)", re.M
)
_EXCEPTION = re.compile(r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt)\b.*$", re.M)
# What the end of a log shows, and what to try then; the first that is found counts.
_HINTS = (
    (
        r"CUDA[^\n]{0,40}out of memory|OutOfMemoryError",
        "let it hold less on the GPU (train.micro_batch, workspace.session_len, a w4 variant), or "
        "free the GPU of what else runs there, jobs of this run too (--resources gpu=)",
    ),
    (
        r"exit status 137|MemoryError|Cannot allocate memory|DefaultCPUAllocator|oom-kill|\bOOM\b",
        "it ran out of memory: run fewer jobs at a time (--cores) or on a larger machine",
    ),
    (FULL_DISK, "free some disk space"),
    (
        r"name resolution|Max retries|Connection (?:refused|reset)|ConnectionError|ProxyError"
        r"|No matching distribution|SSLError",
        "check that the package index or the model hub can be reached from here (proxy, mirror)",
    ),
    (r"TIMEOUT|DUE TO TIME LIMIT", "give the stage more time (set-resources: runtime)"),
)
_AGAIN = "give the same command again: finished stages are kept"
_STOPPED = "Terminating processes on user request"  # Snakemake's word for Ctrl-C
_RESUMES = ", and the training goes on from its last checkpoint"


@dataclass(frozen=True)
class Failure:
    """A failed job: its rule, what Snakemake says of it, its log, and the text around it.

    `stopped` says that the user ended it (Ctrl-C).
    """

    rule: str
    message: str
    log: Path | None
    context: str
    stopped: bool = False


def failures(text: str) -> list[Failure]:
    """Return the jobs that failed for good by Snakemake's own log `text`, each rule's log once."""
    found: dict[tuple[str, Path | None], Failure] = {}
    for match in _BLOCK.finditer(text):
        body = match["body"]
        job = re.search(r"jobid: (\d+)", body)
        if job and re.search(rf"^Finished jobid: {job[1]}\b", text[match.end() :], re.M):
            continue  # tried again, and done then
        log = re.search(r"log: (.+?)(?:, .*)? \(check log", body)
        message = re.search(r"message: (.+)", body)
        said = message[1].strip() if message else "None"
        path = Path(log[1].strip()) if log else None
        context = text[max(0, match.start() - BEFORE) : match.end()]
        stopped = _STOPPED in text[: match.start()] or _interrupted(path)
        failure = Failure(match["rule"], "" if said == "None" else said, path, context, stopped)
        found[failure.rule, path] = failure
    return list(found.values())


def reason(failure: Failure) -> str:
    """Return why a job failed, in one sentence: its own, or the end of its log."""
    end = _end(failure.log)
    own = [line.removeprefix("error: ") for line in end.splitlines() if line.startswith("error: ")]
    said = (own or [str(raised)[:500] for raised in _EXCEPTION.findall(end)] or [""])[-1]
    if re.search(FULL_DISK, _seen(failure)) and NO_SPACE not in said:
        # A tool's own word for it says little, and its last ones may not have found room.
        return f"{NO_SPACE}: {said}" if said else NO_SPACE
    if said:
        return said
    lines = [line.strip() for line in end.splitlines() if line.strip()]
    if failure.message:
        return failure.message[:500]
    if lines:
        return f"it ended without a word of its own; the last line of its log is: {lines[-1][:300]}"
    code = re.search(r"exit status (-?\d+)", failure.context)
    return f"it ended with exit code {code[1] if code else 'unknown'} and an empty log"


def advice(failure: Failure) -> str:
    """Return what to try."""
    seen = _seen(failure)
    hint = next((hint for pattern, hint in _HINTS if re.search(pattern, seen)), "")
    again = _again(failure)
    return f"{hint}; then {again}" if hint else f"mend that and {again}"


def explain(text: str) -> str:
    """Return a paragraph for each failed job of a run whose Snakemake log is `text`."""
    return "\n".join(map(_paragraph, failures(text)))


def _paragraph(failure: Failure) -> str:
    if failure.stopped:
        return f"Stage {failure.rule} was cut: you stopped it; {_again(failure)}."
    if failure.log is None and not failure.message:
        # Its words went to the terminal, and not to Snakemake's log.
        return f"Stage {failure.rule} failed; it keeps no log: what it said stands further up."
    return (
        f"Stage {failure.rule} failed.\n"
        f"  Why:  {reason(failure)}\n"
        f"  Log:  {failure.log or 'none'}\n"
        f"  Try:  {advice(failure)}."
    )


def _again(failure: Failure) -> str:
    return _AGAIN + (_RESUMES if failure.rule == "train" else "")


def _interrupted(log: Path | None) -> bool:
    """Say whether Ctrl-C is the last that a log tells of."""
    raised = _EXCEPTION.findall(_end(log))
    return bool(raised) and raised[-1].startswith("KeyboardInterrupt")


def _seen(failure: Failure) -> str:
    return f"{failure.context}\n{_end(failure.log)[-4000:]}"


def _end(log: Path | None) -> str:
    if log is None or not log.is_file():
        return ""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - TAIL_BYTES))
        # Bars that redraw one line are many lines.
        return stream.read().decode("utf-8", "replace").replace("\r", "\n")
