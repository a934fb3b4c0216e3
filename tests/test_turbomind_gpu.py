"""TurboMind on a real GPU: it agrees with the reference engine, and every face of it comes up.

Needs the finished workspaces of the demo (`snakemake all`), in this repository or in the folder
that BUTLER_RUN names, and the tools' environments. Everything runs at once: 32 cores and some
minutes are enough.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from csv import DictReader
from pathlib import Path

import pytest
import yaml

from butler import schemes
from butler.families import FAMILIES
from butler.lmdeploy.release import CONVERTER, quant_policy, serves
from butler.manifest import write_manifest
from real_tools import SCRIPTS, python_of
from toys import TOYS
from turbomind_server import OPENER, compare_on_our_page, post, serve, wait_for_port
from workflow_state import CONFIG, ROOT

pytestmark = pytest.mark.gpu

RUN = Path(os.environ.get("BUTLER_RUN", ROOT)).resolve()
SHIPPED = ("fp16", "kv8", "w4", "w4kv8")  # what the demo makes
VARIANTS = {  # all of these weights
    name: one
    for name, one in schemes.VARIANTS.items()
    if one.weights.name in SHIPPED and serves(CONVERTER, one)
}
BENCHMARKS = ("ceval", "recipe")
HELD_OUT = RUN / "build" / "corpus" / "test.jsonl"
# Many engines share the card here, and each would take its share of all that is free.
CACHE_SHARE = 0.02
QUESTION = "西红柿炒鸡蛋的做法"


def why_not() -> str | None:
    """Return what is missing here, in words; None if nothing is."""
    if not Path("/dev/nvidia0").exists():
        return "no NVIDIA GPU here"
    for name in SHIPPED:
        if not (RUN / "workspaces" / name / "lmdeploy.json").is_file():
            return f"{RUN}/workspaces/{name} is not there or is old: run `snakemake all` first"
    if not HELD_OUT.is_file():
        return f"{HELD_OUT} is missing: run `snakemake all` first"
    for tool in ("lmdeploy", "opencompass"):
        if not Path(python_of(tool)).exists():
            return f"{python_of(tool)} is missing: run `snakemake environments` first"
    return None


if why_not():
    pytest.skip(why_not(), allow_module_level=True)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Return copies of the variants that take little of the card, by name.

    A variant that the run did not make is made here, of the same weights with a plain cache.
    """
    folder = tmp_path_factory.mktemp("served")
    return {name: with_small_cache(name, folder / name) for name in VARIANTS}


def with_small_cache(name: str, target: Path) -> Path:
    hidden, variant = shutil.ignore_patterns(".*"), VARIANTS[name]
    made = name if (RUN / "workspaces" / name).is_dir() else variant.weights.name
    shutil.copytree(RUN / "workspaces" / made, target, copy_function=os.symlink, ignore=hidden)
    path = target / "triton_models" / "weights" / "config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    config["engine_config"]["cache_max_entry_count"] = CACHE_SHARE
    config["engine_config"]["quant_policy"] = quant_policy(variant.kv, CONVERTER)
    path.unlink()
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    (target / "manifest.json").unlink()
    write_manifest(target)
    return target


def agreement_command(name: str, workspace: Path, out: Path) -> list[str]:
    return [
        *(python_of("lmdeploy"), str(SCRIPTS / "check_agreement.py")),
        *("--workspace", str(workspace), "--held-out", str(HELD_OUT)),
        *("--threads", "4", "--out", str(out / f"agreement_{name}.json")),
    ]


def evaluation_command(
    name: str, engine: str, benchmark: str, workspace: Path, out: Path
) -> list[str]:
    (chosen,) = [one for one in CONFIG["benchmarks"] if one["name"] == benchmark]
    label = f"{benchmark}_{name}_{engine}"
    questions = RUN / "build" / "benchmarks" / f"{benchmark}.jsonl"
    return [
        *(sys.executable, str(SCRIPTS / "evaluate_model.py"), "--benchmark", json.dumps(chosen)),
        *("--questions", str(questions), "--repository", str(ROOT)),
        *("--variant", name, "--workspace", str(workspace), "--engine", engine),
        *("--server-python", python_of("lmdeploy")),
        *("--opencompass-python", python_of("opencompass")),
        *("--session-len", str(CONFIG["workspace"]["session_len"])),
        *("--trust-remote-code", "--threads", "2", "--work-dir", str(out / label)),
        *("--max-blank-share", "1"),
        *("--out", str(out / f"{label}.csv"), "--check", str(out / f"{label}.json")),
    ]


