"""Text to tokens and back, with the files of a workspace folder.

A workspace with a tokenizer.json needs `tokenizers` only. One that has just a SentencePiece model
(InternLM) goes through transformers, and through code from the folder only if that is allowed.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from butler.chat_template import MARKER
from butler.errors import ButlerError
from butler.json_files import read_object

# Stands for a piece of text while the template is rendered; private-use characters, so that
# no template contains it. It is made longer where a message does.
MARK = "\ue0b7\ue0b8\ue0b7"
MAX_SPELLINGS = 1000  # of special tokens in a chat; each is encoded by itself


class Backend(Protocol):
    """What the two tokenizer libraries have in common here."""

    special: Mapping[str, int]

    def spelling(self, token: int) -> str:
        """Return how the vocabulary spells `token`."""

    def encode(self, text: str, plain: bool) -> list[int]:
        """Return ids without BOS or EOS; `plain` takes special tokens as ordinary text."""

    def encode_prompt(self, text: str) -> list[int]:
        """Return ids with what the tokenizer itself adds: BOS, if the model knows one."""

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of `tokens`, special ones left out."""


class FastBackend:
    """A tokenizer.json, read by the `tokenizers` library."""

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_file(str(path))
            self._plain = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise ButlerError(f"{path} is not a tokenizer.json: {error}") from error
        # One for each use: what is set on a tokenizer cannot change while a thread is in it.
        self._plain.encode_special_tokens = True
        added = self._tokenizer.get_added_tokens_decoder()
        self.special = {token.content: i for i, token in added.items() if token.special}

    def spelling(self, token: int) -> str:
        return self._tokenizer.id_to_token(token) or ""

    def encode(self, text: str, plain: bool) -> list[int]:
        tokenizer = self._plain if plain else self._tokenizer
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    def encode_prompt(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=True).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        return self._tokenizer.decode(list(tokens), skip_special_tokens=True)


class TransformersBackend:
    """Any other tokenizer, read by transformers."""

    def __init__(self, folder: Path, trust_remote_code: bool) -> None:
        from transformers import AutoTokenizer

        try:
            self._tokenizer = AutoTokenizer.from_pretrained(
                folder, trust_remote_code=trust_remote_code, local_files_only=True
            )
        except (OSError, ValueError, ImportError) as error:
            raise ButlerError(
                f"{folder} has no tokenizer.json and transformers cannot read its tokenizer "
                f"({_first_line(error)}); if it needs the code in that folder and you trust it, "
                "give --trust-remote-code"
            ) from error
        added = self._tokenizer.added_tokens_decoder
        self.special = {token.content: i for i, token in added.items() if token.special}

    def spelling(self, token: int) -> str:
        return self._tokenizer.convert_ids_to_tokens(token) or ""

    def encode(self, text: str, plain: bool) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=plain)

    def encode_prompt(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=True)

    def decode(self, tokens: Sequence[int]) -> str:
        return self._tokenizer.decode(list(tokens), skip_special_tokens=True)


