"""The page in one language: Gradio's ChatInterface, with one model or two side by side."""

from collections.abc import AsyncIterator, Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import gradio as gr

from butler.web.ask import ChatOptions, Reply, ask
from butler.web.conversation import as_message, conversation
from butler.web.feedback import keep
from butler.web.models import Served
from butler.web.subject import DISHES, Subject
from butler.web.words import Words

ALONE = ""  # the value of "compare with nothing"
DEFAULTS = ChatOptions()
CONCURRENT, WAITING = 8, 64  # questions of all visitors
HISTORY = "recipe-butler"  # a fixed name and key: what a browser keeps outlives the page's server

Answers = AsyncIterator[tuple[list[dict[str, Any]], str]]


def build(
    models: Sequence[Served], subject: Subject, words: Words, other: str, feedback: Path | None
) -> gr.Blocks:
    """Return the page; `other` is the address of the one in the other language.

    `feedback` is the file that keeps what visitors think of answers; None leaves the buttons out.
    """
    names = [model.name for model in models]
    head = files("butler.web").joinpath("head.html").read_text(encoding="utf-8")
    with gr.Blocks(
        title=words.title,
        theme=_theme(),
        css=files("butler.web").joinpath("style.css").read_text(encoding="utf-8"),
        head=head.replace("{language}", words.language),
        analytics_enabled=False,
    ) as page:
        _header(words, other, subject)
        with gr.Row(elem_id="models", visible=len(names) > 1):
            first = gr.Dropdown(names, value=names[0], label=words.model, elem_id="first")
            choices = [(words.alone, ALONE), *((name, name) for name in names)]
            second = gr.Dropdown(choices, value=ALONE, label=words.second, elem_id="second")
        settings, markdown = _settings(subject.system, words)
        status = gr.Markdown(elem_id="status", render=False)
        answer, hint = _answerer(models, subject, words), words.hint(subject)
        chat = _chat(answer, [first, second, *settings], status, words, hint)
        status.render()
        if subject.ending:
            gr.Examples([*DISHES], chat.textbox, label=words.examples, elem_id="examples")
        markdown.change(
            lambda on: gr.Chatbot(type="messages", render_markdown=on), markdown, chat.chatbot
        )
        if feedback:
            _keep_feedback(chat, feedback)
            gr.Markdown(words.feedback.format(file=feedback.name))
    return page.queue(max_size=WAITING)


def _theme() -> gr.themes.ThemeClass:
    """Return the theme: the fonts of the reader's own system, and colours of enough contrast."""
    return gr.themes.Soft(
        primary_hue="orange", font=["system-ui", "sans-serif"], font_mono=["ui-monospace"]
    ).set(
        block_title_text_color="*primary_800",
        block_label_text_color="*primary_800",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
    )


def _header(words: Words, other: str, subject: Subject) -> None:
    gr.HTML(
        f'<header><h1>{words.title}</h1><a href="{other}">{words.other}</a></header>'
        f"<p>{words.about(subject)}</p>",
        elem_id="head",
    )


def _answerer(models: Sequence[Served], subject: Subject, words: Words) -> Callable[..., Answers]:
    """Return what ChatInterface calls for an answer."""
    by_name = {model.name: model for model in models}

    async def answer(
        message: str,
        history: list[dict[str, Any]],
        first: str,
        second: str,
        in_turn: bool,
        *sampling: Any,
    ) -> Answers:
        asked = [by_name[name] for name in (first, second) if name != ALONE]
        spoken = [conversation(history, message, one.name, subject.ending) for one in asked]
        options = _options(words, *sampling)
        notes = []
        if (sent := spoken[0][-1]["content"]) != message.strip():
            notes.append(words.asked_as.format(question=sent))
        if len(asked) > 1 and not in_turn and len({one.machine() for one in asked}) == 1:
            notes.append(words.same_machine)
        async for replies in ask(asked, spoken, options, in_turn):
            # Nothing is shown of what has not begun: once stopped, it would stay.
            begun = any(reply.text or reply.done for reply in replies)
            messages = [as_message(reply, words, len(models) > 1) for reply in replies]
            said = [_status(reply, words) for reply in replies]
            yield messages if begun else [], "  \n".join(filter(None, said + notes))

    return answer


