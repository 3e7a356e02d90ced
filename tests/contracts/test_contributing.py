"""CONTRIBUTING.md's steps for a new layer, followed to the letter in a copy of the tree."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
STEP = re.compile(r"([^\n]*(?:\n[^\n]+)*):?\n\n```(\w+)\n(.*?)```", re.DOTALL)


def section(title):
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def follow(paragraph, block, tree):
    """Put a block of code where the paragraph above it says."""
    if new := re.search(r"New file\s+`([^`]+)`", paragraph):
        path = tree / new[1]
        assert not path.exists()
        path.write_text(block, encoding="utf-8")
        return
    place = re.search(
        r"In\s+`([^`]+)`,\s+(below|below the row of|an entry of)\s+`([^`]+)`", paragraph
    )
    path, how, name = tree / place[1], place[2], place[3]
    mark = {"below": name, "below the row of": f"| `{name}` |", "an entry of": f"{name} = ["}[how]
    block = f"    {block.rstrip()},\n" if how == "an entry of" else block
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    (above,) = [n for n, line in enumerate(lines) if line.startswith(mark)]
    path.write_text("".join([*lines[: above + 1], block, *lines[above + 1 :]]), encoding="utf-8")


def test_a_layer_is_added_as_the_page_says(tmp_path):
    unneeded = shutil.ignore_patterns(
        ".*", "__pycache__", "build", "dist", "shared", "*.egg-info", "*.png"
    )
    tree = tmp_path / "tree"
    shutil.copytree(ROOT, tree, ignore=unneeded)
    *steps, (_, language, command) = STEP.findall(section("A layer"))
    assert (len(steps), language) == (5, "sh")
    for paragraph, _, block in steps:
        follow(paragraph, block, tree)
    program, *arguments = shlex.split(command)
    assert program == "python"
    ended = subprocess.run(
        [sys.executable, *arguments],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    passed = int(re.search(r"(\d+) passed", ended.stdout)[1])
    assert passed > 5, ended.stdout
    lint = [sys.executable, "-m", "ruff", "check", "autoinit/rules", "tests/contracts"]
    ended = subprocess.run(lint, cwd=tree, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout
