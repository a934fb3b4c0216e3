"""What a run is asked for by name: a word of it that is none is told by those that there are."""

import difflib
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from butler.errors import ButlerError

LIKE = 0.8  # of 1, how like a target a word must be to be taken for a slip: "al" is, of "all"
_WILDCARD = re.compile(r"\{(\w+)(?:,([^{}]*))?\}")  # its name, and what its rule says it may be


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
    """Check a target: a rule's name, or a file's with the words in it (variant, benchmark).

    Args:
        target: the rule or the file asked for.
        outputs: the rules, and the files that they make, their wildcards in braces.
        known: the words that a wildcard may stand for.
        links: folders of links to what rules make, and what says where a name in one leads.

    Raises:
        ButlerError: if rules would make it, were it not for its words; if it is a link; if it is
            nothing that there is, and like something that can be asked for.
    """
    for folder, leads in links.items():
        name = target.removeprefix(folder)
        if name != target and (made := leads(name)) != name:
            raise ButlerError(f"{target} is a link; ask for {made}, which it leads to")
    if target in outputs:
        return
    fixed = {output: output.partition("{")[0] for output in outputs}
    like = [one for one in outputs if fixed[one] != one and target.startswith(fixed[one])]
    if any(_match(target, output, known) for output in like):
        return
    if unknown := [words for output in like for words in _unknown(target, output, known)]:
        # By the output most like it.
        words = min(unknown, key=lambda found: (len(found), sum(map(len, found.values()))))
        none = (f"no {name} {word}, only {', '.join(known[name])}" for name, word in words.items())
        raise ButlerError(f"{target} cannot be made: there is {', and '.join(none)}")
    plain = [output for output in outputs if fixed[output] == output]
    close = difflib.get_close_matches(target, plain, n=1, cutoff=LIKE)
    if close and not Path(target).exists():
        raise ButlerError(f"there is no target {target}; did you mean {close[0]}?")


def _unknown(
    target: str, output: str, known: Mapping[str, Collection[str]]
) -> Iterator[dict[str, str]]:
    """Yield which words keep a target from being this output: one of them, or all."""
    names = [name for name, _ in _WILDCARD.findall(output) if name in known]
    for free in [*([name] for name in names), names]:
        if match := _match(target, output, known, free):
            yield {name: match[name] for name in free}


def _match(
    target: str, output: str, known: Mapping[str, Collection[str]], free: Collection[str] = ()
) -> re.Match[str] | None:
    """Match a target with an output whose wildcards are known words, but those `free` any word.

    A wildcard of which no words are known may be what its rule says, or anything.
    """
    form, end = "", 0
    for wildcard in _WILDCARD.finditer(output):
        name = wildcard[1]
        words = "|".join(map(re.escape, known[name])) if name in known else wildcard[2] or ".+"
        words = "[^/.]+" if name in free else words
        form += re.escape(output[end : wildcard.start()]) + f"(?P<{name}>{words})"
        end = wildcard.end()
    return re.fullmatch(form + re.escape(output[end:]), target)
