"""The models that OpenCompass asks: a server on this machine, or transformers (loaded by it).

Both are stricter than OpenCompass' own: tokens are counted on the whole chat as the model reads
it, so that examples are left out exactly when the prompt does not fit; a prompt is never cut and
the room for the answer never shrinks (OpenAISDK does both with a warning at most).
"""

import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any

from opencompass.models import BaseAPIModel, OpenAISDK
from opencompass.utils.prompt import PromptList

from butler.process import dies_with_us, last_lines, stop

_API_ROLES = {"HUMAN": "user", "BOT": "assistant", "SYSTEM": "system"}


class _WholeChats:
    """What both models share; beside a model class of OpenCompass, which has the other names.

    Args:
        trust_remote_code: run the tokenizer's own code.
        answered: a file that gets a line for each answer as it comes, a JSON object: number (of
            the question, in the order asked over all data sets, from 0), finish (why the answer
            ended), text, and prompt (a digest of what was asked, from a server alone).
    """

    parse_template: Any
    max_seq_len: int

    def __init__(self, trust_remote_code: bool, answered: str, **settings: Any) -> None:
        self.trust_remote_code = trust_remote_code
        self.answered = answered
        self._answered_lock = Lock()
        self._asked = 0
        super().__init__(**settings)

    def _read_tokenizer(self, folder: str) -> None:
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=self.trust_remote_code
        )
        self._tokenizer_lock = Lock()

    def count_tokens(self, messages: list[dict[str, str]]) -> int:
        """Return the length in tokens of a chat with the opening of the answer."""
        with self._tokenizer_lock:  # a fast tokenizer is not safe to share between threads
            text = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
            return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def get_token_len_from_template(self, templates: Any, mode: str = "ppl") -> int:
        """Return the length of one prompt; OpenCompass leaves out examples by it."""
        return self.count_tokens(_messages(self.parse_template(templates, mode=mode)))

    def _fitting(self, prompt: Any, max_out_len: int) -> list[dict[str, str]]:
        """Return the chat that a prompt is.

        Raises:
            ValueError: if it leaves no room for the answer.
        """
        messages = _messages(prompt)
        length = self.count_tokens(messages)
        if length > self.max_seq_len:
            raise ValueError(
                f"a prompt of {length} tokens and {max_out_len} new ones do not fit in a session "
                f"of {self.max_seq_len + max_out_len}: raise workspace.session_len; the prompt "
                f"ends {messages[-1]['content'][-40:]!r}"
            )
        return messages

    def _number(self, questions: int) -> int:
        """Return the number of the first of so many that are asked next.

        OpenCompass asks all of a data set in order, one data set after the other.
        """
        first = self._asked
        self._asked += questions
        return first

    def _answer(
        self, number: int, finish: str | None, text: str | None, prompt: str | None = None
    ) -> str:
        """Note an answer; one without text is an empty one, as a small model may give it."""
        record = {"number": number, "finish": finish, "text": text or "", "prompt": prompt}
        with self._answered_lock, open(self.answered, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")
        return record["text"]


class LocalServer(_WholeChats, OpenAISDK):
    """OpenAISDK against a server on this machine, made strict.

    OpenAISDK drops why an answer ended.

    Args:
        url_file: gets the server's URL once it answers; waited for with the first question, so
            that OpenCompass starts while the server does.
        known: what the server answered in the round before (its `answered`), if there was one. It
            is greedy, so what it was asked then is not asked again.
    """

    def __init__(self, url_file: str, known: str, **settings: Any) -> None:
        self.url_file = Path(url_file)
        self._known = _read_answers(Path(known))
        super().__init__(**settings)

    def _init_tokenizer(self) -> None:
        self._read_tokenizer(self.tokenizer_path)
        self.tokenizer_type = "hf"

    def _create_fresh_client(self) -> Any:
        """Return no client yet: __init__ knows no URL."""
        return None

    def _connect(self) -> Any:
        """Wait for the server; evaluate_model.py, which started it, ends us if it does not come."""
        while not self.url_file.exists():
            time.sleep(0.05)
        self.openai_api_base = self.url_file.read_text(encoding="utf-8")
        return super()._create_fresh_client()

    def generate(
        self, inputs: list[Any], max_out_len: int = 512, temperature: float = 0.0, **_: Any
    ) -> list[str]:
        """Return the answers in the order of the prompts, `max_workers` asked at a time."""
        if self.openai_client is None:
            self.openai_client = self._connect()
        ask = partial(self._ask, max_out_len=max_out_len)
        with ThreadPoolExecutor(self.max_workers) as pool:
            return list(pool.map(ask, count(self._number(len(inputs))), inputs))

    def _ask(self, number: int, prompt: Any, max_out_len: int) -> str:
        messages = self._fitting(prompt, max_out_len)
        digest = sha256(json.dumps([messages, max_out_len]).encode()).hexdigest()
        if known := self._known.get(digest):
            return self._answer(number, known["finish"], known["text"], digest)
        answer = self.openai_client.chat.completions.create(
            model=self.path,
            messages=messages,
            max_tokens=max_out_len,
            temperature=self.temperature,
            timeout=self.timeout,
            extra_body=self.extra_body,
        )
        [choice] = answer.choices
        return self._answer(number, choice.finish_reason, choice.message.content, digest)


class TransformersProcess(_WholeChats, BaseAPIModel):
    """hf_answers.py in the Python of another environment: chats in, greedy answers out.

    InternLM2's own code needs an older transformers than OpenCompass.

    Args:
        command: the process to start; log: where its stderr goes.
    """

    def __init__(self, command: list[str], log: str, tokenizer_path: str, **settings: Any) -> None:
        super().__init__(**settings)
        self._read_tokenizer(tokenizer_path)
        self.log = Path(log)
        with self.log.open("ab") as stream:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                encoding="utf-8",
                # A model's own code is copied there, and two releases of transformers differ.
                env=os.environ | {"HF_HOME": os.environ["HF_HOME"] + "-model"},
                preexec_fn=dies_with_us(),
            )

    def generate(self, inputs: list[Any], max_out_len: int) -> list[str]:
        """Return the answers in the order of the prompts; they come in another.

        Raises:
            RuntimeError: if the process ends before the last.
        """
        chats = [self._fitting(prompt, max_out_len) for prompt in inputs]
        first = self._number(len(chats))
        asked, given = self._process.stdin, self._process.stdout
        assert asked is not None and given is not None
        answers: dict[int, str] = {}
        try:
            batch = {"chats": chats, "max_new_tokens": max_out_len}
            asked.write(json.dumps(batch, ensure_ascii=False) + "\n")
            asked.flush()
            while len(answers) < len(chats):
                answer = json.loads(given.readline())
                place = answer["index"]
                answers[place] = self._answer(first + place, answer["finish"], answer["text"])
        except (OSError, ValueError) as error:  # its input or its output is closed
            stop(self._process)  # it may be waiting for us
            code = self._process.returncode
            raise RuntimeError(
                f"the Hugging Face model's process ended with code {code} after {len(answers)} of "
                f"{len(chats)} answers; it said: {last_lines(self.log)}"
            ) from error
        return [answers[index] for index in range(len(chats))]


def _read_answers(path: Path) -> dict[str, dict[str, Any]]:
    """Return the answers of an earlier round by what was asked; none if there was no such round."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    return {one["prompt"]: one for one in map(json.loads, lines)}


def _messages(prompt: str | PromptList | list[dict[str, str]]) -> list[dict[str, str]]:
    """Return a prompt of OpenCompass as the messages of a chat."""
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    return [
        turn if "content" in turn else {"role": _API_ROLES[turn["role"]], "content": turn["prompt"]}
        for turn in prompt
    ]
