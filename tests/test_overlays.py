"""Files that say what differs from the configuration: which count, and how a wrong one is told."""

import pytest

from butler.errors import ButlerError
from butler.settings.cross_checks import check_run
from butler.settings.overlays import configuration, joined, read_overlays
from butler.settings.run import read_settings
from workflow_state import BASE_OVERLAYS, CONFIG, ROOT

PINNED = {"base": {"revision": "0" * 40}}


@pytest.mark.parametrize("overlay", BASE_OVERLAYS, ids=lambda path: path.stem)
def test_every_overlay_is_valid_and_consents_to_nothing(overlay):
    merged = joined(CONFIG, read_overlays(str(overlay), [ROOT]), PINNED)
    settings = read_settings(merged)
    check_run(settings, ROOT, gpu=False)
    consents = (settings.base.remote_code, settings.base.pickles)
    assert consents == (False, False), "an overlay must not consent for its user"
    assert settings.train.max_steps is None and settings.train.max_length == 2048


def test_later_overlays_count_and_one_may_build_on_another(tmp_path):
    (tmp_path / "below.yaml").write_text("seed: 1\ntrain: {lora_r: 8, epochs: 2}\n")
    (tmp_path / "mine.yaml").write_text("overlays: below.yaml\ntrain: {lora_r: 16}\n")
    (tmp_path / "last.yaml").write_text("seed: 3\n")
    found = read_overlays("mine.yaml, last.yaml", [tmp_path])
    assert found == {"seed": 3, "train": {"lora_r": 16, "epochs": 2}}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("train: [1\nb: 2\n", "mine.yaml is not YAML: line 2, column 2: expected ',' or ']'"),
        ("- a\n", "overlay mine.yaml is no mapping of keys to values"),
        ("seed: 1\ntrain: {}\nseed: 2\n", "mine.yaml is not YAML: line 3, column 1: key seed"),
        ("overlays: mine.yaml\n", "overlay mine.yaml builds on itself"),
        ("overlays: other.yaml\n", "overlay other.yaml is no file"),
    ],
)
def test_an_overlay_that_cannot_be_read_is_one_sentence(text, sentence, tmp_path):
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ButlerError) as caught:
        read_overlays("mine.yaml", [tmp_path])
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_a_wrong_key_is_told_with_the_file_that_has_it(tmp_path):
    for name, text in {
        "base": "train: {lora_r: 8}\nvariants: [fp16, w5]",
        "mine": "overlays: base.yaml\ntrain: {lora_rr: 8}",
        "last": "variants: [fp16]\ntrain: {lora_r: 9}",
    }.items():
        (tmp_path / f"{name}.yaml").write_text(text)

    def said(*names, **more):
        files = ",".join(str(tmp_path / f"{name}.yaml") for name in names)
        with pytest.raises(ButlerError) as caught:
            read_settings(configuration(ROOT, files, more))
        return str(caught.value).removeprefix(f"{tmp_path}/")

    assert said("base").startswith("base.yaml: key 'variants[1]' takes one of fp16")
    assert said("mine", "last").startswith("mine.yaml: unknown key 'train.lora_rr'")
    assert said("last", variants=["w5"]).startswith("--config: key 'variants[0]'")
    # A key with a dot is none of two parts, and a list is no part of a mapping.
    assert said("last", **{"train.lora_r": 4}).startswith("--config: unknown key 'train.lora_r'")
    assert said(train={"a.b": 1}).startswith("--config: unknown key 'train.a.b'")
    assert said(benchmarks={"name": "x"}).startswith("--config: key 'benchmarks' takes a list")
    assert "'benchmarks[0]' takes a mapping, found 5" in said(benchmarks=[5])
    twice = {"variants": ["fp16", "w4", "w4"]}
    assert said(**twice).startswith("config: variants has w4 twice")
