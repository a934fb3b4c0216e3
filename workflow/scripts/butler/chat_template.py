"""The one definition of each chat template, and the forms the tools want it in.

Training (XTuner), serving (the tokenizer's Jinja template, LMDeploy's JSON) and evaluation must
see the same bytes. All three forms are rendered from `config/chat_templates.yaml`.
"""

import os
import re
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from butler.errors import ButlerError
from butler.settings.section import Section, Text
from butler.yaml_files import read_yaml

DEFINITIONS = Path(__file__).resolve().parents[3] / "config" / "chat_templates.yaml"
ROLES = ("system", "user", "assistant")

# Anything that a chat template of any family could take for its own: <|im_start|>, <eoa>, </s>,
# [INST], <<SYS>>, [UNUSED_TOKEN_146]. A record of the corpus with one is rejected, not mended.
MARKER = re.compile(
    r"<\|[^<>\n]{0,60}\|>|<\|(?:im_|endof|system|user|bot|assistant|plugin|interp|action)"
    r"|</?(?:s|unk|pad|bos|eos|eo[ahsct]|tok[a-z]*|start_of_turn|end_of_turn|mask|cls|sep)>"
    r"|</?think>|\[/?(?:INST|SYS)\]|<</?SYS>>|\[UNUSED_TOKEN_\d+\]|<0x[0-9A-F]{2}>|▁",
    re.IGNORECASE,
)


class TemplateTexts(Section):
    """Fixed text around the turns of a chat, as it stands under a template's name.

    `system_start … system_end` and `user_start … user_end` wrap those turns; `assistant_start`
    opens the answer, `assistant_end` closes it and `separator` stands between rounds.
    """

    system_start: str
    system_end: str
    user_start: str
    user_end: str
    assistant_start: str
    assistant_end: str
    separator: str
    stop_words: list[Text]


class ChatTemplate(TemplateTexts):
    """A template of the definitions, and the forms of it."""

    name: str

    @classmethod
    def load(cls, name: str, path: str | os.PathLike[str] = DEFINITIONS) -> "ChatTemplate":
        """Read template `name` from the definitions.

        Raises:
            ButlerError: if there is no such template, or a key of it is wrong.
        """
        file = Path(path)
        known = read_yaml(file)
        if not isinstance(known, dict) or not known:
            raise ButlerError(
                f"{file.name} has no chat template; write there '{name}:' and its texts"
            )
        if name not in known:
            raise ButlerError(
                f"chat template '{name}' is not in {file.name}; "
                f"choose one of {', '.join(sorted(map(str, known)))} or add it there"
            )
        where, texts = f"{file.name}: chat template '{name}'", known[name]
        if not isinstance(texts, dict):
            raise ButlerError(f"{where} takes a mapping, found {reprlib.repr(texts)}")
        return cls(name=name, **TemplateTexts.check(texts, where).model_dump())

    def render(
        self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Return the prompt text of `messages` (dicts with role and content), without BOS."""
        text = ""
        for index, message in enumerate(messages):
            role, content = message["role"], message["content"]
            if role == "system":
                text += self.system_start + content + self.system_end
            elif role == "user":
                text += self.user_start + content + self.user_end
            elif role == "assistant":
                text += self.assistant_start + content + self.assistant_end
                if index < len(messages) - 1 or add_generation_prompt:
                    text += self.separator
            else:
                raise ButlerError(f"role '{role}' is none of {', '.join(ROLES)}")
        if add_generation_prompt:
            text += self.assistant_start
        return text

    def to_jinja(self) -> str:
        """Return the template in the form Hugging Face tokenizers keep in `chat_template`.

        It opens with the tokenizer's BOS if there is one, as XTuner does; encode what it renders
        with `add_special_tokens=False`.
        """

        def quoted(text: str) -> str:
            return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"

        def turn(role: str, start: str, end: str) -> str:
            return (
                f"{{%- if m['role'] == '{role}' -%}}"
                f"{{{{ {quoted(start)} + m['content'] + {quoted(end)} }}}}{{%- endif -%}}"
            )

        return (
            "{%- if bos_token -%}{{ bos_token }}{%- endif -%}"
            "{%- for m in messages -%}"
            + turn("system", self.system_start, self.system_end)
            + turn("user", self.user_start, self.user_end)
            + turn("assistant", self.assistant_start, self.assistant_end)
            + "{%- if m['role'] == 'assistant' and (not loop.last or add_generation_prompt) -%}"
            f"{{{{ {quoted(self.separator)} }}}}{{%- endif -%}}"
            "{%- endfor -%}"
            f"{{%- if add_generation_prompt -%}}{{{{ {quoted(self.assistant_start)} }}}}"
            "{%- endif -%}"
        )

    def to_xtuner(self) -> dict[str, Any]:
        """Return the template as XTuner's `prompt_template`."""
        return {
            "SYSTEM": self.system_start + "{system}" + self.system_end,
            "INSTRUCTION": self.user_start + "{input}" + self.user_end + self.assistant_start,
            "SUFFIX": self.assistant_end,
            "SUFFIX_AS_EOS": True,
            "SEP": self.separator,
            "STOP_WORDS": list(self.stop_words),
        }

    def to_lmdeploy(self) -> dict[str, Any]:
        """Return the template as the JSON that `lmdeploy serve --chat-template` reads.

        LMDeploy 0.7.3 drops a null `meta_instruction` and falls back to the default of the
        template named: an empty system turn for most, none for `yi`, whose every part is replaced.
        """
        return {
            "model_name": "yi",
            "system": self.system_start,
            "eosys": self.system_end,
            "user": self.user_start,
            "eoh": self.user_end,
            "assistant": self.assistant_start,
            "eoa": self.assistant_end,
            "separator": self.separator,
            "capability": "chat",
            "stop_words": list(self.stop_words),
        }
