"""Chat in the terminal with a workspace on the CPU, or with a merged model.

    .envs/lmdeploy/bin/python workflow/scripts/chat.py workspaces/w4kv8
    .envs/xtuner/bin/python workflow/scripts/chat.py build/merged --bits 4 --trust-remote-code

/help lists the commands, Ctrl-C ends an answer, Ctrl-D the chat. The prompt template is the
folder's own, the one that the model was trained with, unless --prompt-template names another. For
TurboMind on a GPU: serve.py --engine lmdeploy --as chat.
"""

import argparse
import os
import sys
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

from butler.interpreter import XTUNER, lacking

from butler.arguments import thread_count
from butler.chat_template import ChatTemplate
from butler.chat_tokenizer import ChatTokenizer, TextStream
from butler.errors import ButlerError, run_cli
from butler.lmdeploy.served_folder import check_there, is_workspace
from butler.manifest import check_unchanged
from butler.reference.sampling import SamplingParams
from butler.terminal import KEYS, in_terminal, interruptible, line_reader
from butler.trained_corpus import trained_corpus

RECIPE = "recipe"
COMMANDS = {"reset": "forgets the chat so far", "exit": "ends it", "help": "says this"}
SAME = {"quit": "exit", "bye": "exit"}
HINT = "/help lists the commands; Ctrl-C ends an answer, Ctrl-D the chat."


class Model(Protocol):
    """What answers: the reference engine or transformers."""

    def stream(
        self, prompt: Sequence[int], params: SamplingParams, stop_ids: Sequence[int]
    ) -> Generator[int, None, None]:
        """Yield an answer's tokens."""


def parse_args() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("folder", type=Path, help="a workspace, or a model folder such as build/merged")
    add("--prompt-template", help="of config/chat_templates.yaml; default: the folder's own")
    system = parser.add_mutually_exclusive_group()
    system.add_argument("--system", help="system text of the chat")
    system.add_argument(
        "--system-template",
        choices=[RECIPE],
        help=f"{RECIPE}: the text that the model was trained with, whatever its subject: "
        "corpus.system in results/config.yaml of the folder's run, else in config/config.yaml",
    )
    add("--bot-name", default="BOT", help="(%(default)s)")
    add("--no-streamer", action="store_true", help="print an answer when it is whole")
    add("--stop-words", nargs="+", default=[], help="texts that end an answer")
    add("--max-new-tokens", type=int, default=2048, help="(%(default)s)")
    add("--temperature", type=float, default=0.1, help="0 always takes the likeliest (%(default)s)")
    add("--top-k", type=int, default=40, help="0 keeps all (%(default)s)")
    add("--top-p", type=float, default=0.75, help="(%(default)s)")
    add("--repetition-penalty", type=float, default=1.0, help="(%(default)s)")
    add("--seed", type=int, default=0, help="(%(default)s)")
    add("--bits", type=int, choices=(4, 8), help="of a model folder's weights (bitsandbytes)")
    add("--offload-folder", type=Path, help="for what of a model folder memory has no room")
    add("--threads", type=thread_count, help="of the CPU; default: what is fastest")
    add("--trust-remote-code", action="store_true", help="run the folder's own code")
    return parser.parse_args()


def open_model(args: argparse.Namespace) -> Model:
    """Return what answers for the folder.

    Raises:
        ButlerError: if the folder is neither, or an option is not for its kind.
    """
    check_there(args.folder)
    if is_workspace(args.folder):
        for option in ("bits", "offload_folder"):
            if getattr(args, option):
                name = option.replace("_", "-")
                raise ButlerError(
                    f"--{name} is for model folders; the weights of workspace {args.folder} are "
                    "used as they are"
                )
        check_unchanged(args.folder)
        from butler.reference.generate import Engine
        from butler.reference.threads import set_fastest_threads

        engine = Engine.load(args.folder, threads=args.threads, max_batch=1)
        if not args.threads:
            set_fastest_threads(engine, os.cpu_count() or 1)
        return engine
    if not (args.folder / "config.json").is_file():
        raise ButlerError(
            f"{args.folder} is neither a workspace nor a model folder: give one such as "
            "workspaces/w4kv8 or build/merged"
        )
    import torch

    torch.set_num_threads(args.threads or os.cpu_count() or 1)
    try:
        from butler.serve.hf_model import HfModel

        check_unchanged(args.folder)
        return HfModel(args.folder, args.bits, args.offload_folder, args.trust_remote_code)
    except ModuleNotFoundError as error:
        raise ButlerError(lacking(error.name, XTUNER)) from error


