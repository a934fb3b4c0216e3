"""Ready questions and answers, about anything: what is broken in them, and how long they are."""

import re

# An answer that was printed as a program's list: its line feeds are two characters each.
_LITERAL = re.compile(r"\\r\\n|\\n|\\r")
_PRINTED = re.compile(r"""^\[\s*(['"])(.*)\1\s*,?\s*\]$""", re.DOTALL)
_BETWEEN = re.compile(r"""(['"])\s*,\s*(['"])""")
_CODE = re.compile(
    r"```|printf|print\(|\\n['\"]|['\"]\\n|regex|正则|转义|换行符|escape", re.IGNORECASE
)
# A fenced block of a program or a listing.
CODE_BLOCK = re.compile(r"^[ \t]*```", re.MULTILINE)
# The last line is the heading of a section that is not there.
_EMPTY_HEADING = re.compile(
    r"(?:^|\n)(?:#{1,6}\s*\S[^\n]*|\*\*[^*\n]+\*\*[:：]?|[^\n，。！？,.!?]{1,20}[:：])$"
)


def unescaped(text: str) -> str:
    r"""`text` with line feeds where a printed list or a table had \n in two characters."""
    if "\\n" not in text and not text.startswith("["):
        return text
    if printed := _PRINTED.match(text.strip()):
        text = _BETWEEN.sub("\n", printed[2])
    elif _CODE.search(text):
        return text  # about programs, where the two characters may be meant
    return _LITERAL.sub("\n", text)


def without_empty_heading(answer: str) -> str:
    """`answer` without headings at its end that nothing follows; "" if there is nothing else."""
    while found := _EMPTY_HEADING.search(answer):
        answer = answer[: found.start()].rstrip()
    return answer


def said_once(answer: str) -> str:
    """An answer that holds its whole text twice, once."""
    half = len(answer) // 2
    for middle in (half, half + 1):  # with a line feed or a space between the two, or none
        first, second = answer[:middle].strip(), answer[middle:].strip()
        if len(first) > 7 and first == second:
            return first
    return answer
