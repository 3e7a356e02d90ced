"""The rooms of the house are small enough to be looked over; `make lint` holds what they import."""

from pathlib import Path

import app

ROOT = Path(app.__file__).parents[1]
MOST = 15
# A file for each family of layers.
AS_MANY_AS_IT_TAKES = {ROOT / "autoinit" / "rules" / "layers"}


def test_no_folder_holds_more_than_fifteen_modules_of_its_own():
    folders = {
        path.parent for top in ("app", "autoinit", "probes") for path in (ROOT / top).rglob("*.py")
    }
    counts = {
        str(folder.relative_to(ROOT)): len([*folder.glob("*.py")])
        - (folder / "__init__.py").exists()
        for folder in folders - AS_MANY_AS_IT_TAKES
    }
    assert counts["app/charts"] > 0
    assert not {name: count for name, count in counts.items() if count > MOST}
