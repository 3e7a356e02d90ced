"""The page of trainings, followed in a browser while a model is being fitted."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.conftest import opened, served
from tests.e2e.driving import photograph

# A real `fit`, whose second epoch begins when the browser has seen the first one.
TRAINING = """
import pathlib, sys, time
import keras, numpy as np
import autoinit

folder, go = map(pathlib.Path, sys.argv[1:])


class Wait(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        while not go.exists():
            time.sleep(0.05)


x = np.random.default_rng(0).standard_normal((64, 8)).astype("float32")
layers = [keras.layers.Dense(16, "relu", name=f"hidden{n}") for n in range(3)]
model = keras.Sequential([keras.Input((8,)), *layers, keras.layers.Dense(1, name="out")])
model.compile(keras.optimizers.SGD(1e-3), "mse")
monitor = autoinit.callbacks.SignalMonitor(
    x, folder=folder, overhead=None, check=False, verbose=False
)
model.fit(x, x[:, :1], batch_size=16, epochs=2, verbose=0, callbacks=[monitor, Wait()])
"""


@pytest.fixture
def followed(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A dashboard that follows a folder of trainings."""
    runs = tmp_path / "runs"
    runs.mkdir()
    with served(tmp_path / "data", tmp_path / "log", "--runs", str(runs)) as server:
        yield server.address, runs


def test_a_training_is_followed_while_it_goes_on(
    browser: Browser, followed: tuple[str, Path], tmp_path: Path
) -> None:
    address, runs = followed
    go = tmp_path / "go"
    with opened(browser, address) as page:
        training = subprocess.Popen([sys.executable, "-c", TRAINING, str(runs / "first"), str(go)])
        try:
            # The page lists a folder when it is drawn; from then on it follows by itself.
            while not (runs / "first" / "snapshots.jsonl").exists() and training.poll() is None:
                page.wait_for_timeout(100)
            page.goto(f"{address}/?run=first")
            expect(page.get_by_text(re.compile("step [1-4], loss"))).to_be_visible()
            expect(page.get_by_text("still training")).to_be_visible()
            charts = page.locator(".js-plotly-plot")
            expect(charts).to_have_count(3)
            moments = "gd => gd._fullData[0].z[0].length"
            before = charts.first.evaluate(moments)
            go.touch()
            # Nobody touches the page: it draws what came.
            expect(page.get_by_text("step 8, loss")).to_be_visible()
            assert charts.first.evaluate(moments) > before
            assert training.wait(120) == 0
            photograph(page, "training")
        finally:
            training.kill()
            training.wait()