class Chat:
    """The turns so far, and the next answer."""

    def __init__(
        self, model: Model, tokenizer: ChatTokenizer, params: SamplingParams, stops: list[str]
    ) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._params, self._stops = params, stops
        self._turns: list[dict[str, str]] = []

    def reset(self, system: str | None) -> None:
        """Forget the chat; begin the next with this system text."""
        self._turns = [{"role": "system", "content": system}] if system else []

    def answer(self, question: str) -> Generator[str, None, None]:
        """Yield the answer's text as it comes; question and answer join the chat.

        Of an answer that is closed before its end, what was yielded joins it.

        Raises:
            ButlerError: if the chat has become too long; it is then as before.
        """
        turns = [*self._turns, {"role": "user", "content": question}]
        prompt = self._tokenizer.encode_chat(turns)
        stream = TextStream(self._tokenizer, self._stops)
        text = ""
        try:
            with closing(
                self._model.stream(prompt, self._params, list(self._tokenizer.stop_ids))
            ) as tokens:
                for token in tokens:
                    piece = stream.push(token)
                    text += piece
                    yield piece
                    if stream.stopped:
                        break
            rest = stream.flush()
            text += rest
            yield rest
        except GeneratorExit:
            if text:
                self._turns = [*turns, {"role": "assistant", "content": text}]
            raise
        self._turns = [*turns, {"role": "assistant", "content": text}]


def command_of(message: str) -> str | None:
    """Return the command that a message is: one of COMMANDS or, after a slash, what there is not.

    Without a slash a command is known, too, as a whole message in whatever case.
    """
    word = message.removeprefix("/").lower()
    known = SAME.get(word, word)
    one_word = message.startswith("/") and len(message.split()) == 1
    return known if known in COMMANDS or one_word else None


def talk(chat: Chat, args: argparse.Namespace) -> None:
    """Read messages until the chat is ended or the input is; print the answers."""
    system = trained_corpus(args.folder).system if args.system_template else args.system
    chat.reset(system)
    say(HINT)
    read = line_reader()
    while True:
        try:
            message = read().strip()
            message.encode()
        except EOFError:
            return
        except UnicodeEncodeError:
            say("error: that line is not UTF-8; let the terminal send UTF-8")
            continue
        command = command_of(message)
        if command == "exit":
            return
        if command == "reset":
            chat.reset(system)
            say("The chat so far is forgotten.")
        elif command == "help":
            say("\n".join(f"/{name} {what}" for name, what in COMMANDS.items()))
            say(f"Ctrl-C ends an answer, Ctrl-D the chat. {KEYS if in_terminal() else ''}".strip())
        elif command is not None:
            say(f"error: there is no command {message}; /help lists them")
        elif message:
            try:
                show(chat.answer(message), args)
            except ButlerError as error:
                say(f"error: {error}")


def say(text: str) -> None:
    """Tell what is no answer."""
    print(text, file=sys.stderr, flush=True)


def show(answer: Generator[str, None, None], args: argparse.Namespace) -> None:
    """Print an answer as it comes, or whole; Ctrl-C ends it, and pressed again the chat."""
    pieces: list[str] = []
    with interruptible() as pressed, closing(answer):
        print(f"{args.bot_name}: ", end="", flush=True)
        for piece in answer:
            pieces.append(piece)
            if not args.no_streamer:
                print(piece, end="", flush=True)
            if pressed():
                break
    print("".join(pieces) if args.no_streamer else "", flush=True)
    if pressed():
        say("The answer is ended; what there is of it stays in the chat.")


def main() -> None:
    """Run the command line."""
    args = parse_args()
    params = SamplingParams(
        max_new_tokens=args.max_new_tokens,
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        repetition_penalty=args.repetition_penalty,
        seed=args.seed,
    )
    named = ChatTemplate.load(args.prompt_template) if args.prompt_template else None
    template = named.to_jinja() if named else None
    model = open_model(args)
    tokenizer = ChatTokenizer(args.folder, args.trust_remote_code, template)
    stops = [*args.stop_words, *(named.stop_words if named else ())]
    try:
        talk(Chat(model, tokenizer, params, stops), args)
    except KeyboardInterrupt:
        print()


if __name__ == "__main__":
    run_cli(main)
