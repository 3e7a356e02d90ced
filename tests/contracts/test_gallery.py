"""docs/gallery.md is what its script makes of its models."""

import keras
import pytest

import autoinit
from benchmarks.gallery import DIAGNOSES, DOCS, section

PAGE = (DOCS / "gallery.md").read_text("utf-8")


def test_the_page_has_each_diagnosis_with_a_small_picture():
    assert len(DIAGNOSES) == 12
    titles = [line[3:] for line in PAGE.splitlines() if line.startswith("## ")]
    assert titles == [diagnosis.title for diagnosis in DIAGNOSES.values()]
    for name in DIAGNOSES:
        assert f"(gallery-{name}.png)" in PAGE
        assert 1_000 < (DOCS / f"gallery-{name}.png").stat().st_size < 60_000
    assert len(list(DOCS.glob("gallery-*.png"))) == 12


@pytest.mark.parametrize("name", ["zeros", "relu-scores"])
def test_what_it_says_is_what_is_found(name):
    keras.utils.set_random_seed(0)
    result = autoinit.check(DIAGNOSES[name].model(), verbose=False, settings={"samples": 32})
    assert section(name, DIAGNOSES[name], result) in PAGE
