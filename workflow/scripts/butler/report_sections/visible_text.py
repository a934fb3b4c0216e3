"""Characters that no page shows, or that turn the text around them, made visible."""

import re
from typing import Any

from markupsafe import Markup

# Control characters but tab and line feed, invisible ones, those that set the direction of what
# follows, halves of a pair and what is no character. Joiners stay: emoji and Persian need them.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff\U000e0000-\U000e007f]"
)
_PICTURES = 0x2400  # of U+0000 and those after it; Unicode has a sign for each


def visible(text: str) -> str:
    """Return the text with a sign, or the number, of each character that would not be seen."""
    return _HIDDEN.sub(lambda found: _sign(ord(found[0])), text)


def _sign(code: int) -> str:
    if code < ord(" "):
        return chr(_PICTURES + code)
    return "\u2421" if code == 0x7F else f"⟨U+{code:04X}⟩"


def all_visible(value: Any) -> Any:
    """Return a value with all texts in it made visible, but for markup, which is ours."""
    if isinstance(value, Markup):
        return value
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {name: all_visible(one) for name, one in value.items()}
    return [all_visible(one) for one in value] if isinstance(value, list) else value
