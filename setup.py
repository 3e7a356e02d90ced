"""The wheel's names: other people have an `app`, `probes` and `sample_models`, too.

In the wheel ours are `autoinit_app`, `autoinit_probes` and `autoinit_sample_models`, and so is
every import of them. A checkout, and an editable installation of it, keep the folders' names.
"""

import re
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.egg_info import egg_info

PREFIX = "autoinit_"
FOLDERS = ("app", "probes", "sample_models")
_NAMES = "|".join(FOLDERS)
# `from app.text import …`, `import app`, `python -m app`; names of modules and folders in quotes.
_IMPORTED = re.compile(rf"^(\s*(?:>>> )?from )({_NAMES})(?=[. ])", re.MULTILINE)
_WHOLE = re.compile(rf"^(\s*import )({_NAMES})$", re.MULTILINE)
_RUN = re.compile(rf"(-m )({_NAMES})\b")
_QUOTED = re.compile(rf"""(["'])({_NAMES})(?=[./"'])""")


def renamed(source: str, package: str) -> str:
    """A module of a package with its imports of the others by their names in the wheel."""
    source = _IMPORTED.sub(rf"\1{PREFIX}\2", source)
    source = _WHOLE.sub(rf"\1{PREFIX}\2 as \2", source)
    source = _RUN.sub(rf"\1{PREFIX}\2", source)
    # A sample's own layer is registered by its folder's name, which files have in them, and
    # `autoinit` publishes the name `probes`.
    return (
        source
        if package in ("sample_models", "autoinit")
        else _QUOTED.sub(rf"\1{PREFIX}\2", source)
    )


class BuildRenamed(build_py):
    """Builds the packages under their names in the wheel."""

    def run(self) -> None:
        """Builds them, and then gives them these names."""
        super().run()
        if self.editable_mode:
            return
        built = Path(self.build_lib)
        for package in (*FOLDERS, "autoinit"):
            for file in (built / package).rglob("*.py"):
                file.write_text(renamed(file.read_text("utf-8"), package), "utf-8")
        for package in FOLDERS:
            (built / package).rename(built / f"{PREFIX}{package}")


class NamesOfWheel(egg_info):
    """Tells which top-level names the wheel has."""

    def run(self) -> None:
        """Writes what is told of the package, and that."""
        super().run()
        names = sorted(["autoinit", *(PREFIX + folder for folder in FOLDERS)])
        Path(self.egg_info, "top_level.txt").write_text("\n".join(names) + "\n", "utf-8")


if __name__ == "__main__":
    setup(cmdclass={"build_py": BuildRenamed, "egg_info": NamesOfWheel})
