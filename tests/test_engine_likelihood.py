"""Likelihoods by streaming: those of the engine that holds all weights, in bounded memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from real_tools import SCRIPTS
from tiny_workspace import Tiny, tokens

torch = pytest.importorskip("torch")

from butler.errors import ButlerError
from butler.lmdeploy.workspace_files import WEIGHTS
from butler.reference.generate import Engine
from butler.reference.likelihood import StreamingEngine, compare, workspace_likelihoods
from butler.reference.workspace_reader import Workspace

KINDS = ("fp16", "int8", "int4")


SEQUENCES = [tokens(40, 1), tokens(7, 2), tokens(90, 3), tokens(2, 4)]


@pytest.mark.parametrize("tiny", [Tiny(heads=4, kv_heads=2), Tiny(w4=True, bias=True, layers=1)])
def test_streamed_likelihoods_are_those_of_the_loaded_engine(tmp_path: Path, tiny: Tiny) -> None:
    path = tiny.build(tmp_path / "ws")
    passes = []
    found = StreamingEngine(Workspace(path)).likelihoods(
        SEQUENCES, KINDS, lambda kind, count: passes.append((kind, count))
    )
    assert passes == [(kind, 4) for kind in KINDS]
    for kind in KINDS:
        engine = Engine.load(path, kv=kind, threads=1)
        for sequence, losses in zip(SEQUENCES, found[kind].losses, strict=True):
            assert len(losses) == len(sequence) - 1
            # A last-bit difference of a key can move its code by one step.
            atol = {"fp16": 2e-4, "int8": 2e-3, "int4": 2e-2}[kind]
            assert float(losses.mean()) == pytest.approx(engine.nll(sequence), abs=atol)


def test_losses_and_divergences_are_those_of_whole_logits() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = {kind: torch.randn(9, 16, generator=generator) for kind in ("a", "b")}
    head = torch.randn(1000, 16, generator=generator)
    wanted = torch.randint(1000, (9,), generator=generator)
    blocks = [dict.fromkeys(hidden, block) for block in head.split(300)]
    found = compare(hidden, wanted, blocks)
    log_p, log_q = ((states @ head.t()).log_softmax(-1) for states in hidden.values())
    expected = {
        "a": (-log_p[range(9), wanted], torch.zeros(9)),
        "b": (-log_q[range(9), wanted], (log_p.exp() * (log_p - log_q)).sum(-1)),
    }
    for kind, (losses, divergences) in expected.items():
        torch.testing.assert_close(found[kind].losses[0], losses, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found[kind].divergences[0], divergences, atol=1e-4, rtol=1e-4)
    for kind, log in {"a": log_p, "b": log_q}.items():
        assert found[kind].tops[0].tolist() == log.argmax(-1).tolist()


def test_two_workspaces_are_compared_at_the_counted_tokens_alone(tmp_path: Path) -> None:
    tinies = {"one": Tiny(layers=1), "other": Tiny(layers=1, seed=1)}
    workspaces = {n: Workspace(tiny.build(tmp_path / n)) for n, tiny in tinies.items()}
    counted = [[place >= 3 for place in range(len(one))] for one in SEQUENCES[:3]]
    found = workspace_likelihoods(workspaces, SEQUENCES[:3], counted)
    for index, sequence in enumerate(SEQUENCES[:3]):
        log_p, log_q = (tiny.logits(sequence)[2:-1].log_softmax(-1) for tiny in tinies.values())
        expected = {
            "divergences": (log_p.exp() * (log_p - log_q)).sum(-1),
            "losses": -log_q[range(len(log_q)), sequence[3:]],
        }
        for name, values in expected.items():
            shown = getattr(found["other"], name)[index]
            torch.testing.assert_close(shown, values, atol=2e-2, rtol=1e-2)
        assert found["other"].tops[index].tolist() == log_q.argmax(-1).tolist()
        assert float(found["one"].divergences[index].max()) == 0


def test_workspaces_of_unlike_vocabularies_do_not_compare(tmp_path: Path) -> None:
    workspaces = {
        str(vocab): Workspace(Tiny(layers=1, vocab=vocab).build(tmp_path / str(vocab)))
        for vocab in (300, 308)
    }
    with pytest.raises(ButlerError, match="308.*vocabulary of 308 tokens.*300.*of 300"):
        workspace_likelihoods(workspaces, [[7, 8]], [[False, True]])


@pytest.mark.parametrize("sequence", [[7], tokens(700, 0), [7, 300]])
def test_a_sequence_that_cannot_be_judged_is_told(tmp_path: Path, sequence: list[int]) -> None:
    engine = StreamingEngine(Workspace(Tiny(layers=1).build(tmp_path / "ws")))
    with pytest.raises(ButlerError, match=r"takes 2 to 640 tokens|outside the vocabulary of 300"):
        engine.likelihoods([sequence], ["fp16"])


JUDGE = """
import math, resource, sys
from pathlib import Path
from butler.reference.likelihood import StreamingEngine
from butler.reference.workspace_reader import Workspace

workspace = Workspace(Path(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = StreamingEngine(workspace).likelihoods([list(range(9))], ["int8"])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
assert abs(float(found["int8"].losses[0].mean()) - math.log(workspace.config.vocab)) < 1e-3
"""


def test_memory_holds_one_layer_at_a_time(tmp_path: Path) -> None:
    shape = Tiny(hidden=1024, heads=8, kv_heads=8, layers=8, inter=3072, vocab=4000)
    small = Tiny(hidden=256, heads=2, kv_heads=2, layers=8, inter=256)
    path = small.build(tmp_path / "ws")
    (path / WEIGHTS / "config.yaml").write_text(yaml.safe_dump(shape.config()))
    matrix = shape.hidden**2
    sizes = {"w_qkv": 3 * matrix, "wo": matrix, "norm": shape.hidden}
    sizes |= dict.fromkeys(("w1", "w2", "w3"), shape.hidden * shape.inter)
    sizes |= dict.fromkeys(("output", "tok_embeddings"), shape.hidden * shape.vocab)
    total = 0
    for name in small.files:
        [size] = [size for part, size in sizes.items() if part in name]
        total += 2 * size
        with (path / WEIGHTS / name).open("wb") as stream:
            stream.truncate(2 * size)  # zeros that take no room on the disk
    command = [sys.executable, "-c", JUDGE, str(path)]
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    # In fp32 the whole is twice its files; a layer of it is 54 MB.
    assert int(done.stdout) * 1024 < total / 2, f"{done.stdout} KiB of {total} bytes"
