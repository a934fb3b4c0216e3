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
    """A toy by name, with the architecture, the chat template and the real base it stands for.

    `whole_chain`: whether tests/test_e2e_models.py takes it through all stages; the shipped base
    goes through them as the demo, and each other one has a relative that does.
    """

    name: str
    architecture: str
    template: str
    stands_for: str
    remote_code: bool = False
    whole_chain: bool = True

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


INTERNLM2 = "InternLM2ForCausalLM"
TOYS = {
    one.name: one
    for one in (
        Toy("internlm2", INTERNLM2, "internlm2_chat", "InternLM2", True, whole_chain=False),
        Toy("internlm2_5", INTERNLM2, "internlm2_chat", "InternLM2.5-7B", True),
        Toy("internlm3", "InternLM3ForCausalLM", "internlm2_chat", "InternLM3-8B", True),
        Toy("internlm", "InternLMForCausalLM", "internlm2_chat", "InternLM"),
        Toy("llama", "LlamaForCausalLM", "internlm2_chat", "LLaMA", whole_chain=False),
        Toy("llama3_1", "LlamaForCausalLM", "llama3_chat", "Llama-3.1-8B", whole_chain=False),
        Toy("llama3_2", "LlamaForCausalLM", "llama3_chat", "Llama-3.2-1B"),
        Toy("qwen2", "Qwen2ForCausalLM", "qwen_chat", "Qwen2.5-7B", whole_chain=False),
        Toy("qwen2_5_0_5b", "Qwen2ForCausalLM", "qwen_chat", "Qwen2.5-0.5B"),
        Toy("qwen3", "Qwen3ForCausalLM", "qwen3_chat", "Qwen3-4B"),
    )
}
