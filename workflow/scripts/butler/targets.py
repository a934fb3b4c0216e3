"""What a run is asked for by name: a word of it that is none is told by those that there are."""

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence

from butler.errors import ButlerError

_WILDCARD = re.compile(r"\{(\w+)[^{}]*\}")


def check_targets(
    words: Sequence[str],
    outputs: Collection[str],
    known: Mapping[str, Collection[str]],
    links: Mapping[str, Callable[[str], str]],
) -> None:
    """Check the targets of a command line; the other arguments as check_target has them.

    Snakemake tells a Snakefile no targets. Where a word is at fault, its own parser says whether it
    is one, and no option's value: that takes as long as a short rule file.

    Raises:
        ButlerError: as check_target.
    """
    for word in words:
        try:
            name = os.path.relpath(word) if os.sep in word else word
            check_target(name, outputs, known, links)
        except ButlerError:
            from snakemake.cli import get_argument_parser  # only its own process has it

            if word in get_argument_parser().parse_known_args(words)[0].targets:
                raise


def check_target(
    target: str,
    outputs: Collection[str],
    known: Mapping[str, Collection[str]],
    links: Mapping[str, Callable[[str], str]],
) -> None:
    """Check the words in a file's name: that of the variant, of the benchmark.

    Args:
        target: the file asked for.
        outputs: what the rules make, their wildcards in braces.
        known: the words that a wildcard may stand for.
        links: folders of links to what rules make, and what says where a name in one leads.

    Raises:
        ButlerError: if rules would make it, were it not for one word; if it is a link.
    """
    for folder, leads in links.items():
        name = target.removeprefix(folder)
        if name != target and (made := leads(name)) != name:
            raise ButlerError(f"{target} is a link; ask for {made}, which it leads to")
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
