"""The page itself, in Gradio: Chinese first, one column on a phone."""

from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any

import gradio as gr

from butler.web.ask import ChatOptions, Served, ask, question
from butler.web.view import show

ALONE = "不对比"
DISHES = ("西红柿炒鸡蛋", "土豆烧排骨", "清炒丝瓜", "冬瓜排骨汤", "凉拌豆角", "香菇蒸蛋")
MAX_DISH = 200
DEFAULTS = ChatOptions()


def build(models: Sequence[Served], system: str) -> gr.Blocks:
    """Return the page for these models; `system` is the text that they were trained with."""
    by_name = {model.name: model for model in models}
    # Fonts of the reader's own system; the theme's would come from elsewhere.
    theme = gr.themes.Soft(
        primary_hue="orange", font=["system-ui", "sans-serif"], font_mono=["ui-monospace"]
    )
    style = files("butler.web").joinpath("style.css").read_text(encoding="utf-8")
    with gr.Blocks(title="菜谱小管家", theme=theme, css=style, analytics_enabled=False) as page:
        gr.HTML("<h1>菜谱小管家</h1><p>说一道菜，告诉您用什么、怎么做。</p>", elem_id="head")
        with gr.Row(elem_id="ask"):
            dish = gr.Textbox(
                show_label=False,
                placeholder="想做什么菜？例如：西红柿炒鸡蛋",
                max_length=MAX_DISH,
                autofocus=True,
                scale=5,
                elem_id="dish",
            )
            go = gr.Button("教我做", variant="primary", scale=1, min_width=96, elem_id="go")
            stop = gr.Button("停", scale=0, min_width=64, elem_id="stop")
        with gr.Row(elem_id="examples"):
            chips = [gr.Button(name, size="sm", min_width=80) for name in DISHES]
        names = list(by_name)
        with gr.Row(elem_id="models"):
            first = gr.Dropdown(names, value=names[0], label="模型", elem_id="first")
            second = gr.Dropdown([ALONE, *names], value=ALONE, label="对比", elem_id="second")
        choices = _settings(system)
        with gr.Row(elem_id="answers"):
            left = gr.HTML(elem_id="left")
            right = gr.HTML(visible=False, elem_id="right")

        def answer(dish: str, first: str, second: str, *chosen: Any) -> Iterator[tuple[str, Any]]:
            if not dish.strip():
                raise gr.Error("先写一道菜名。", print_exception=False)
            asked = [by_name[name] for name in (first, second) if name != ALONE]
            for replies in ask(asked, question(dish), _read(*chosen)):
                shown = [show(reply) for reply in replies]
                other = shown[1] if len(shown) > 1 else ""
                yield shown[0], gr.update(value=other, visible=bool(other))

        wired = {"inputs": [dish, first, second, *choices], "outputs": [left, right]}
        wired |= {"concurrency_limit": 8, "show_progress": "hidden"}
        running = [go.click(answer, **wired), dish.submit(answer, **wired)]
        for chip, name in zip(chips, DISHES, strict=True):
            filled = chip.click(lambda name=name: name, outputs=dish, show_progress="hidden")
            running.append(filled.then(answer, **wired))
        stop.click(None, cancels=running)
    return page.queue(max_size=64)


def _settings(system: str) -> list[gr.components.Component]:
    """Lay out what is folded away; the order is that of `_read`."""
    with gr.Accordion("更多设置", open=False, elem_id="more"):
        texts = gr.Textbox(system, label="系统提示词", lines=3, elem_id="system")
        with gr.Row():
            heat = gr.Slider(
                0, 2, DEFAULTS.temperature, step=0.05, label="温度（0 每次都取最可能的字）"
            )
            top_p = gr.Slider(0.05, 1, DEFAULTS.top_p, step=0.05, label="top_p")
            top_k = gr.Slider(0, 100, DEFAULTS.top_k, step=1, label="top_k（0 不限）")
        with gr.Row():
            repetition = gr.Slider(
                0.8, 1.5, DEFAULTS.repetition_penalty, step=0.01, label="重复惩罚（1 不惩罚）"
            )
            longest = gr.Slider(
                16, 2048, DEFAULTS.max_tokens, step=16, label="最多词元", elem_id="longest"
            )
            # A Number without a value shows 0, which is a seed.
            seed = gr.Textbox(
                label="随机种子", placeholder="留空则每次不同", max_lines=1, elem_id="seed"
            )
    return [texts, heat, top_p, top_k, repetition, longest, seed]


def _read(
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
        raise gr.Error("随机种子要是一个整数。", print_exception=False)
    return ChatOptions(
        system=system,
        temperature=temperature,
        top_p=top_p,
        top_k=int(top_k),
        repetition_penalty=repetition,
        max_tokens=int(longest),
        seed=int(digits) if digits else None,
    )
