"""The table of settings: an entry is all that an option takes, and every face offers it."""

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import click
import pytest
from click.testing import CliRunner
from pydantic import Field
from streamlit.testing.v1 import AppTest

import app
from app.analysis.options import Option, from_query, schema, table
from app.analysis.settings import (
    AS_IT_IS,
    FILES,
    FORMAT_WORDS,
    INITIALIZATION,
    INPUT,
    MEASUREMENT,
    WHAT_IF,
    Settings,
)
from app.cli.interface import Command, settings_of, settings_options
from app.errors import WrongSettingError
from app.export.snippet import snippet
from autoinit import variants
from autoinit.initializers.schemes import SCHEMES
from probes.formats import FORMATS
from tests.app.parsing import parsed

SCHEMA = Path(app.__file__).parents[1] / "docs" / "settings.schema.json"
ENTRIES = table(Settings)


class Wider(Settings):
    """A copy of the table with entries more."""

    rounds: Annotated[int, Option(MEASUREMENT, "Rounds", library="repetitions")] = Field(
        3, ge=1, le=9
    )
    """How often it is done."""

    tone: Annotated[Literal["low", "very_high"], Option(INPUT, "Tone")] = "low"
    """How it sounds."""

    loud: Annotated[bool, Option(INITIALIZATION, "Loud", library="loud")] = False
    """Whether it makes noise."""


def test_formats_are_those_of_the_probe() -> None:
    assert tuple(FORMAT_WORDS) == FORMATS
    assert Settings(formats=("float16", "float16")).formats == ("float16",)
    with pytest.raises(ValueError, match="formats must be names of formats: float16, bfloat16"):
        Settings(formats=("float4",))


def test_schemes_and_variants_are_those_of_the_library() -> None:
    assert ENTRIES["scheme"].choices == tuple(SCHEMES)
    assert ENTRIES["activation"].choices == (AS_IT_IS, *variants.ACTIVATIONS)
    assert ENTRIES["normalization"].choices == (AS_IT_IS, *variants.NORMALIZATIONS)
    assert ENTRIES["offset"].choices == (AS_IT_IS, *variants.OFFSETS)
    assert Settings(schemes=("default", "he", "autoinit", "he")).schemes == ("he",)
    with pytest.raises(ValueError, match="schemes must be names of initialisations: own, glorot"):
        Settings(schemes=("best",))


@pytest.mark.parametrize("name", ENTRIES)
def test_every_entry_is_whole(name: str) -> None:
    entry = ENTRIES[name]
    assert entry.kind in (int, float, bool, str, dict, tuple)
    assert entry.help.endswith(".")
    assert entry.option.group in (FILES, INPUT, INITIALIZATION, WHAT_IF, MEASUREMENT)
    assert entry.option.label
    told = {*entry.choices, entry.word, *entry.option.members, "autoinit"}
    assert set(entry.option.words or ()) <= told
    if entry.kind in (int, float):
        assert entry.low < entry.high
        allowed = entry.default in (None, entry.word)
        assert allowed or entry.low <= entry.default <= entry.high
    assert all(entry.low <= usual <= entry.high for usual in entry.option.usual)


@pytest.mark.parametrize("name", ENTRIES)
def test_every_entry_refuses_what_it_cannot_be(name: str) -> None:
    entry = ENTRIES[name]
    wrong: list[Any] = [object(), b"x"]
    if entry.kind in (int, float):
        wrong += [entry.low - 1, entry.high * 2 + 1, True, "1", math.nan, math.inf, 10**400]
    if entry.default is not None:
        wrong.append(None)
    for value in wrong:
        with pytest.raises(ValueError, match=f"^{name} must be .*; received ") as caught:
            Settings(**{name: value})
        assert type(caught.value) is WrongSettingError, "the worker tells it by that"
        assert len(str(caught.value)) < 500


def test_the_published_schema_is_the_tables() -> None:
    assert SCHEMA.read_text() == schema(Settings) + "\n", (
        "python -m app.analysis.settings > docs/settings.schema.json"
    )


def test_settings_that_are_no_more_or_not_yet() -> None:
    with pytest.raises(ValueError, match="There is no setting 'beams'"):
        Settings(beams=3)
    with pytest.raises(ValueError, match="frozen"):
        Settings().samples = 3
    assert Settings().replace(samples=7) == Settings(samples=7)
    with pytest.raises(ValueError, match="samples must be"):
        Settings().replace(samples=0)


