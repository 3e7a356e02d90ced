"""The sample networks as small pictures of what an analysis found, from figures that are stored.

python -m app analyze sample:NAME --output NAME.json    # for each name of `LABELS`
python -m app.dashboard.gallery *.json > app/dashboard/gallery.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from app.analysis.result import Result, read_result

FILE = Path(__file__).with_name("gallery.json")
# In the order in which they are shown; the first is the picture of the first page.
LABELS = {
    "resnet-56-nobn": "ResNet-56 without batch normalisation",
    "vgg-like": "VGG-16 for small images",
    "deep-tanh-mlp": "Dense layers with tanh",
    "all-cnn-c": "All-CNN-C",
    "transformer-encoder": "Transformer encoder",
}
SERIES = ("default", "autoinit")


class Picture(BaseModel):
    """What an analysis of a sample found: verdicts, and each measured layer's variance."""

    model_config = ConfigDict(frozen=True)

    sample: str
    layers: tuple[str, ...]
    variances: dict[str, tuple[float | None, ...]]
    verdicts: dict[str, str]

    @property
    def label(self) -> str:
        """What the page calls it."""
        return LABELS.get(self.sample, self.sample)


def picture_of(result: Result) -> Picture:
    """What is stored of a result: of floating outputs, and to three digits."""
    found = [
        (call.path, [call.measured(series) for series in SERIES])
        for call in result.calls
        if call.inputs or call.weighted
    ]
    known = [(path, pair) for path, pair in found if all(pair)]
    columns = zip(*(pair for _, pair in known), strict=True)
    return Picture(
        sample=result.model.name,
        layers=tuple(path for path, _ in known),
        variances={
            series: tuple(m and m.variance and float(f"{m.variance:.3g}") for m in column)
            for series, column in zip(SERIES, columns, strict=True)
        },
        verdicts={series: result.verdicts[series].verdict for series in SERIES},
    )


def pictures() -> tuple[Picture, ...]:
    """Those that are stored, in order."""
    return tuple(Picture.model_validate(each) for each in json.loads(FILE.read_text("utf-8")))


def main(paths: Sequence[str]) -> None:
    """Prints the pictures of results as JSON."""
    found = {each.sample: each for each in map(picture_of, map(read_result, map(Path, paths)))}
    shown = [found[name].model_dump() for name in LABELS if name in found]
    print("[\n" + ",\n".join(json.dumps(each, separators=(",", ":")) for each in shown) + "\n]")


if __name__ == "__main__":
    main(sys.argv[1:])
