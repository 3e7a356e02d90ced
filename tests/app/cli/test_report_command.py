"""`report`: pages, tables and summaries of earlier results; what is no result gets a sentence."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.cli.main import main
from app.export import report, tables
from tests.app.parsing import on_files

PARTS = ("model", "settings", "device", "series", "timings", "calls", "warnings")
report_html, csv_text = on_files(report.report_html), on_files(tables.csv_text)
Result = dict[str, Any]
Write = Callable[[Any], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(value: Any) -> Path:
        path = tmp_path / "result.json"
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        return path

    return to_file


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["report", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line


def test_the_summary(write: Write, result: Result, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(write(result))]) == 0
    captured = capsys.readouterr()
    assert "10 layers, 10 with activations and repeats, 853,018 parameters" in captured.out
    assert captured.err == ""


def test_a_page_and_a_table(
    write: Write, deep_result: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, table = tmp_path / "report.html", tmp_path / "table.csv"
    arguments = ["--output", str(page), "--csv", str(table)]
    assert main(["report", str(write(deep_result)), *arguments]) == 0
    assert page.read_text(encoding="utf-8") == report_html(deep_result)
    assert table.read_bytes().decode() == csv_text(deep_result)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is no valid JSON"),
        ('{"schema": 1, "model":', "is it cut short?"),
        ("[1, 2]", "is JSON, but no result"),
        ('{"class_name": "Functional"}', "is JSON, but no result"),
        ('{"schema": NaN}', "is no valid JSON"),
        ("[" * 100_000, "is no valid JSON"),
        ("\x00\xff", "is no valid JSON"),
        ('{"schema": 0, "calls": []}', "is of schema 0, and this version reads schema 1"),
        ('{"schema": "2"}', "is of schema '2'"),
        ('{"schema": true}', "is of schema True"),
        ('{"schema": 1, "kind": "inspection"}', "is what inspect says of a file"),
    ],
)
def test_what_is_no_result(
    text: str, sentence: str, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refusal(capsys, str(write(text)))
    assert line.startswith("not_a_result: ")
    assert sentence in line


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_missing_is_named(
    part: str, write: Write, result: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    del result[part]
    assert f"its '{part}' is missing" in refusal(capsys, str(write(result)))


def places(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    entries: Any = ()
    if isinstance(value, dict):
        entries = value.items()
    elif isinstance(value, list):
        entries = list(enumerate(value))[:2]  # the calls are alike
    return [
        place for key, part in entries for place in [(*prefix, key), *places(part, (*prefix, key))]
    ]


def test_results_with_missing_or_strange_figures_are_no_traceback(
    write: Write, build_result: Callable[..., Result], capsys: pytest.CaptureFixture[str]
) -> None:
    whole = build_result(3, seeds=2, gradients=True, jacobian=1, uploaded=True)
    values = (..., None, "text", [], {"a": 1}, -1, 1e400)
    for count, place in enumerate(places(whole)):
        # Two of them in each place, and all of them in places that are alike.
        for value in (values[count % 7], values[(count + 3) % 7]):
            broken = copy.deepcopy(whole)
            holder: Any = broken
            for step in place[:-1]:
                holder = holder[step]
            if value is ...:
                del holder[place[-1]]
            else:
                holder[place[-1]] = value
            status = main(["report", str(write(broken))])
            assert status in (0, 2), (place, value)
            error = capsys.readouterr().err
            assert (status == 2) == error.startswith("not_a_result: "), error


@pytest.mark.parametrize("option", ["--output", "--csv"])
def test_nothing_is_half_written(
    option: str, write: Write, result: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del result["calls"][-1]["path"]
    target = tmp_path / "target"
    target.write_text("what was there")
    assert "calls.9.path: Field required" in refusal(
        capsys, str(write(result)), option, str(target)
    )
    assert target.read_text() == "what was there"


def test_names_cannot_steer_the_terminal(
    write: Write, result: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    result["schema"] = "\x1b[2J\n\u202e"
    line = refusal(capsys, str(write(result)))
    assert not {"\x1b", "\u202e"} & set(line)


def test_a_page_escapes_what_a_result_says(write: Write, result: Result, tmp_path: Path) -> None:
    name = "</script><img src=x onerror=alert(1)>"
    for call in result["calls"]:
        call["path"] = name
    result["model"]["name"] = name
    page = tmp_path / "report.html"
    assert main(["report", str(write(result)), "--output", str(page)]) == 0
    assert "<img src=x" not in page.read_text(encoding="utf-8")


def test_a_file_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(capsys, str(tmp_path / "none.json")).startswith("file_not_found: ")
    assert refusal(capsys, str(tmp_path)).startswith("not_a_model_file: ")


def test_a_result_is_not_overwritten(
    write: Write, result: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write(result))
    with pytest.raises(SystemExit) as exit_info:
        main(["report", path, "--output", path])
    assert exit_info.value.code == 64
    assert "must be different files" in capsys.readouterr().err
