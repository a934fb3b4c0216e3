"""The locks: every file by its hash, and no environment of a file that has another one."""

import hashlib
import os
import re
import subprocess
import sys
import zipfile

import pytest

import lock_environment
from butler.errors import ButlerError
from workflow_state import ROOT

LOCKS = sorted(p for p in (ROOT / "envs").glob("*.lock") if not p.name.endswith(".torch.lock"))
LOCKS += [ROOT / "requirements.txt", ROOT / "requirements-dev.lock"]
LOCKS_OF = {
    intent.stem: sorted((ROOT / "envs").glob(f"{intent.stem}.*lock"))
    for intent in (ROOT / "envs").glob("*.in")
}
HASHED = re.compile(r"[\w.-]+==\S+( ; [^#]+?)?( --hash=sha256:[0-9a-f]{64})+")
PIN = re.compile(r"^([\w.-]+)==([^\s;\\]+)", re.MULTILINE)
WHEEL = "greeting-1.0-py3-none-any.whl"


def pins(*paths):
    """Return the version of each package, by its normalised name."""
    found = [pin for path in paths for pin in PIN.findall(path.read_text(encoding="utf-8"))]
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_package_of_a_lock_has_the_hashes_of_its_files(lock):
    text = lock.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [" ".join(line.split()) for line in text.splitlines() if not line.startswith("#")]
    assert lines
    assert [line[:60] for line in lines if not HASHED.fullmatch(line)] == []


@pytest.mark.parametrize(
    ("asked", "locked"),
    [
        (["requirements.in"], ["requirements.txt"]),
        (["requirements.txt"], ["requirements-dev.lock"]),
        (["requirements-dev.in"], ["requirements-dev.lock"]),
        (["deploy/requirements.txt"], ["envs/lmdeploy.lock", "envs/lmdeploy.torch.lock"]),
        *(
            ([f"envs/{tool}.in"], [path.relative_to(ROOT) for path in LOCKS_OF[tool]])
            for tool in (
                "xtuner",
                "xtuner-qwen3",
                "lmdeploy",
                "lmdeploy-latest",
                "opencompass",
                "gptq",
            )
        ),
    ],
    ids=lambda names: str(names[-1]),
)
def test_a_lock_has_the_versions_that_were_asked_for(asked, locked):
    wanted, found = (pins(*(ROOT / name for name in names)) for names in (asked, locked))
    assert wanted
    assert wanted.items() <= found.items()


def test_an_intent_may_be_like_another_but_for_what_it_names(tmp_path):
    (tmp_path / "one.in").write_text("a==1  # why\nb>=2\n# --no-deps: why\nc==3\n")
    like = tmp_path / "two.in"
    like.write_text("# --like: one.in\nc==4  # because\n")
    text = lock_environment.asked_for(like)
    assert lock_environment.requirements(text) == ["a==1", "b>=2", "c==4"]
    assert text.index(lock_environment.NO_DEPS) < text.index("c==4")
    like.write_text("# --like: one.in\nd==4\n")
    with pytest.raises(ButlerError, match="two.in: d is not in one.in"):
        lock_environment.asked_for(like)


def test_the_second_trainer_differs_by_its_transformers():
    one, other = (
        lock_environment.requirements(lock_environment.asked_for(ROOT / "envs" / f"{tool}.in"))
        for tool in ("xtuner", "xtuner-qwen3")
    )
    differing = set(one) ^ set(other)
    assert {lock_environment.name_of(line) for line in differing} == {"transformers"}


def test_no_lock_brings_a_nccl_beside_that_of_torch():
    """nvidia-nccl-cu12 and -cu13 write one path: which of them stands depends on the order."""
    names = {name for path in (ROOT / "envs").glob("*.lock") for name in pins(path)}
    assert {"nvidia-cublas-cu12", "nvidia-cuda-runtime-cu12"} <= names
    assert not [name for name in names if name.startswith("nvidia-nccl")]


def test_a_library_of_cuda_is_locked_by_its_exact_version(tmp_path):
    intent = tmp_path / "tool.in"
    intent.write_text("einops\n# --cuda: why\nnvidia-cublas-cu12\n")
    with pytest.raises(ButlerError, match="nvidia-cublas-cu12 stands below '# --cuda'"):
        lock_environment.split(intent)
    intent.write_text("einops  # why\n# --cuda: why==\nnvidia-cublas-cu12==12.4.5.8  # why\n")
    text, cuda = lock_environment.split(intent)
    assert lock_environment.requirements(text) == ["einops"]
    assert cuda == ["nvidia-cublas-cu12==12.4.5.8"]


def make_wheel(folder):
    """Write a package with one module; return the SHA-256 of its file."""
    folder.mkdir()
    files = {
        "greeting.py": "TEXT = 'good day'\n",
        "greeting-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n",
        "greeting-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
        "greeting-1.0.dist-info/RECORD": "",
    }
    with zipfile.ZipFile(folder / WHEEL, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return hashlib.sha256((folder / WHEEL).read_bytes()).hexdigest()


@pytest.mark.parametrize("right", [True, False])
def test_a_file_of_another_hash_leaves_no_environment(tmp_path, right):
    sha256 = make_wheel(tmp_path / "index")
    lock, stamp = tmp_path / "tool.lock", tmp_path / "tool.json"
    lock.write_text(f"greeting==1.0 \\\n    --hash=sha256:{sha256 if right else '0' * 64}\n")
    stamp.write_text("{}")  # of an environment that was built before
    script = ROOT / "workflow" / "scripts" / "build_environment.py"
    command = [sys.executable, script, "--lock", lock, "--into", tmp_path / "tool"]
    index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "index")}
    done = subprocess.run(
        [*map(str, command), "--stamp", str(stamp), "--imports", "greeting"],
        env=os.environ | index | {"PIP_CONFIG_FILE": os.devnull},
        capture_output=True,
        text=True,
    )
    assert (done.returncode == 0, stamp.is_file()) == (right, right), done.stderr
    if not right:
        (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
        assert "the file of greeting==1.0 that the index gave has none of the hashes" in sentence
        assert not list((tmp_path / "tool").rglob("greeting.py"))
