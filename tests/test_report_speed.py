"""Memory and speed in the report: with TurboMind's figures, and without any on a CPU."""

import csv
import json
from pathlib import Path

import pytest

from butler.checks import conclude
from butler.efficiency.speed import Speed
from butler.efficiency.timings import Load, RequestTiming
from report_stages import MADE, VARIANTS, run

FIRSTS = (0.4, 0.5, 0.6)  # of the repeats, at 64 requests at a time


def load(at_a_time: int, first: float, gap: float) -> Load:
    """All requests at once, each after `first` seconds, 10 gaps later done."""
    one = RequestTiming(0.0, first, first + 10 * gap, 11, [gap] * 10)
    return Load(at_a_time, [one] * max(10, at_a_time))


def speed_of(variant: str) -> Speed:
    """Three repeats: the variant's rate, a tenth less and a tenth more; 1, 64 and 256 at a time."""
    gaps = [1 / (MADE[variant][3] * factor) for factor in (0.9, 1.0, 1.1)]
    single = [RequestTiming(0.0, 0.2, 0.2 + 10 * gap, 11, [gap] * 10) for gap in gaps]
    loads = [
        load(count, scale * first, gap)
        for first, gap in zip(FIRSTS, gaps, strict=True)
        for count, scale in ((1, 0.1), (64, 1), (256, 4))
    ]
    return Speed.of(single, loads, loads, prompt_tokens=512)


def on_a_gpu(stages: Path) -> None:
    """Write what TurboMind's efficiency stage leaves."""
    for variant in VARIANTS:
        _, weights, per_token, _ = MADE[variant]
        rows = [
            ("weight_bytes", weights, "B"),
            ("kv_bytes_per_token", per_token, "B"),
            ("peak_memory_bytes", 20_000_000_000, "B"),
            ("room_tokens", 147456, "tokens"),
            ("fixed_memory_bytes", 18_000_000_000, "B"),
            ("buffer_bytes_per_chat", 1_500_000, "B"),
            *speed_of(variant).rows(),
        ]
        with (stages / f"results/efficiency_{variant}.csv").open("w", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["variant", "metric", "value", "unit", "engine", "machine"])
            writer.writerows((variant, *row, "turbomind", "1 GPU") for row in rows)


def page_of(stages: Path) -> str:
    return (stages / "out" / "report.html").read_text(encoding="utf-8")


def section(page: str) -> str:
    """The section of memory and speed, without line ends."""
    return page.split('<section id="speed">')[1].split("</section>")[0].replace("\n", "")


def test_figures_of_a_gpu_show_loads_and_how_many_chats_fit(stages: Path) -> None:
    on_a_gpu(stages)
    done = run(stages)
    assert done.returncode == 0, done.stderr
    with (stages / "out" / "summary.csv").open(encoding="utf-8") as stream:
        rows = {row["variant"]: row for row in csv.DictReader(stream)}
    left = 24e9 - 512 * 2**20 - 18e9
    assert float(rows["fp16"]["chats_24_gb"]) == left // (2048 * 2048 + 1_500_000)
    assert float(rows["kv8"]["chats_24_gb"]) > float(rows["fp16"]["chats_24_gb"])
    assert float(rows["w4"]["time_to_first_token_s_p90_256"]) == pytest.approx(2.4)
    page = page_of(stages)
    assert "expands all weights to" not in page and "no speed is shown" not in page.lower()
    assert "256 at a time" in page and "24 GB" in page and "147,456" in page
    assert "同时的请求数" in page


def test_speed_is_told_with_its_spread(stages: Path) -> None:
    on_a_gpu(stages)
    assert run(stages).returncode == 0
    shown = section(page_of(stages))
    # w4 decodes 63, 70 and 77 tokens a second in the three repeats.
    assert '70<span class="sub">63–77</span>' in shown
    # 64 at a time: firsts 0.4, 0.5 and 0.6 in equal parts; a p99 of 192 requests, gaps by repeat.
    row = shown.split("64 at a time")[1].split("<th>w4</th>")[1].split("</tr>")[0]
    assert '<td class="n">500</td><td class="n">600</td><td class="n">600</td>' in row
    assert '<td class="n">14.29</td><td class="n">15.87</td><td class="n">15.87</td>' in row
    # 1 at a time: 30 requests are too few for a p99, their 300 gaps are not.
    alone = shown.split("1 at a time")[1].split("<th>w4</th>")[1].split("</tr>")[0]
    assert '<td class="n">60</td><td class="n">–</td><td class="n">14.29</td>' in alone
    charts = page_of(stages).split("const CHARTS = ")[1].split(";\n")[0]
    points = json.loads(charts)["loads"]["en"]["data"]["values"]
    assert all(point["slowest"] < point["speed"] < point["fastest"] for point in points)


