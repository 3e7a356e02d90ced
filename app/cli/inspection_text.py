"""What a model file holds, in a few lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from app.text.escaping import plain_text
from app.text.formatting import plural, shape, size

Inspection = dict[str, Any]

CLASSES_SHOWN = 20
NAMES_SHOWN = 10
FINDINGS_SHOWN = 20
NAME_LIMIT = 80
MESSAGE_LIMIT = 400
FORMATS = {"keras": ".keras archive", "h5": "HDF5 file", "json": "JSON file"}


def inspection_text(found: Inspection) -> str:
    """The file, the model, its layers and weights, and what would not be run."""
    return "\n".join(_lines(found))


def _lines(found: Inspection) -> Iterator[str]:
    file, model, layers = found["file"], found["model"], found["layers"]
    version = f"Keras {found['keras_version'] or str(found['keras']) + ', version not recorded'}"
    yield f"{_name(file['name'])}: {FORMATS.get(file['format'], file['format'])}, {version}"
    yield f"size      {size(file['bytes'])} ({plural(file['bytes'], 'byte')})"
    yield f"sha256    {file['sha256']}"
    yield f"model     {_name(model['name']) or 'without a name'} ({_name(model['class'])})"
    for each in found["inputs"]:
        name, sizes = _name(each["name"]) or "without a name", _name(shape(each["shape"]))
        yield f"input     {name}: {sizes} {_name(each['dtype'] or '')}".rstrip()
    if not found["inputs"]:
        yield "input     not told"
    yield f"layers    {layers['count']:,}"
    yield from _shortened(
        [f"{each['count']:>7,} {_name(each['class'])}" for each in layers["classes"]],
        CLASSES_SHOWN,
        "more classes",
    )
    yield from _frozen_lines(layers["frozen"])
    yield from _weight_lines(found["weights"])
    yield from _compile_lines(found["compile"])
    yield from _finding_lines(found)


def _frozen_lines(frozen: dict[str, Any]) -> Iterator[str]:
    if not frozen["count"]:
        return
    yield f"frozen    {plural(frozen['count'], 'layer')} with trainable=False"
    names = [f"  {_name(path)}" for path in frozen["paths"]]
    more = frozen["count"] - len(names[:NAMES_SHOWN])
    yield from names[:NAMES_SHOWN]
    if more:
        yield f"  and {more:,} more"


def _weight_lines(weights: dict[str, Any] | None) -> Iterator[str]:
    if weights is None:
        yield "weights   none that could be read"
        return
    for title, part in (("weights", "model"), ("optimizer", "optimizer")):
        found = weights[part]
        if not found["arrays"] and part != "model":
            continue
        types = ", ".join(f"{size(count)} of {name}" for name, count in found["types"].items())
        counts = f"{found['entries']:,} in {plural(found['arrays'], 'array')}"
        yield f"{title:<9} {counts}" + (f", {types}" if types else "")


def _compile_lines(settings: dict[str, list[str]] | None) -> Iterator[str]:
    if settings is None:
        yield "compiled  no"
        return
    parts = [
        f"{part} {', '.join(map(_name, names[:NAMES_SHOWN]))}"
        for part, names in settings.items()
        if names
    ]
    yield f"compiled  {'; '.join(parts) or 'yes'}"


def _finding_lines(found: Inspection) -> Iterator[str]:
    if found["refusal"] is not None:
        return
    faults = [each for each in found["findings"] if "severity" in each]
    replaced = [each for each in found["findings"] if "severity" not in each]
    if replaced:
        parts = plural(len(replaced), "part")
        yield f"checks    passed; analyze would leave out or replace {parts}"
        yield from _messages(replaced)
    else:
        yield "checks    passed; analyze would run all of it"
    if faults:
        yield f"linter    {plural(len(faults), 'finding')}, with nothing run"
        yield from _messages(faults)


def _messages(findings: list[dict[str, Any]]) -> Iterator[str]:
    messages = [
        f"  {plain_text(each.get('severity', ''))} {plain_text(each['code'])} "
        f"{_name(each['path'])}: {plain_text(each['message'], MESSAGE_LIMIT)} "
        f"{plain_text(each.get('advice', ''))}".rstrip().replace("   ", "  ")
        for each in findings
    ]
    yield from _shortened(messages, FINDINGS_SHOWN, "more: --json shows all")


def _shortened(lines: list[str], most: int, rest: str) -> Iterator[str]:
    yield from lines[:most]
    if len(lines) > most:
        yield f"  and {len(lines) - most:,} {rest}"


def _name(text: str) -> str:
    return plain_text(text, NAME_LIMIT)
