"""The service's limits: their variables, what is said of wrong ones, and what the machine has."""

import dataclasses
import resource
from pathlib import Path

import pytest

from app import limits
from app.limits import ADDRESS_SPACE_MARGIN, GIB, Limits, format_bytes, variable

NAMES = [field.name for field in dataclasses.fields(Limits)]


def test_every_limit_has_its_variable() -> None:
    for name in NAMES:
        changed = Limits.from_environment({variable(name): "7", "AUTOINIT_MAX_NOTHING": "x"})
        assert changed == dataclasses.replace(Limits(), **{name: 7})
    assert Limits.from_environment({}) == Limits()
    assert variable("queue") == "AUTOINIT_MAX_QUEUE"
    assert Limits.from_environment({"AUTOINIT_DEADLINE_SECONDS": "0.5"}).seconds == 0.5


@pytest.mark.parametrize("text", ["", "0", "-1", "many", "nan", "inf", "1e400", "9" * 5000])
def test_wrong_values_are_named(text: str) -> None:
    for name in ("queue", "seconds"):
        with pytest.raises(ValueError, match=rf"^{variable(name)} must be a positive") as caught:
            Limits.from_environment({variable(name): text})
        assert repr(text)[:90] in str(caught.value)
        assert len(str(caught.value)) < 250


def test_memory_follows_from_the_machine_or_its_container(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(limits, "_CGROUP_FILES", ())
    machine = limits.machine_memory()
    assert machine > 2**28
    container = tmp_path / "memory.max"
    monkeypatch.setattr(limits, "_CGROUP_FILES", (str(tmp_path / "none"), str(container)))
    container.write_text("max\n")
    assert limits.machine_memory() == machine
    container.write_text("1000\n")
    assert Limits().memory_bytes == 750
    assert Limits(memory_bytes=GIB).address_space == GIB + ADDRESS_SPACE_MARGIN


def test_what_is_left_of_the_memory() -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    enough = peak + 2**26
    assert 2**25 < limits.memory_left(enough) < enough
    assert limits.memory_left(1) == 1
    assert limits.memory_left(2**60) < 2**50, "no more than the machine has"


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (GIB, "1 GiB"),
        (3 * GIB // 2, "1.5 GiB"),
        (200 * 2**20, "200 MiB"),
        (2048, "2 KiB"),
        (5, "5 bytes"),
    ],
)
def test_bytes_are_shown_as_they_are_set(count: int, shown: str) -> None:
    assert format_bytes(count) == shown