@pytest.fixture(scope="module")
def measured(served, tmp_path_factory):
    """Run all comparisons side by side; return their folder and what each printed, by label."""
    out = tmp_path_factory.mktemp("measured")
    commands = {f"agreement_{n}": agreement_command(n, w, out) for n, w in served.items()}
    for benchmark in BENCHMARKS:
        for engine in ("lmdeploy", "reference"):
            for name, workspace in ((name, served[name]) for name in SHIPPED):
                label = f"{benchmark}_{name}_{engine}"
                commands[label] = evaluation_command(name, engine, benchmark, workspace, out)
    with ThreadPoolExecutor(max(4, (os.cpu_count() or 4) * 3 // 4)) as pool:
        texts = dict(zip(commands, pool.map(run, commands.values()), strict=True))
    return out, texts


def run(command: list[str]) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=400)
    return f"exit code {done.returncode}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize("name", VARIANTS)
def test_turbomind_agrees_with_the_reference_engine(measured, name, capsys):
    out, texts = measured
    path = out / f"agreement_{name}.json"
    assert path.is_file(), texts[f"agreement_{name}"]
    record = json.loads(path.read_text(encoding="utf-8"))
    with capsys.disabled():
        print("\n" + json.dumps({"variant": name, **record["measured"]}, ensure_ascii=False))
    assert record["passed"], record["sentence"]


# Not "benchmark": that is a fixture of pytest-benchmark, where it is installed.
@pytest.mark.parametrize("asked", BENCHMARKS)
@pytest.mark.parametrize("name", SHIPPED)
def test_benchmark_scores_are_within_one_question(measured, name, asked, capsys):
    out, texts = measured
    scores, questions = {}, 0
    for engine in ("lmdeploy", "reference"):
        label = f"{asked}_{name}_{engine}"
        assert (out / f"{label}.csv").is_file(), texts[label]
        check = json.loads((out / f"{label}.json").read_text(encoding="utf-8"))
        assert check["measured"]["engine"] == ("turbomind" if engine == "lmdeploy" else engine)
        questions = check["measured"]["questions"]
        with (out / f"{label}.csv").open(encoding="utf-8") as stream:
            scores[engine] = list(DictReader(stream))[-1]
    difference = abs(float(scores["turbomind"]["score"]) - float(scores["reference"]["score"]))
    with capsys.disabled():
        both = {engine: row["score"] for engine, row in scores.items()}
        print("\n" + json.dumps({"variant": name, "benchmark": asked, **both}))
    assert scores["turbomind"]["metric"] == scores["reference"]["metric"]
    assert difference <= 100 / questions + 0.01


def stop(process: subprocess.Popen, url: str) -> None:
    """End a server as a user does, and see it go."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    with pytest.raises(OSError):
        OPENER.open(url, timeout=5)


def test_the_api_answers_whole_and_streaming(served, tmp_path):
    process = serve(
        *("lmdeploy", served["w4kv8"], tmp_path),
        *("--model-name", "recipes", "--session-len", "1024", "--tp", "1"),
    )
    url = wait_for_port(process, tmp_path)
    body = {
        "model": "recipes",
        "messages": [{"role": "user", "content": QUESTION}],
        "temperature": 0,
        "top_k": 1,
        "max_tokens": 40,
    }
    whole = json.loads(post(f"{url}/v1/chat/completions", body))
    again = json.loads(post(f"{url}/v1/chat/completions", body))
    text = whole["choices"][0]["message"]["content"]
    assert text and text == again["choices"][0]["message"]["content"]  # greedy
    events = post(f"{url}/v1/chat/completions", body | {"stream": True}).split("\n\n")
    lines = [line.removeprefix("data: ") for line in events if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line)["choices"] for line in lines[:-1]]
    streamed = "".join(c[0]["delta"].get("content") or "" for c in chunks if c)
    assert streamed == text
    stop(process, f"{url}/health")


def test_the_terminal_chat_answers_and_leaves(served):
    command = [python_of("lmdeploy"), str(SCRIPTS / "serve.py"), "--as", "chat"]
    command += ["--workspace", str(served["kv8"]), "--engine", "lmdeploy"]
    typed = f"{QUESTION}\n\nexit\n\n"
    done = subprocess.run(command, input=typed, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert "double enter to end input" in done.stdout
    answer = done.stdout.split(QUESTION)[-1].split("double enter")[0]
    assert len(answer.strip()) > 40, done.stdout[-2000:]


def test_the_page_comes_up_and_answers(served, tmp_path):
    if subprocess.run([python_of("lmdeploy"), "-c", "import gradio"]).returncode != 0:
        pytest.skip("gradio is not in the lmdeploy environment: run `snakemake environments`")
    process = serve("lmdeploy", served["w4"], tmp_path, "--as", "gradio")
    url = wait_for_port(process, tmp_path)
    with OPENER.open(url + "/", timeout=30) as page:
        assert page.status == 200
        assert "gradio" in page.read().decode().lower()
    # The box's submit: question, history, two buttons, session, top-p, temperature, new tokens.
    [[question, answer]] = ask_page(url, [QUESTION, [], None, None, 1, 0.8, 0.7, 64])[1]
    assert question == QUESTION and len(answer.strip()) > 10
    stop(process, url)


def test_our_page_compares_two_variants(served, tmp_path):
    compare_on_our_page([served["fp16"], served["w4kv8"]], tmp_path)


def ask_page(url: str, data: list) -> list:
    """Ask through a page's own queue, as its JavaScript does; return what it shows."""
    with OPENER.open(f"{url}/config", timeout=30) as answer:
        config = json.load(answer)
    prefix = config.get("api_prefix", "")
    asked = next(d for d in config["dependencies"] if len(d["inputs"]) == len(data))
    event = {"data": data, "fn_index": asked["id"], "session_hash": "test"}
    post(f"{url}{prefix}/queue/join", event)
    with OPENER.open(f"{url}{prefix}/queue/data?session_hash=test", timeout=60) as stream:
        for line in stream:
            message = json.loads(line.removeprefix(b"data: ")) if line.strip() else {}
            assert message.get("success", True), message
            if message.get("msg") == "process_completed":
                return message["output"]["data"]
    raise AssertionError("the page's queue ended without an answer")


def lmdeploy_script(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [python_of("lmdeploy"), str(SCRIPTS / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def checked(name, folder, *words):
    """Return what a check of a workspace measured through TurboMind."""
    out = folder / f"{name}.json"
    engine = ("--engine", "lmdeploy", "--chat-template", "internlm2_chat", "--limit", 0.02)
    done = lmdeploy_script(name, *words, "--held-out", HELD_OUT, *engine, "--out", out)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(out.read_text(encoding="utf-8"))["measured"]


def test_the_checks_of_a_workspace_ask_turbomind(served, tmp_path):
    merged = ("--model", RUN / "build" / "merged", "--format", "hf", "--lmdeploy-limit", 0.02)
    found = checked("check_workspace.py", tmp_path, "--workspace", served["fp16"], *merged)
    assert (found["engine"], found["sequences"] > 8) == ("turbomind", True)
    cache = checked("check_kv_cache.py", tmp_path, "--workspace", served["kv8"])
    assert cache["engine"] == "turbomind" and cache["difference"] != 0
    assert cache["nll_fp16"] == pytest.approx(found["nll_workspace"], abs=1e-3)


def check_likelihoods(workspace: Path, folder: Path) -> None:
    """Assert that both engines find held-out texts as likely, whatever a model would answer.

    Random weights have no clear favourites among the tokens: only likelihoods are comparable.
    """
    settings = ("--kv", "fp16", "--cache-max-entry-count", CACHE_SHARE)
    settings += ("--session-len", 1024, "--out", folder / "fp16")
    done = lmdeploy_script("variant.py", "--workspace", workspace, *settings)
    assert done.returncode == 0, done.stderr[-2000:]
    out = folder / "agreement.json"
    lmdeploy_script(
        *("check_agreement.py", "--workspace", folder / "fp16", "--held-out", HELD_OUT),
        *("--texts", 8, "--questions", 8, "--threads", 4, "--out", out),
    )
    measured = json.loads(out.read_text(encoding="utf-8"))["measured"]
    assert measured["largest_difference"] < 0.005, measured


# Of Qwen3's workspaces TurboMind leaves the norms of heads out, so it is given none.
SERVED_TOYS = [toy for toy in TOYS.values() if not FAMILIES[toy.architecture].heads_normed]


@pytest.mark.parametrize("toy", SERVED_TOYS, ids=str)
def test_turbomind_computes_each_base_as_the_reference_engine_does(toy, tmp_path):
    made = ("--model", toy.base(tmp_path / "toy"), "--format", "hf", "--out", tmp_path / "plain")
    done = lmdeploy_script("workspace.py", *made)
    assert done.returncode == 0, done.stderr[-2000:]
    check_likelihoods(tmp_path / "plain", tmp_path)


@pytest.mark.skipif(
    len(list(Path("/dev").glob("nvidia[0-9]*"))) < 2, reason="tensor parallelism needs two GPUs"
)
def test_two_gpus_share_a_workspace(tmp_path):
    # The demo has one key-value head, which two GPUs cannot share.
    model, base = tmp_path / "model", tmp_path / "base"
    maker = [str(ROOT / "tests" / "make_tiny_model.py"), "internlm"]
    tokenizer = str(ROOT / "data" / "base" / "tiny")
    subprocess.run([python_of("xtuner"), *maker, tokenizer, str(model)], check=True)
    made = [python_of("xtuner"), str(SCRIPTS / "base_model.py"), "--model", str(model)]
    subprocess.run([*made, "--chat-template", "internlm2_chat", "--out", str(base)], check=True)
    half = tmp_path / "half"
    split = ("--model", base, "--format", "hf", "--tp", 2, "--out", half)
    done = lmdeploy_script("workspace.py", *split)
    assert done.returncode == 0, done.stderr[-2000:]
    check_likelihoods(half, tmp_path)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--tp", "2"], "is not what"),
        (["--session-len", "2000000000"], "GiB of GPU memory"),
        (["--as", "chat", "--session-len", "1000"], "too short for LMDeploy's terminal chat"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(served, more, sentence):
    command = [python_of("lmdeploy"), str(SCRIPTS / "serve.py"), "--engine", "lmdeploy"]
    command += ["--workspace", str(served["fp16"]), *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert sentence in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_hidden_gpu_is_one_sentence(served):
    command = [python_of("lmdeploy"), str(SCRIPTS / "serve.py"), "--engine", "lmdeploy"]
    command += ["--workspace", str(served["fp16"])]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 1
    assert "TurboMind needs a CUDA GPU" in done.stderr.splitlines()[-1]