def test_throughput_is_drawn_against_each_wait(stages: Path) -> None:
    on_a_gpu(stages)
    assert run(stages).returncode == 0
    drawn = json.loads(page_of(stages).split("const CHARTS = ")[1].split(";\n")[0])
    for name, unit in (("loads/first", "first token"), ("loads/between", "between outputs")):
        spec = drawn[name]["en"]
        points = [one for one in spec["data"]["values"] if one["variant"] == "w4"]
        assert [one["requests"] for one in points] == [1, 64, 256]
        assert points[0]["speed"] < points[1]["speed"] < points[2]["speed"]
        assert unit in spec["layer"][0]["encoding"]["y"]["axis"]["title"]
        if name == "loads/first":  # the p90 of a first token is 0.6 s at 64 at a time
            assert [one["wait"] for one in points] == [60, 600, 2400]
    assert "Throughput against waits" in section(page_of(stages))


def test_a_target_is_shown_with_what_became_of_it(stages: Path) -> None:
    on_a_gpu(stages)
    target = {"requests": 64, "first_token_p90_s": 0.7, "between_tokens_p90_s": 0.0125}
    rule = {"max_loss": 4, "prefer": "memory", "tokens": 16384, "target": target}
    done = run(stages, rule=json.dumps(rule))
    assert done.returncode == 0, done.stderr
    shown = section(page_of(stages)).split('class="fail"')
    # fp16 keeps both; the p90 between tokens of the worst repeat is 12.3 ms, kv8's 13.1.
    assert len(shown) == 4
    assert "0.01307" in shown[0] and "0.01235" in shown[0]


def test_model_folders_of_the_newest_lmdeploy_are_reported(stages: Path) -> None:
    """No workspace is made or checked there; two environments hold an LMDeploy."""
    on_a_gpu(stages)
    names = ("training", "merge", "template", "awq")
    for name in names:
        conclude(stages / f"{name}.json", name, True, f"{name} holds", {}, {})
    latest = stages / "lmdeploy-latest.lock"
    latest.write_text("lmdeploy==0.18.0 \\\n    --hash=sha256:00\n")
    of_torch = stages / "lmdeploy-latest.torch.lock"
    of_torch.write_text("torch==2.12.1\n")
    checks = [str(stages / f"{name}.json") for name in names]
    done = run(stages, checks=checks, locks=[str(latest), str(of_torch)])
    assert done.returncode == 0, done.stderr
    page = page_of(stages)
    assert all(f"{name} holds" in page for name in names)
    assert "lmdeploy 0.18.0, torch 2.12.1" in page and "lmdeploy-latest" in page
    assert "24 GB" in page and "reference engine" not in page


def test_a_turbomind_table_without_its_speed_is_refused(stages: Path) -> None:
    on_a_gpu(stages)
    path = stages / "results" / "efficiency_w4.csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(one for one in lines if "p90_worst_64" not in one), encoding="utf-8")
    assert run(stages).returncode == 0  # no rule asks for it
    path.write_text("".join(one for one in lines if "decode_tokens_per_s_min" not in one))
    done = run(stages)
    assert done.returncode == 1
    assert "efficiency_w4.csv has no number for decode_tokens_per_s_min; measure w4" in done.stderr


def test_on_a_cpu_neither_speed_nor_capacity_is_claimed(stages: Path) -> None:
    assert run(stages).returncode == 0
    page = page_of(stages)
    assert "24 GB" not in page
    shown = section(page)
    assert "tokens/s" not in shown and "p90" not in shown
    assert shown.count("No speed is shown: the reference engine") == 1
    assert "chats_24_gb" not in (stages / "out" / "summary.csv").read_text(encoding="utf-8")


def test_engines_that_differ_are_told(stages: Path) -> None:
    on_a_gpu(stages)
    path = stages / "results" / "efficiency_kv8.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("turbomind", "pytorch"))
    assert run(stages).returncode == 0
    shown = section(page_of(stages))
    assert "kv8: served by LMDeploy&#39;s pytorch engine, fp16 by turbomind." in shown
    on_a_gpu(stages)
    assert run(stages).returncode == 0
    assert "served by LMDeploy" not in section(page_of(stages))
