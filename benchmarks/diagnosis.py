"""Verdicts against labelled networks: `python -m benchmarks.diagnosis CASES.py [ID ...]`.

`CASES` is a list of dictionaries: `id`, `build`, and the labels `expect`, `must_not` (kinds of
faults), `first_layer` and `remedy`. Each network is saved and analysed by the command line, as a
person would; printed is what was detected, missed and falsely said, and whether layer and remedy of
the findings are the labelled ones.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

# Codes whose kind is called otherwise.
KINDS = {
    "signal_explodes": "exploding_signal",
    "signal_vanishes": "vanishing_signal",
    "gradient_explodes": "exploding_gradient",
    "gradient_vanishes": "vanishing_gradient",
    "gradient_differs": "distorted_differences",
    "correlation_collapse": "collapse_of_inputs",
    "dead_channels": "dead_units",
    "saturated": "saturated_units",
    "weights_not_finite": "not_finite",
}
AUTOINIT = "autoinit_does_not_help"


def analyzed(path: Path) -> dict[str, Any]:
    """The result of a file; without one, why there is none."""
    output = path.with_suffix(".json")
    command = [sys.executable, "-m", "app", "analyze", str(path), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3):
        return {"crash": done.stderr.strip().splitlines()[-1], "warnings": [], "verdicts": {}}
    found: dict[str, Any] = json.loads(output.read_text())
    return found


def judged(case: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """What of a case's labels was said."""
    faults = [w for w in result["warnings"] if w.get("severity") in ("fatal", "serious")]
    own = [w for w in faults if w.get("series") != "autoinit"]
    said = {KINDS.get(w["code"], w["code"]) for w in own}
    said |= {AUTOINIT} if len(own) < len(faults) else set()
    layers = [w["path"] for w in own]
    verdict = result["verdicts"].get("uploaded", {})
    expect, must_not = set(case["expect"]), set(case["must_not"])
    return {
        "expect": expect,
        "detected": expect & said,
        "missed": expect - said,
        "false": must_not & said,
        "also": said - expect - must_not,
        "layer": case["first_layer"] in layers,
        "top": layers[:1] == [case["first_layer"]],
        "remedy": verdict.get("remedy") == case["remedy"],
        "verdict": verdict,
        "crash": result.get("crash"),
    }


def main() -> None:
    """Print a line per case, and totals."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cases", type=Path)
    parser.add_argument("ids", nargs="*")
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.cases.resolve().parent))
    import keras

    found = []
    with tempfile.TemporaryDirectory() as folder:
        for case in importlib.import_module(arguments.cases.stem).CASES:
            if arguments.ids and case["id"] not in arguments.ids:
                continue
            path = Path(folder) / f"{case['id']}.keras"
            keras.utils.set_random_seed(zlib.crc32(case["id"].encode()))
            case["build"]().save(path)
            keras.utils.clear_session()
            found.append(one := judged(case, analyzed(path)))
            print(
                f"{case['id']:<28} {one['verdict'].get('verdict', '-'):<14}"
                f" remedy {one['verdict'].get('remedy')}{'' if one['remedy'] else ' (!)'}"
                f"  missed {sorted(one['missed'])} false {sorted(one['false'])}"
                f" also {sorted(one['also'])} {one['crash'] or ''}",
                flush=True,
            )
    print(totals(found))


def totals(found: list[dict[str, Any]]) -> str:
    """The figures that count."""
    faulty = [one for one in found if one["expect"]]
    healthy = [one for one in found if not one["expect"]]
    kinds = Counter(kind for one in faulty for kind in one["expect"])
    detected = Counter(kind for one in faulty for kind in one["detected"])
    lines = [f"  {kind:<28} {detected[kind]} of {count}" for kind, count in sorted(kinds.items())]
    rows = {
        "kinds in all": (detected.total(), kinds.total()),
        "faulty with a false alarm": (sum(bool(one["false"]) for one in faulty), len(faulty)),
        "healthy accused": (sum(bool(one["false"]) for one in healthy), len(healthy)),
        "healthy that train": (
            sum(one["verdict"].get("verdict") == "trains" for one in healthy),
            len(healthy),
        ),
        "first layer among the findings": (sum(one["layer"] for one in faulty), len(faulty)),
        "first layer of the first finding": (sum(one["top"] for one in faulty), len(faulty)),
        "remedy of the verdict": (sum(one["remedy"] for one in faulty), len(faulty)),
        "crashes": (sum(bool(one["crash"]) for one in found), len(found)),
    }
    lines += [f"{name}: {part} of {whole}" for name, (part, whole) in rows.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
