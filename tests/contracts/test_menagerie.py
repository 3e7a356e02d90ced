"""The menagerie's machinery, on networks of a few units; its page has what it claims."""

import math
import re

import keras
import pytest
from keras import layers

from benchmarks.measuring import ROOT
from benchmarks.menagerie.__main__ import keep, rows, run
from benchmarks.menagerie.catalogue import Architecture
from benchmarks.menagerie.measuring import EQUAL, Row, measured
from benchmarks.menagerie.report import WRITTEN, page
from benchmarks.menagerie.shrinking import shrunk


class Halves(layers.Layer):
    """Half of what the graph was read with, once it is called again: no replay can be right."""

    calls = 0

    def call(self, x):
        Halves.calls += 1
        return x / Halves.calls


def of(*stack, name="net"):
    def build():
        given = x = keras.Input((12,))
        for layer in stack:
            x = layer(x)
        return keras.Model(given, x)

    return Architecture("made here", "dense", name, build)


@pytest.fixture(scope="module")
def healthy():
    stack = (layers.Dense(40, "relu"), layers.Dense(40, "relu"), layers.Dense(4))
    return measured(of(*stack))


def test_a_healthy_network_is_opened_replayed_predicted_and_held(healthy):
    assert (healthy.key, healthy.status, healthy.reason) == ("made here:net", "done", "")
    assert healthy.parameters == 12 * 40 + 40 + 40 * 40 + 40 + 40 * 4 + 4
    assert healthy.replay <= EQUAL
    assert healthy.verdict == healthy.autoinit_verdict == "trains"
    assert healthy.unknown == 0
    assert healthy.weighted == healthy.calibrated == 3
    assert 0 < healthy.autoinit_close <= healthy.autoinit_agree <= healthy.autoinit_compared


def test_what_a_network_cannot_learn_with_is_told():
    zeros = [layers.Dense(8, "tanh", kernel_initializer="zeros") for _ in range(2)]
    row = measured(of(*zeros, layers.Dense(2)))
    assert row.verdict == "cannot train"
    assert row.causes


def test_a_reason_is_kept_in_place_of_figures():
    broken = Architecture("made here", "dense", "broken", lambda: 1 / 0)
    row = measured(broken)
    assert (row.status, row.reason) == ("not built", "ZeroDivisionError: division by zero")


def test_a_call_that_gives_something_else_is_found():
    assert measured(of(layers.Dense(4), Halves())).replay > 0.1


def test_rows_are_kept_as_they_come_and_read_again(tmp_path, healthy, monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.menagerie.__main__.measured", lambda architecture: healthy)
    path = tmp_path / "build" / "rows.csv"
    run([of()], path)
    failed = Row(key="a:b", package="a", family="f", name="b", status="not opened", reason="x, |y")
    keep(failed, path)
    found = rows(path)
    assert found["made here:net"] == healthy
    assert found["a:b"].reason == "x, |y"
    assert math.isnan(found["a:b"].replay)
    text = page(found.values(), f"{WRITTEN}\n\nSeen.")
    assert "| all | 2 | 1 | 1 |" in text
    assert "| a | b | not opened | `x, /y` |" in text
    assert text.endswith("Seen.\n")


def test_arguments_are_shrunk_by_their_names():
    large = {
        "vocab_size": 32_000,
        "embed_dim": 4096,
        "num_layers": 32,
        "num_heads": 32,
        "num_kv_heads": 8,
        "head_dim": None,
        "depths": (3, 3, 9, 3),
        "patch_size": 14,
        "image_size": 224,
        "qkv_bias": True,
        "vision": {"num_hidden_layers": 24},
    }
    assert shrunk(large, num_heads=1) == {
        "vocab_size": 500,
        "embed_dim": 64,
        "num_layers": 1,
        "num_heads": 1,
        "num_kv_heads": 2,
        "head_dim": None,
        "depths": (1, 1, 1, 1),
        "patch_size": 14,
        "image_size": 32,
        "qkv_bias": True,
        "vision": {"num_hidden_layers": 1},
    }


def test_the_pages_sums_are_those_of_its_rows():
    text = (ROOT / "docs" / "menagerie.md").read_text("utf-8")
    built, opened, replayed = map(int, re.findall(r"\| all \| (\d+) \| (\d+) \| (\d+)", text)[0])
    assert built > 50
    each = text.partition("## Each that was opened")[2].partition(WRITTEN)[0]
    assert each.count("\n| ") - 2 == opened <= built  # head and rule aside
    assert replayed == each.count(" | yes | ")


class Breaks(layers.Layer):
    """Fits a batch of any size when it is traced, and none that it is run on."""

    def call(self, x):
        return x + keras.ops.zeros((7, 12)) if not isinstance(x, keras.KerasTensor) else x


def test_a_model_that_does_not_run_itself_is_not_this_programs_fault():
    row = measured(of(Breaks(), layers.Dense(4)))
    assert row.status == "does not run itself"
    assert "| made here | net | does not run itself |" in page([row])
