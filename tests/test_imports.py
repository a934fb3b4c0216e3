"""Which of our files a script runs: what it imports, starts and names, and nothing else."""

import pytest

from butler.imports import SCRIPTS, code_of


def named(script):
    return {str(path.relative_to(SCRIPTS.parent)) for path in code_of(script)}


# What the rules once had to say by hand: files that a script starts, or that a configuration names.
@pytest.mark.parametrize(
    ("script", "files"),
    [
        ("train.py", ["xtuner/__main__.py", "xtuner/support.py", "xtuner/fast.py"]),
        ("adapter.py", ["xtuner/support.py", "xtuner/fast.py"]),
        ("sample_lengths.py", ["xtuner/support.py", "xtuner/fast.py"]),
        ("training_prompts.py", ["xtuner/support.py", "xtuner/fast.py"]),
        ("quantise_awq.py", ["lmdeploy/auto_awq.py"]),
        ("quantise_w8a8.py", ["lmdeploy/smooth_quant.py"]),
        (
            "butler/benchmarks/opencompass/run_config.py",
            ["benchmarks/opencompass/build.py", "benchmarks/opencompass/parts.py"],
        ),
    ],
)
def test_what_a_script_starts_or_names_is_found(script, files):
    assert {f"scripts/butler/{file}" for file in files} <= named(script)


@pytest.mark.parametrize("script", ["evaluate_model.py", "web.py"])
def test_the_server_that_a_script_starts_is_found(script):
    assert "scripts/serve.py" in named(script)


def test_the_template_that_a_configuration_is_rendered_from_is_found():
    assert "templates/xtuner_config.py.jinja" in named("render_training.py")


def test_stages_do_not_depend_on_what_only_their_help_names():
    assert "scripts/training_prompts.py" not in named("check_template.py")
    assert not any("/xtuner/" in file for file in named("check_merge.py"))
    assert "scripts/butler/xtuner/fast.py" not in named("butler/xtuner/support.py")


@pytest.fixture
def scripts(tmp_path):
    """A small tree of scripts and a package."""
    root = tmp_path / "scripts"
    files = {
        "first.py": "",
        "second.py": "import own.started\n",
        "data.py": "",
        "own/__init__.py": "",
        "own/places.py": "from pathlib import Path\nHERE = Path(__file__).resolve().parents[1]\n",
        "own/started.py": "",
        "own/tool/__init__.py": "",
        "own/tool/__main__.py": "import own.places\n",
        "own/tool/part.py": "",
        "own/form.py.jinja": '"""Not own.started."""\nfrom own.tool.part import {{ name }}\n',
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


FOUND = {
    "import own.started": ["own/__init__.py", "own/started.py"],
    "def f():\n    from own import started": ["own/__init__.py", "own/started.py"],
    "run('-m', 'own.tool')": [
        *("own/__init__.py", "own/places.py", "own/tool/__init__.py", "own/tool/__main__.py")
    ],
    "hook = 'own.started.Hook'": ["own/__init__.py", "own/started.py"],
    "from own.places import HERE\nrun(HERE / 'second.py')": [
        *("own/__init__.py", "own/places.py", "own/started.py", "second.py")
    ],
    "from pathlib import Path\nA = Path(__file__).parent\nB = A.joinpath('own', 'started.py')": [
        "own/started.py"
    ],
    "from pathlib import Path\nA = Path(__file__).with_name('second.py')": [
        *("own/__init__.py", "own/started.py", "second.py")
    ],
    "from pathlib import Path\nA = Path(__file__).parent / 'own' / 'form.py.jinja'": [
        *("own/__init__.py", "own/form.py.jinja", "own/tool/__init__.py", "own/tool/part.py")
    ],
    # What is no code of ours.
    '"""Like own.started."""': [],
    "def f():\n    'own.started'": [],
    "help = 'made by own.started'": [],
    "name = f'{x} own.started'": [],
    "# own.started": [],
    "name = 'data.csv'": [],
    "name = 'second.py'": [],
    "def f(work):\n    return work / 'second.py'": [],
    "import json, os.path": [],
    "name = 'own.nothing'": ["own/__init__.py"],
}


@pytest.mark.parametrize("text", FOUND)
def test_code_is_told_from_words(scripts, text):
    (scripts / "first.py").write_text(text + "\n", encoding="utf-8")
    first, *others = code_of("first.py", scripts)
    assert first == scripts / "first.py"
    assert [str(path.relative_to(scripts)) for path in others] == sorted(FOUND[text])
