"""What the page says, in Chinese and in English."""

from dataclasses import dataclass

from butler.web.ask import Fault
from butler.web.subject import DISHES, Subject


@dataclass(frozen=True)
class Words:
    """The page's sentences in one language; those in braces are filled in."""

    language: str  # as HTML names it
    other: str  # a link to the page in the other language
    title: str
    greeting: str
    dish_greeting: str  # of models of recipes
    tiny: str
    model: str
    second: str
    alone: str
    placeholder: str
    dish_placeholder: str
    send: str
    stop: str
    new_chat: str
    chat: str
    examples: str
    settings: str
    system: str
    temperature: str
    top_p: str
    top_k: str
    repetition: str
    max_tokens: str
    seed: str
    seed_hint: str
    bad_seed: str
    nothing_asked: str
    markdown: str
    in_turn: str
    same_machine: str
    asked_as: str
    restarting: str
    times: str
    speed: str
    unfinished: str
    empty: str
    feedback: str
    faults: dict[Fault, str]

    def about(self, subject: Subject) -> str:
        """Return what the page says of itself and of its models, below its title."""
        text = self.dish_greeting if subject.ending else self.greeting
        return text if subject.tiny is None else text + self.tiny.format(mib=subject.tiny)

    def hint(self, subject: Subject) -> str:
        """Return what stands in the question's box while that is empty."""
        if subject.ending:
            return self.dish_placeholder.format(dish=DISHES[0])
        return self.placeholder


ZH = Words(
    language="zh-CN",
    other="English",
    title="菜谱小管家",
    greeting="有问题就问；也可以让两个模型并排回答同一个问题。",
    dish_greeting="问一道菜怎么做；也可以让两个模型并排回答同一个问题。",
    tiny="这是演示用的小模型（{mib:.0f} MiB），用来走通流程，回答常常不对。",
    model="模型",
    second="对比",
    alone="不对比",
    placeholder="想问什么？",
    dish_placeholder="想问什么？例如：{dish}怎么做",
    send="发送",
    stop="停止",
    new_chat="新对话",
    chat="对话",
    examples="试试",
    settings="更多设置",
    system="系统提示词",
    temperature="温度（0 表示总取概率最高的词）",
    top_p="top_p",
    top_k="top_k（0 表示不限）",
    repetition="重复惩罚（1 表示不惩罚）",
    max_tokens="回答最多多少个 token",
    seed="随机种子",
    seed_hint="留空则每次不同",
    bad_seed="随机种子应为非负整数。",
    nothing_asked="请先写下问题。",
    markdown="按 Markdown 排版回答",
    in_turn="对比时先后回答，不同时（用时才可比）",
    same_machine="两个模型在同一台机器上同时回答，互相争用资源，用时可能比单独回答长；"
    "要比速度，请在“更多设置”里选先后回答。",
    asked_as="实际提问：{question}",
    restarting="{model} 的服务已退出，正在重新启动……",
    times="{model}：首字 {first:.2f} 秒，共 {seconds:.1f} 秒",
    speed="，{tokens} 个 token，每秒 {rate:.0f} 个",
    unfinished="没有写完：到了长度上限。可在“更多设置”里调大，或开始新对话。",
    empty="模型没有写出内容，换一种问法试试。",
    feedback="对回答点“赞”或“踩”，会把这段对话记入服务端的 {file}。历史对话只存在您的浏览器里。",
    faults={
        Fault.TOO_LONG: "没有回答：问题连同前文超过了模型的长度上限；请缩短问题，或开始新对话。",
        Fault.ENDED: "回答中断：模型服务意外退出；再问一次就会重新启动它。",
        Fault.NOT_STARTED: "没有回答：模型服务没能重新启动，原因见网页服务端的输出。",
        Fault.GONE: "没有完整的回答：模型服务没有响应；请稍后再问。",
        Fault.SLOW: "没有完整的回答：等待超时；请稍后再问。",
        Fault.REFUSED: "没有回答：模型服务拒绝了这个请求。",
    },
)

EN = Words(
    language="en",
    other="中文",
    title="Recipe Butler",
    greeting="Ask a question, or let two models answer it side by side.",
    dish_greeting="Ask how a dish is made, or let two models answer one question side by side.",
    tiny=" This is a small demo model ({mib:.0f} MiB): it shows how things work, "
    "and its answers are often wrong.",
    model="Model",
    second="Compare with",
    alone="nothing",
    placeholder="Your question",
    dish_placeholder="Your question, e.g. {dish}怎么做",
    send="Send",
    stop="Stop",
    new_chat="New chat",
    chat="Conversation",
    examples="Try",
    settings="More settings",
    system="System prompt",
    temperature="Temperature (0 always takes the likeliest token)",
    top_p="top_p",
    top_k="top_k (0: no limit)",
    repetition="Repetition penalty (1: none)",
    max_tokens="Tokens of an answer at most",
    seed="Random seed",
    seed_hint="empty: another each time",
    bad_seed="The random seed must be a whole number, 0 or more.",
    nothing_asked="Write a question first.",
    markdown="Lay answers out as Markdown",
    in_turn="Compare one after the other, not at once (only then can times be compared)",
    same_machine="Both models answered at once on one machine, so each may have taken longer than "
    "alone; to compare times, choose “one after the other” under “More settings”.",
    asked_as="Asked as: {question}",
    restarting="The server of {model} has ended; it is being started again…",
    times="{model}: first word after {first:.2f} s, {seconds:.1f} s in all",
    speed=", {tokens} tokens, {rate:.0f} a second",
    unfinished="Not finished: the limit of its length was reached. Raise it under “More settings”, "
    "or begin a new chat.",
    empty="The model wrote nothing; try to ask in other words.",
    feedback="A thumb up or down keeps this conversation in {file} on the server. "
    "Past conversations are kept in your browser alone.",
    faults={
        Fault.TOO_LONG: "No answer: the question and the conversation before it are longer than "
        "the model takes; shorten the question, or begin a new chat.",
        Fault.ENDED: "The answer broke off: the model's server ended; ask again to start it anew.",
        Fault.NOT_STARTED: "No answer: the model's server could not be started again; "
        "whoever runs this page finds the reason in its output.",
        Fault.GONE: "No whole answer: the model's server does not respond; ask again later.",
        Fault.SLOW: "No whole answer: it took too long; ask again later.",
        Fault.REFUSED: "No answer: the model's server refused the request.",
    },
)

LANGUAGES = {"zh": ZH, "en": EN}


def language_of(accepted: str) -> str:
    """Return the language, of LANGUAGES, that a browser asks for (its Accept-Language); else en."""
    wanted: list[tuple[float, str]] = []
    for part in accepted.lower().split(","):
        name, _, quality = part.strip().partition(";q=")
        try:
            wanted.append((-float(quality or 1), name[:2]))
        except ValueError:
            continue  # not as the header must be
    codes = [code for _, code in sorted(wanted, key=lambda one: one[0]) if code in LANGUAGES]
    return codes[0] if codes else "en"
