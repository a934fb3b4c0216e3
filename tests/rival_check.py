"""A training and a merge against transformers and PEFT alone; prints JSON (a trainer's Python).

usage: rival_check.py RUN

RUN is a folder in which the workflow trained without dropout and merged. XTuner runs again with
its very configuration, while a hook keeps the first adapter, each pack and each learning rate. The
rival is a loop of ours over PEFT's model with torch's AdamW on those packs. Then the merged model's
logits are held against those of PEFT's unmerged one.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow" / "scripts"), str(ROOT / "tests")]

import torch
from mmengine.hooks import Hook

from adapter_check import load

RECORD = "record.pt"
TOKENS = 200  # of the text whose logits are compared


class Recorder(Hook):
    """Keeps what a training began with and saw, and each loss; for a configuration's hooks."""

    def before_train(self, runner):
        named = runner.model.llm.named_parameters()
        self.start = {n: p.detach().clone() for n, p in named if p.requires_grad}
        self.steps = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        packs = {k: data_batch["data"][k].clone() for k in ("input_ids", "labels")}
        self.steps.append(packs | {"lr": runner.optim_wrapper.get_lr()["lr"][0]})

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.steps[-1]["loss"] = float(outputs["loss"])

    def after_train(self, runner):
        named = runner.model.llm.named_parameters()
        end = {n: p.detach().clone() for n, p in named if p.requires_grad}
        found = {"start": self.start, "steps": self.steps, "end": end}
        torch.save(found, Path(runner.work_dir, RECORD))


def trained_again(run, scratch):
    """Run XTuner as the workflow did, with the recorder among its hooks; return what it kept."""
    from butler.tools import tool_environment

    config = (run / "build/train/config.py").read_text(encoding="utf-8")
    config += "\nfrom rival_check import Recorder\ncustom_hooks.append(dict(type=Recorder))\n"
    (scratch / "config.py").write_text(config, encoding="utf-8")
    environment = tool_environment(scratch / "cache", 2, TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD="1")
    environment["PYTHONPATH"] += os.pathsep + str(ROOT / "tests")
    command = [sys.executable, "-m", "butler.xtuner", str(scratch / "config.py")]
    done = subprocess.run(
        [*command, "--work-dir", str(scratch / "work")],
        env=environment,
        cwd=run,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(scratch / "work" / RECORD, weights_only=False)


def rival(run, record):
    """Train PEFT's model on the recorded packs; return the losses and the adapter's distance."""
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    settings = json.loads((run / "build/adapter/adapter_config.json").read_text(encoding="utf-8"))
    model = load(run / "build/base", nf4=True)
    model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    names = {name.rpartition(".lora_")[0].rpartition(".")[2] for name in record["start"]}
    lora = LoraConfig(
        r=settings["r"],
        lora_alpha=settings["lora_alpha"],
        lora_dropout=0.0,
        target_modules=sorted(names),
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(model, lora).train()
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert trained.keys() == record["start"].keys()
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(record["start"][name])
    optimiser = torch.optim.AdamW(trained.values(), betas=(0.9, 0.999), weight_decay=0.0)
    losses = []
    for step in record["steps"]:
        optimiser.param_groups[0]["lr"] = step["lr"]
        loss = model(input_ids=step["input_ids"], labels=step["labels"], use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    moved = sum(float((record["end"][n] - record["start"][n]).pow(2).sum()) for n in trained)
    apart = sum(float((record["end"][n] - trained[n]).detach().pow(2).sum()) for n in trained)
    return losses, (apart / moved) ** 0.5, sorted(names)


def logits_apart(run, ids):
    """Return how far the merged model's logits are from PEFT's, and from the base's, relatively."""
    from peft import PeftModel

    base = load(run / "build/base")
    merged = load(run / "build/merged")
    with torch.inference_mode():
        plain = base(input_ids=ids, use_cache=False).logits
        found = merged(input_ids=ids, use_cache=False).logits
        adapted = PeftModel.from_pretrained(base, str(run / "build/adapter")).eval()
        wanted = adapted(input_ids=ids, use_cache=False).logits
    size = wanted.std()
    return float((found - wanted).abs().max() / size), float((found - plain).abs().max() / size)


def main():
    run = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        os.environ["HF_HOME"] = str(scratch / "hub")
        record = trained_again(run, scratch)
        losses, apart, names = rival(run, record)
        ids = record["steps"][0]["input_ids"][:1, :TOKENS]
        merged_apart, learnt = logits_apart(run, ids)
    with (run / "build/train/loss.csv").open(encoding="utf-8") as stream:
        logged = [float(row["loss"]) for row in csv.DictReader(stream)]
    found = {
        "logged": logged,
        "xtuner": [step["loss"] for step in record["steps"]],
        "rival": losses,
        "adapter_apart": apart,
        "with_lora": names,
        "merged_apart": merged_apart,
        "learnt": learnt,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
