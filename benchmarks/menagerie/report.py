"""`docs/menagerie.md`: tables of the rows, above what a person has written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from operator import attrgetter

from benchmarks.menagerie.measuring import EQUAL, SAMPLES, Row

WRITTEN = "## What was looked into"
_HEAD = f"""# The menagerie

Architectures that nobody here wrote, each built by its own package, small and without trained
weights, by `python -m benchmarks.menagerie`: images of 32 to 75 pixels, transformers of one or two
layers of each kind, 64 wide, {SAMPLES} samples, one draw of the weights. What differs in width
alone counts once.

- *opened*: read into a graph of calls and analysed. Of the others, some were not built by their
  package, and some do not run themselves: a call of the model as Keras makes it raises.
- *replayed*: its calls, run one by one, give what the model gives (in inference), to {EQUAL:g} of
  an output's standard deviation.
- *within 10 %*: the share of calls whose variance was predicted so well, with the package's own
  initializers / with AutoInit's weights.
- *agrees*: that, or within two standard deviations of what one draw of narrow kernels, which the
  rules predict, and {SAMPLES} samples come to.
- *held*: weighted calls of 0.8 to 1.25 with AutoInit's weights / once these are calibrated.
- *doubted*: architectures of which the verdict on their own initializers is not "trains".

"""
_Cell = Callable[[Sequence[Row]], str]


def _count(rows: Sequence[Row], test: Callable[[Row], bool]) -> str:
    return str(sum(map(test, rows)))


def _share(rows: Iterable[Row], part: Sequence[str], whole: Sequence[str]) -> str:
    """Shares of calls, all architectures' together."""
    done = list(rows)
    sums = [(sum(getattr(r, p) for r in done), sum(getattr(r, w) for r in done))
            for p, w in zip(part, whole, strict=True)]  # fmt: skip
    return " / ".join(f"{p / w:.2f}" if w else "–" for p, w in sums)


def is_replayed(row: Row) -> bool:
    """Whether its calls give what the model gives."""
    return row.status == "done" and row.replay <= EQUAL


def is_doubted(row: Row) -> bool:
    """Whether it is said not to train, as it came."""
    return row.status == "done" and row.verdict != "trains"


_COMPARED = "default_compared", "autoinit_compared"
_COLUMNS: dict[str, _Cell] = {
    "built": lambda rows: _count(rows, lambda row: row.status != "not built"),
    "opened": lambda rows: _count(rows, lambda row: row.status == "done"),
    "replayed": lambda rows: _count(rows, is_replayed),
    "calls": lambda rows: f"{sum(row.calls for row in rows):,}",
    "within 10 %": lambda rows: _share(rows, ("default_close", "autoinit_close"), _COMPARED),
    "agrees": lambda rows: _share(rows, ("default_agree", "autoinit_agree"), _COMPARED),
    "held": lambda rows: _share(rows, ("held", "calibrated"), ("weighted", "weighted")),
    "doubted": lambda rows: _count(rows, is_doubted),
}


def _of_one(cell: _Cell) -> Callable[[Row], str]:
    return lambda row: cell([row])


_EACH: dict[str, Callable[[Row], str]] = {
    "package": attrgetter("package"),
    "architecture": attrgetter("name"),
    "calls": lambda row: str(row.calls),
    "replayed": lambda row: "yes" if is_replayed(row) else f"{row.replay:.2g} off",
    **{name: _of_one(_COLUMNS[name]) for name in ("within 10 %", "agrees", "held")},
    "verdict": lambda row: f"{row.verdict}: {row.causes}" if row.causes else row.verdict,
}  # fmt: skip


def page(rows: Iterable[Row], written: str = "") -> str:
    """The page.

    Args:
        rows: of the architectures, in any order.
        written: what follows the tables, from its heading on.
    """
    ordered = sorted(rows, key=attrgetter("package", "family", "name"))
    families = {
        f"{package}: {family}": list(found)
        for (package, family), found in groupby(ordered, attrgetter("package", "family"))
    }
    packages = {name: list(found) for name, found in groupby(ordered, attrgetter("package"))}
    done = [row for row in ordered if row.status == "done"]
    missed = [row for row in ordered if row.status != "done"]
    parts = [
        _HEAD,
        _summary({"all": ordered, **packages}),
        "\n## By family\n\n",
        _summary(families),
        "\n## Not built, not running, or not opened\n\n",
        _table(("package", "architecture", "what", "why"),
               ((row.package, row.name, row.status, _cell(row.reason)) for row in missed)),
        "\n## Each that was opened\n\n",
        _table(list(_EACH), ([cell(row) for cell in _EACH.values()] for row in done)),
        f"\n{written or WRITTEN}",
    ]  # fmt: skip
    return "".join(parts).rstrip() + "\n"


def _summary(groups: dict[str, list[Row]]) -> str:
    rows = ((name, *(cell(group) for cell in _COLUMNS.values())) for name, group in groups.items())
    return _table(("", *_COLUMNS), rows)


def _table(head: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(text: str) -> str:
    """A message of others, short, as a table can hold it."""
    short = text if len(text) < 160 else text[:157] + "…"
    return "`" + short.replace("|", "/").replace("`", "'") + "`"