def test_an_address_sets_what_the_page_has_fields_for() -> None:
    query = {"samples": "64", "keep_frozen": "true", "mode": "inference", "input_mean": "0.5"}
    expected = Settings(samples=64, keep_frozen=True, mode="inference", input_mean=0.5)
    assert from_query(query, Settings) == expected
    ignored = {
        "job": "a" * 64,
        "seeds": "1000",
        "seed": "x",
        "gradients": "perhaps",
        "custom_objects": "os",
        "input_data": "/etc/passwd",
        "device": "tpu",
        "input_moments": "{}",
    }
    assert from_query(query | ignored, Settings) == expected


def test_a_word_may_take_a_numbers_place() -> None:
    samples = ENTRIES["samples"]
    assert (samples.kind, samples.word, samples.default) == (int, "auto", "auto")
    assert from_query({"samples": "auto"}, Settings).samples == "auto"
    assert [Settings(samples=each).samples for each in ("auto", 5)] == ["auto", 5]
    with pytest.raises(ValueError, match="from 1 to 65536, or auto; received 'many'"):
        Settings(samples="many")
    published = json.loads(schema(Settings))["properties"]["samples"]["anyOf"]
    assert {"const": "auto", "type": "string"} in published


@pytest.mark.parametrize(("typed", "samples"), [(None, "auto"), ("64", 64), ("300", 300)])
def test_the_page_offers_the_word_beside_numbers(typed: str | None, samples: Any) -> None:
    def page() -> None:
        import streamlit as st

        from app.dashboard.sidebar import settings_fields

        st.json(settings_fields())

    shown = AppTest.from_function(page)
    if samples == 300:  # of the address, and offered then like the others
        shown.query_params["samples"] = "300"
    shown.run(timeout=300)
    (field,) = [each for each in shown.selectbox if each.label == "Samples"]
    assert field.options[:3] == ["Automatic", "8", "16"]
    assert field.value == ("300" if samples == 300 else "Automatic")
    if typed is not None:
        field.select(typed).run(timeout=300)
    assert not shown.exception
    assert Settings(**{"samples": json.loads(shown.json[0].value)["samples"]}).samples == samples


# A new entry


def test_a_new_entry_is_validated_and_published() -> None:
    with pytest.raises(ValueError, match=r"^rounds must be a whole number from 1 to 9; received 0"):
        Wider(rounds=0)
    described = json.loads(schema(Wider))["properties"]["rounds"]
    assert (described["title"], described["maximum"]) == ("Rounds", 9)
    assert described["description"] == "How often it is done."
    assert from_query({"rounds": "5", "tone": "very_high"}, Wider) == Wider(
        rounds=5, tone="very_high"
    )


def test_a_new_entry_is_an_option_of_the_command_line() -> None:
    found: list[Settings] = []

    @click.command(cls=Command)
    @settings_options(Wider)
    def command(**given: Any) -> None:
        found.append(settings_of(given, Wider))

    arguments = ["--rounds", "5", "--tone", "very_high", "--loud"]
    assert CliRunner().invoke(command, arguments).exit_code == 0
    assert found == [Wider(rounds=5, tone="very_high", loud=True)]
    shown = CliRunner().invoke(command, ["--help"]).output
    assert "--rounds N" in shown
    assert "How often it is done. Default: 3." in shown
    assert CliRunner().invoke(command, ["--rounds", "10"]).exit_code != 0


def test_a_new_entry_is_a_field_of_the_page() -> None:
    def page() -> None:
        import streamlit as st

        from app.dashboard.sidebar import settings_fields
        from tests.app.analysis.test_settings import Wider

        st.json(settings_fields(Wider))

    shown = AppTest.from_function(page)
    shown.query_params["rounds"] = "4"
    shown.run(timeout=300)
    assert not shown.exception
    (rounds,) = [each for each in shown.number_input if each.label == "Rounds"]
    assert (rounds.value, rounds.min, rounds.max, rounds.help) == (4, 1, 9, "How often it is done.")
    (tone,) = [each for each in shown.selectbox if each.label == "Tone"]
    assert list(tone.options) == ["low", "very high"]
    (loud,) = [each for each in shown.checkbox if each.label == "Loud"]
    loud.check().run(timeout=300)
    assert json.loads(shown.json[0].value)["loud"] is True


def test_a_new_entry_is_in_the_snippet(result: dict[str, Any]) -> None:
    assert "repetitions" not in snippet(parsed(result), Wider), "a result from before"
    result["settings"] |= {"rounds": 5, "loud": False}
    text = snippet(parsed(result), Wider)
    assert "'repetitions': 5" in text
    assert "loud" not in text