class ChatTokenizer:
    """The tokenizer and chat template of a workspace folder.

    Args:
        folder: a workspace or a model folder.
        trust_remote_code: run the folder's own tokenizer code.
        template: a Jinja chat template in place of the folder's own.

    Attributes:
        stop_ids: ids that end an answer, from generation_config.json.

    Raises:
        ButlerError: if the folder lacks a tokenizer, a chat template or stop tokens.
    """

    def __init__(
        self, folder: Path, trust_remote_code: bool = False, template: str | None = None
    ) -> None:
        self._folder = folder
        config = _read_object(folder / "tokenizer_config.json")
        self._template_text = template or self._find_template(config)
        self._names = {
            key: _token_text(value)
            for key, value in config.items()
            if key.endswith("_token") and isinstance(value, str | dict)
        }
        # The same environment as transformers' apply_chat_template.
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals["raise_exception"] = _raise_exception
        try:
            self._template = environment.from_string(self._template_text)
        except (TemplateError, RecursionError, SyntaxError, ValueError) as error:
            raise ButlerError(
                f"the chat_template in {folder} is not a Jinja template: {str(error)[:300]}"
            ) from error
        fast = folder / "tokenizer.json"
        self._backend: Backend = (
            FastBackend(fast) if fast.is_file() else TransformersBackend(folder, trust_remote_code)
        )
        self.stop_ids = self._find_stop_ids()
        stops = {self._backend.spelling(i): i for i in self.stop_ids}
        self._reserved = {text: i for text, i in {**self._backend.special, **stops}.items() if text}
        self._reserved_ids = frozenset(self._reserved.values())
        self._unknown = self._reserved.get(self._names.get("unk_token", ""))
        # The longest first, as the tokenizer takes them.
        longest = sorted(map(re.escape, self._reserved), key=len, reverse=True)
        self._special = re.compile("|".join(longest) or "(?!)")
        # What opens a turn without being a token of its own cannot be told from the same words in
        # a message.
        markers = set(MARKER.findall(self._template_text)) - set(self._reserved)
        self._markers = re.compile("|".join(map(re.escape, sorted(markers))) or "(?!)")

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Return the prompt text of a chat, up to where the answer begins.

        Raises:
            ButlerError: if the template refuses the messages.
        """
        try:
            return self._template.render(
                messages=messages, add_generation_prompt=True, **self._names
            )
        # A template is code of others: it may raise anything, as by {{ 1 / 0 }}.
        except Exception as error:
            raise ButlerError(
                f"the chat template refuses these messages: {str(error)[:300]}"
            ) from error

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Return the prompt's token ids.

        The rendered text is encoded whole, as in training. Only where a message spells a special
        token is that spelling encoded apart as ordinary text, so that nobody can close a turn or
        open another from inside a message.

        Raises:
            ButlerError: if a message spells what could open or close a turn and cannot be taken
                as text.
        """
        self._check_messages(messages)
        text = self.render(messages)
        mark = MARK
        while any(mark in message["content"] for message in messages):
            mark += MARK[1]
        masked, spellings = self._mask(messages, mark)
        if not spellings:
            return self._backend.encode(text, plain=False)
        pieces = self.render(masked).split(mark)
        rebuilt = "".join(
            piece + spelling for piece, spelling in zip(pieces, [*spellings, ""], strict=False)
        )
        if len(pieces) != len(spellings) + 1 or rebuilt != text:
            raise ButlerError(
                "a message spells a special token and the chat template does not copy messages "
                "unchanged, so it cannot be encoded safely; leave the token out"
            )
        ids = self._backend.encode(pieces[0], plain=False)
        for spelling, piece in zip(spellings, pieces[1:], strict=True):
            ids += self._encode_plain(spelling)
            ids += self._backend.encode(piece, plain=False) if piece else []
        return ids

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`; special tokens count as such, BOS is not added."""
        return self._backend.encode(text, plain=False)

    def encode_prompt(self, text: str) -> list[int]:
        """Return the ids of a prompt that is written out, without the chat template.

        Special tokens count as such. BOS stands before it once, where the tokenizer adds one.
        """
        ids = self._backend.encode_prompt(text)
        bos = self._reserved.get(self._names.get("bos_token", ""))
        return ids[1:] if ids[:2] == [bos, bos] else ids

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of `tokens`, special ones left out."""
        return self._backend.decode(tokens)

    def text_of(self, token: int) -> str:
        """Return what `token` adds to a text, or how it is spelt where it adds nothing.

        A part of a character is U+FFFD. It is decoded after a letter, since at the beginning of a
        text tokenizers leave out a space.
        """
        tokens, letter = self._letter
        text = self._backend.decode([*tokens, token])
        return text.removeprefix(letter) or self._backend.spelling(token)

    @cached_property
    def _letter(self) -> tuple[list[int], str]:
        tokens = self._backend.encode("a", plain=True)
        return tokens, self._backend.decode(tokens)

    def _encode_plain(self, spelling: str) -> list[int]:
        """Encode the spelling of a reserved token as ordinary text."""
        ids = self._backend.encode(spelling, plain=True)
        # SentencePiece knows some tokens by their spelling and cannot be told otherwise.
        if not self._reserved_ids.isdisjoint(ids):
            raise ButlerError(
                f"a message spells {spelling}, which this tokenizer cannot take as text; "
                "leave it out"
            )
        return ids

    def _check_messages(self, messages: Sequence[Mapping[str, str]]) -> None:
        """Refuse what would be a marker of the template even as ordinary text."""
        for message in messages:
            if found := self._markers.search(message["content"]):
                raise ButlerError(
                    f"a message spells {found[0]}, with which this model's chat template opens or "
                    "closes a turn; leave it out"
                )
            # A vocabulary may know such a token by a second name, too.
            ids = self._backend.encode(message["content"], plain=True)
            taken = self._reserved_ids.intersection(ids) - {self._unknown}
            if taken:
                names = ", ".join(self._backend.spelling(i) for i in sorted(taken)[:3])
                raise ButlerError(
                    f"a message spells {names}, which this tokenizer cannot take as text; leave "
                    "it out"
                )

    def _mask(
        self, messages: Sequence[Mapping[str, str]], mark: str
    ) -> tuple[list[dict[str, str]], list[str]]:
        """Return the messages with `mark` for each special token they spell, and the spellings."""
        spellings: list[str] = []
        masked = []
        for message in messages:
            spellings += self._special.findall(message["content"])
            masked.append({**message, "content": self._special.sub(mark, message["content"])})
        if len(spellings) > MAX_SPELLINGS:
            raise ButlerError(
                f"the messages spell special tokens {len(spellings)} times; {MAX_SPELLINGS} is the "
                "most"
            )
        return masked, spellings

    def _find_template(self, config: Mapping[str, Any]) -> str:
        template = config.get("chat_template")
        beside = self._folder / "chat_template.jinja"
        if template is None and beside.is_file():
            template = beside.read_text(encoding="utf-8")
        if not isinstance(template, str) or not template:
            raise ButlerError(
                f"{self._folder / 'tokenizer_config.json'} has no chat_template: the workspace "
                "cannot chat; add the template that the model was trained with"
            )
        return template

    def _find_stop_ids(self) -> frozenset[int]:
        path = self._folder / "generation_config.json"
        found = _read_object(path).get("eos_token_id")
        ids = found if isinstance(found, list) else [found]
        if not ids or not all(type(i) is int and 0 <= i < 2**32 for i in ids):
            raise ButlerError(f"{path} has no eos_token_id: answers would never end; add the ids")
        return frozenset(ids)


class TextStream:
    """Turns tokens into text as they come and watches for stop strings.

    Text is held back while it may be the start of a stop string or half a character.
    """

    def __init__(self, tokenizer: ChatTokenizer, stops: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._stops = [stop for stop in stops if stop]
        self._tokens: list[int] = []
        self._settled = 0
        self._known = 0
        self._held = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """Take one token and return the text that is now certain."""
        self._tokens.append(token)
        before = self._tokenizer.decode(self._tokens[self._settled : self._known])
        now = self._tokenizer.decode(self._tokens[self._settled :])
        if now.endswith("\ufffd") or len(now) <= len(before):
            return ""
        self._settled, self._known = self._known, len(self._tokens)
        return self._release(now[len(before) :])

    def flush(self) -> str:
        """Return the rest at the end of the answer."""
        if self.stopped:
            return ""
        before = self._tokenizer.decode(self._tokens[self._settled : self._known])
        now = self._tokenizer.decode(self._tokens[self._settled :])
        text = self._release(now[len(before) :])
        held, self._held = self._held, ""
        return text + held

    def _release(self, text: str) -> str:
        pending = self._held + text
        hits = [pending.find(stop) for stop in self._stops if stop in pending]
        if hits:
            self.stopped, self._held = True, ""
            return pending[: min(hits)]
        keep = max((_overlap(pending, stop) for stop in self._stops), default=0)
        cut = len(pending) - keep
        self._held = pending[cut:]
        return pending[:cut]


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` that `stop` begins with."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)


def _token_text(token: Any) -> str:
    """Return the text of a token in tokenizer_config.json: a string, or a dict with content."""
    return (token.get("content") if isinstance(token, dict) else token) or ""


def _read_object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ButlerError(f"{path} is missing: the workspace cannot chat without it")
    return read_object(path)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:200]


def _raise_exception(message: str) -> None:
    raise TemplateError(message)
