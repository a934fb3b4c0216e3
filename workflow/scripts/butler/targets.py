"""What a run is asked for by name: a word of it that is none is told by those that there are."""

import os
import re
from collections.abc import Collection, Mapping, Sequence

from butler.errors import ButlerError

_WILDCARD = re.compile(r"\{(\w+)[^{}]*\}")


def asked_targets(words: Sequence[str]) -> list[str]:
    """Return the files among a command line's targets, by their paths from the current folder.

    Snakemake tells a Snakefile no targets, so its own parser reads the words once more.
    """
    from snakemake.cli import get_argument_parser  # only its own process has it

    targets = get_argument_parser().parse_known_args(words)[0].targets
    return [os.path.relpath(target) if os.sep in target else target for target in targets]


def check_target(
    target: str, outputs: Collection[str], known: Mapping[str, Collection[str]]
) -> None:
    """Check the words in a file's name: that of the variant, of the benchmark.

    Args:
        target: the file asked for.
        outputs: what the rules make, their wildcards in braces.
        known: the words that a wildcard may stand for.

    Raises:
        ButlerError: if rules would make it, were it not for one word.
    """
    unknown: list[tuple[str, str]] = []
    for output in outputs:
        names = set(_WILDCARD.findall(output))
        if names <= known.keys():
            if _match(target, output, known):
                return
            for name in names:
                if match := _match(target, output, known, free=name):
                    unknown.append((match[name], name))
    if unknown:
        word, name = min(unknown, key=lambda found: len(found[0]))  # by the output most like it
        raise ButlerError(
            f"{target} cannot be made: there is no {name} {word}, only {', '.join(known[name])}"
        )


def _match(
    target: str, output: str, known: Mapping[str, Collection[str]], free: str = ""
) -> re.Match[str] | None:
    """Match a target with an output whose wildcards are known words, but `free` any word."""
    form, end = "", 0
    for wildcard in _WILDCARD.finditer(output):
        name = wildcard[1]
        words = "[^/.]+" if name == free else "|".join(map(re.escape, known[name]))
        form += re.escape(output[end : wildcard.start()]) + f"(?P<{name}>{words})"
        end = wildcard.end()
    return re.fullmatch(form + re.escape(output[end:]), target)
