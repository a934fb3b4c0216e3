"""What a tool finds in a toy model of each family, printed as JSON (run by the tool's Python).

usage: family_check.py {xtuner,lmdeploy} ARCHITECTURE=FOLDER…
       family_check.py template OURS=THEIRS…   chat templates by their names
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from butler.chat_template import ChatTemplate
from butler.families import FAMILIES
from butler.hf_folder import ModelTensors


def in_xtuner(architecture, folder):
    """Load the model; name its layers, and what XTuner puts LoRA on."""
    from transformers import AutoModelForCausalLM
    from xtuner.model.utils import find_all_linear_names

    from butler.xtuner.layers import ATTENTION_FORWARDS

    model = AutoModelForCausalLM.from_pretrained(
        folder, trust_remote_code=True, attn_implementation="sdpa"
    )
    layers = {type(module).__name__: module for module in model.modules()}
    return {
        "tensors": ModelTensors(Path(folder)).names(),
        "with_lora": find_all_linear_names(model),
        "layers": {name: [n for n, _ in one.named_children()] for name, one in layers.items()},
        "forwards": list(ATTENTION_FORWARDS),
        "code": code_of_xtuner(FAMILIES[architecture].code),
    }


def code_of_xtuner(module):
    """Return the text of the code that XTuner ships."""
    import importlib.util

    if module is None:
        return None
    folder = Path(importlib.util.find_spec(module).origin).parent
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py")))


def in_lmdeploy(architecture, folder):
    """Choose the reader; say what it makes of the attention's biases."""
    from butler.lmdeploy.on_cpu import without_cuda

    without_cuda()
    from lmdeploy.lite.apis.calibrate import LAYER_TYPE_MAP
    from lmdeploy.turbomind.deploy.source_model.base import INPUT_MODELS
    from lmdeploy.turbomind.supported_models import SUPPORTED_ARCHS, is_supported

    from butler.lmdeploy.lite_maps import complete_maps
    from workspace import keep_biases

    complete_maps()
    readers = dict(SUPPORTED_ARCHS)
    keep_biases(Path(folder), readers)
    reader = INPUT_MODELS.get(readers[architecture])
    return {
        "supported": is_supported(folder),
        "quantised": architecture in LAYER_TYPE_MAP,
        "reads_biases": bool(
            reader(model_path=folder, tokenizer_path=folder).model_info().get("attn_bias")
        ),
    }


def in_template(ours, theirs):
    """Render a conversation by a template of ours and by one that LMDeploy ships."""
    from butler.lmdeploy.on_cpu import without_cuda

    without_cuda()
    from lmdeploy.model import MODELS

    turns = (("system", "S"), ("user", "U"), ("assistant", "A"), ("user", "V"))
    chat = [{"role": role, "content": content} for role, content in turns]
    template, other = ChatTemplate.load(ours), MODELS.get(theirs)()
    return {
        "ours": template.render(chat),
        "theirs": other.messages2prompt(chat),
        "stop_words": [template.stop_words, other.stop_words],
    }


def main():
    looks = {"xtuner": in_xtuner, "lmdeploy": in_lmdeploy, "template": in_template}
    look = looks[sys.argv[1]]
    folders = dict(argument.split("=", 1) for argument in sys.argv[2:])
    print(json.dumps({name: look(name, folder) for name, folder in folders.items()}))


if __name__ == "__main__":
    main()
