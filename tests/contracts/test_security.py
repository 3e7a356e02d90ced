"""docs/security.md, held against the source: limits with their defaults, codes with their use."""

import ast
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

import app
from app.analysis.job_spec import CUSTOM_OBJECTS_VARIABLE
from app.limits import Limits
from app.limits import variable as limit_variable
from autoinit.model_files.budgets import Budgets
from autoinit.model_files.budgets import variable as budget_variable

ROOT = Path(app.__file__).parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
PACKAGES = ("autoinit", "app")


def rows(header: str) -> list[list[str]]:
    """The cells of all tables under a header."""
    found, inside = [], False
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        inside = line.startswith("|") and (inside or cells == header.split(", "))
        if inside and cells != header.split(", ") and not set(line) <= set("|-"):
            found.append(cells)
    return found


LIMITS = {
    name.strip("`"): default for name, default, _ in rows("variable, default, what it bounds")
}
CODES = {code for cell, _ in rows("code, meaning") for code in re.findall(r"`(\w+)`", cell)}


def calls() -> Iterator[ast.Call]:
    for package in PACKAGES:
        for source in (ROOT / package).rglob("*.py"):
            tree = ast.parse(source.read_text(encoding="utf-8"))
            yield from (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def used_codes() -> set[str]:
    """The first argument of a ModelFileError; the codes of the jobs' own outcomes."""
    found: set[str] = set()
    for call in calls():
        name = getattr(call.func, "id", getattr(call.func, "attr", ""))
        place = {"ModelFileError": 0, "Outcome": 1, "_refuse": 1, "_refusal": 0}.get(name)
        if place is not None and len(call.args) > place:
            code = call.args[place]
            code = code.elts[0] if isinstance(code, ast.Tuple) else code
            found |= {text for text in codes_in(code) if re.fullmatch("[a-z_]+", text)}
    return found


def codes_in(expression: ast.expr) -> Iterator[str]:
    """Texts that an expression may be: `"a" if … else "b"` is either, and so is a default."""
    match expression:
        case ast.Constant(value=str(code)):
            yield code
        case ast.IfExp(body=body, orelse=orelse):
            yield from (*codes_in(body), *codes_in(orelse))
        case ast.Call(args=[*_, default]):
            yield from codes_in(default)


def test_every_limit_is_on_the_page_with_its_default():
    documented = {budget_variable(name): value for name, value in values(Budgets())}
    service = dict(values(Limits(memory_bytes=0)))
    documented |= {limit_variable(name): value for name, value in service.items()}
    assert set(LIMITS) == set(documented)
    for variable, default in LIMITS.items():
        if default.isdecimal():
            assert int(default) == documented[variable], variable
    assert [name for name, default in LIMITS.items() if not default.isdecimal()] == [
        "AUTOINIT_MAX_MEMORY_BYTES"
    ]


def values(limits: Budgets | Limits) -> list[tuple[str, float]]:
    return [(field.name, getattr(limits, field.name)) for field in dataclasses.fields(limits)]


def test_the_web_process_and_the_worker_agree_on_the_size_of_files():
    assert Limits().file_bytes == Budgets().file_bytes
    assert limit_variable("file_bytes") == budget_variable("file_bytes")


def test_every_code_is_on_the_page_and_in_use():
    used = used_codes() | {"failed"}  # `failed` is the kind of an event, and its code by default.
    assert used - CODES == set()
    assert CODES - used == set()


def test_no_code_stands_there_twice():
    listed = [code for cell, _ in rows("code, meaning") for code in re.findall(r"`(\w+)`", cell)]
    assert len(listed) == len(set(listed))


def test_the_page_for_servers_names_every_limit():
    text = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
    rows = [row for row in text.splitlines() if row.startswith("| `AUTOINIT_")]
    mentioned = {
        name if name.startswith("AUTOINIT_") else f"AUTOINIT_MAX{name}"
        for row in rows
        for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    folders = {"AUTOINIT_DATA", "AUTOINIT_RESULTS", "AUTOINIT_RUNS"}
    others = {*folders, "AUTOINIT_BEHIND_PROXY", "AUTOINIT_RAY", CUSTOM_OBJECTS_VARIABLE}
    assert mentioned == {*LIMITS, *others}


def test_the_proxy_lets_the_largest_upload_through():
    text = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    _, uploads = text.split("location /_stcore/upload_file/", 1)
    (size,) = re.findall(r"client_max_body_size (\d+)m;", uploads)
    assert int(size) * 2**20 > Limits().file_bytes, "there is a form around the file"


def test_the_containers_are_closed() -> None:
    """What the page says of `compose.yaml` and `deploy/nginx.conf`."""
    setup = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    for service in setup["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert {"mem_limit", "pids_limit"} <= service.keys()
    app_service, proxy = setup["services"]["app"], setup["services"]["proxy"]
    assert setup["networks"]["inside"] == {"internal": True}
    assert (app_service["networks"], "ports" in app_service) == (["inside"], False)
    assert set(proxy["networks"]) == {"inside", "outside"}
    rules = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    for told, rule in (
        ("20\nrequests a second", "zone=requests:1m rate=20r/s"),
        ("8 pages open", "limit_conn sessions 8;"),
        ("10\nuploads a minute and 2 at once", "zone=new_uploads:1m rate=10r/m"),
        ("2 at once", "limit_conn uploads 2;"),
    ):
        assert told.replace("\n", " ") in " ".join(PAGE.split())
        assert rule in rules


def test_every_promise_names_tests_that_there_are() -> None:
    table = PAGE.partition("## What is defended by what")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 15
    assert all("`test_" in row.rsplit("|", 2)[1] for row in rows)
    there = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)\(", file.read_text(encoding="utf-8"))
    }
    assert set(re.findall(r"`(test_\w+)`", PAGE)) <= there
