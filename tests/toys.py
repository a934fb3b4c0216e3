"""The toys of tests: a base's real architecture at toy size, with random weights.

tests/make_tiny_model.py says what each is like; `internlm2` is the shipped base itself.
"""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from butler.families import FAMILIES
from real_tools import python_of, script
from workflow_state import ROOT

TINY = ROOT / "data" / "base" / "tiny"


@dataclass(frozen=True)
class Toy:
    """A toy by name, with its architecture, its chat template and the overlay of the real base.

    `chain`: what goes through all stages in its place; "toy": itself (tests/test_e2e_models.py).
    `real_shape`: whether the overlay's base was trained on an H200, beside stock XTuner;
    `on_gpu`: what of the base went through TurboMind on an H200 (docs/benchmarks.md).
    """

    name: str
    architecture: str
    template: str
    overlay: str = ""
    remote_code: bool = False
    chain: str = "toy"
    on_gpu: str = "toy"
    real_shape: bool = False

    def __str__(self) -> str:
        return self.name

    @property
    def trainer(self) -> str:
        """The tool that trains it."""
        return FAMILIES[self.architecture].trainer

    def make(self, folder: Path) -> Path:
        """Write the model into a new folder, or return the shipped one's."""
        if self.name == "internlm2":
            return TINY
        maker = [python_of(self.trainer), str(ROOT / "tests" / "make_tiny_model.py")]
        command = [*maker, self.name, str(TINY), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        path = folder / "config.json"
        # InternLM's own code is on the hub alone; its tensors are named as LLaMA's.
        named = json.loads(path.read_text(encoding="utf-8"))
        named["architectures"] = [self.architecture]
        path.write_text(json.dumps(named), encoding="utf-8")
        return folder

    def base(self, folder: Path) -> Path:
        """Make the model into `folder`, and return it as the base's stage leaves it."""
        folder.mkdir(parents=True, exist_ok=True)
        model = self.make(folder / "model")
        done = script(
            self.trainer,
            "base_model.py",
            *("--model", model, *(["--remote-code"] if self.remote_code else [])),
            *("--chat-template", self.template, "--trainer", self.trainer),
            *("--out", folder / "base"),
        )
        assert done.returncode == 0, done.stderr
        return folder / "base"


INTERNLM2, LLAMA, QWEN2 = (f"{name}ForCausalLM" for name in ("InternLM2", "Llama", "Qwen2"))
TOYS = {
    one.name: one
    for one in (
        Toy(
            "internlm2",
            INTERNLM2,
            "internlm2_chat",
            "internlm2_chat_7b",
            remote_code=True,
            chain="the demo",
            on_gpu="toy, 7B's shape",
            real_shape=True,
        ),
        Toy(
            "internlm2_5",
            INTERNLM2,
            "internlm2_chat",
            "internlm2_5_chat_7b",
            remote_code=True,
            real_shape=True,
        ),
        Toy(
            "internlm3",
            "InternLM3ForCausalLM",
            "internlm2_chat",
            "internlm3_8b",
            remote_code=True,
            real_shape=True,
        ),
        Toy("internlm", "InternLMForCausalLM", "internlm2_chat", "internlm_chat_7b"),
        Toy("llama", LLAMA, "internlm2_chat", chain="as llama3_2"),
        Toy(
            "llama3_1",
            LLAMA,
            "llama3_chat",
            "llama3_1_8b",
            chain="as llama3_2",
            real_shape=True,
        ),
        Toy("llama3_2", LLAMA, "llama3_chat", "llama3_2_3b"),
        Toy(
            "qwen2",
            QWEN2,
            "qwen_chat",
            "qwen2_5_7b",
            chain="as qwen2_5_0_5b",
            real_shape=True,
        ),
        Toy("qwen2_5_0_5b", QWEN2, "qwen_chat", "qwen2_5_0_5b", on_gpu="toy, the real 0.5B"),
        Toy(
            "qwen3",
            "Qwen3ForCausalLM",
            "qwen3_chat",
            "qwen3_8b",
            on_gpu="toy, with `lmdeploy: latest`",
            real_shape=True,
        ),
    )
}


def table() -> str:
    """Return the table of docs/bases.md: the bases, and how their stages are shown to be right."""
    columns = ("toy", "overlay", "chat template", "trained in", "training, fast path")
    columns += ("all stages, and against PEFT", "TurboMind on a GPU")
    rows = [columns, ("---",) * len(columns)]
    for toy in TOYS.values():
        overlay = f"[{toy.overlay}](../config/{toy.overlay}.yaml)" if toy.overlay else "none"
        rows.append(
            (
                toy.name,
                overlay,
                toy.template,
                toy.trainer,
                "toy, real shape on a GPU" if toy.real_shape else "toy",
                toy.chain,
                toy.on_gpu,
            )
        )
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