def _status(reply: Reply, words: Words) -> str:
    if reply.restarting:
        return words.restarting.format(model=reply.model)
    if reply.first is None:
        return ""
    text = words.times.format(model=reply.model, first=reply.first, seconds=reply.seconds)
    if reply.tokens and reply.seconds:
        text += words.speed.format(tokens=reply.tokens, rate=reply.tokens / reply.seconds)
    return text


def _chat(
    answer: Callable[..., Answers],
    inputs: list[gr.components.Component],
    status: gr.Markdown,
    words: Words,
    hint: str,
) -> gr.ChatInterface:
    chat = gr.ChatInterface(
        answer,
        type="messages",
        chatbot=gr.Chatbot(
            type="messages",
            label=words.chat,
            show_label=False,
            layout="panel",
            height="max(20rem, 50vh)",
            render_markdown=False,
            group_consecutive_messages=False,
            show_copy_button=True,
            allow_tags=True,
            elem_id="chat",
        ),
        textbox=gr.Textbox(
            label=hint,
            placeholder=hint,
            submit_btn=words.send,
            stop_btn=words.stop,
            # No autofocus: on a phone it scrolls the title and the languages out of sight.
            max_lines=8,
            elem_id="box",
        ),
        validator=lambda text: gr.validate(bool(text.strip()), words.nothing_asked),
        additional_inputs=inputs,
        additional_outputs=[status],
        save_history=True,
        concurrency_limit=CONCURRENT,
        analytics_enabled=False,
    )
    # What ChatInterface has no argument for.
    chat.new_chat_button.value = words.new_chat
    chat.saved_conversations.storage_key = chat.saved_conversations.secret = HISTORY
    return chat


def _settings(
    system: str, words: Words
) -> tuple[list[gr.components.Component], gr.components.Component]:
    """Lay out what is folded away: what `answer` takes, in its order, and the Markdown switch."""
    with gr.Accordion(words.settings, open=False, elem_id="more"):
        in_turn = gr.Checkbox(label=words.in_turn, elem_id="in-turn")
        markdown = gr.Checkbox(label=words.markdown, elem_id="markdown")
        text = gr.Textbox(system, label=words.system, lines=3, elem_id="system")
        with gr.Row():
            heat = gr.Slider(0, 2, DEFAULTS.temperature, step=0.05, label=words.temperature)
            top_p = gr.Slider(0.05, 1, DEFAULTS.top_p, step=0.05, label=words.top_p)
            top_k = gr.Slider(0, 100, DEFAULTS.top_k, step=1, label=words.top_k)
        with gr.Row():
            repetition = gr.Slider(
                0.8, 1.5, DEFAULTS.repetition_penalty, step=0.01, label=words.repetition
            )
            longest = gr.Slider(
                16, 2048, DEFAULTS.max_tokens, step=16, label=words.max_tokens, elem_id="longest"
            )
            # A Number without a value shows 0, which is a seed.
            seed = gr.Textbox(
                label=words.seed, placeholder=words.seed_hint, max_lines=1, elem_id="seed"
            )
    return [in_turn, text, heat, top_p, top_k, repetition, longest, seed], markdown


def _options(
    words: Words,
    system: str,
    temperature: float,
    top_p: float,
    top_k: float,
    repetition: float,
    longest: float,
    seed: str,
) -> ChatOptions:
    digits = seed.strip()
    if digits and not (digits.isascii() and digits.isdigit()):
        raise gr.Error(words.bad_seed, print_exception=False)
    return ChatOptions(
        system=system,
        temperature=temperature,
        top_p=top_p,
        top_k=int(top_k),
        repetition_penalty=repetition,
        max_tokens=int(longest),
        seed=int(digits) if digits else None,
    )


def _keep_feedback(chat: gr.ChatInterface, file: Path) -> None:
    def liked(history: list[dict[str, Any]], given: gr.LikeData) -> None:
        keep(file, history, given.index, given.liked)

    chat.chatbot.like(liked, chat.chatbot, None, show_api=False)
