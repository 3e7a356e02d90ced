"""The part of the page that looks through the rows of `autoinit batch`."""

from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

import app.jobs
from app.analysis.batch.row import Row
from app.analysis.batch.store import Store
from app.dashboard.batch import MODEL, VARIABLE, short_names
from tests.app.dashboard.test_dashboard import PAGE, checked

WELL = Row(
    file="/nets/a/<b>.keras", settings='{"samples": 9, "trust": true}', settings_hash="h",
    verdict="trains", verdict_reason="Signals keep their size.", layers=4, calls=5, weighted=3,
    depth=3, parameters=1000, within=1.0, smallest=0.9, largest=1.1, final=1.0, update_range=2.0,
    variances=(0.9, 1.1, None), after_verdict="trains", after_within=1.0, after_smallest=1.0,
    after_largest=1.0, after_final=1.0, after_variances=(1.0, 1.0, 1.0), seconds=0.5,
    trial="{}", best_scheme="he", best_rate=0.01, best_score=0.8, own_score=0.7, chance=0.1,
)  # fmt: skip
ILL = replace(
    WELL, file="/nets/b/c.keras", verdict="cannot train", causes=("signal_vanishes",), depth=30,
    parameters=90_000, verdict_reason="The signal is gone.", variances=(1e-3, 1e-9, 0.0),
)  # fmt: skip
REFUSED = Row(file="/nets/d.keras", settings_hash="h").failed("refused", "unsupported", "No rule.")


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(app.jobs, "warm_up", lambda: None)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "rows.parquet"))
    with Store(tmp_path / "rows.parquet") as store:
        for row in (WELL, ILL, REFUSED):
            store.append(row)
    return tmp_path / "rows.parquet"


def page(**query):
    opened = AppTest.from_file(PAGE, default_timeout=300)
    for name, value in {"models": "all", **query}.items():
        opened.query_params[name] = value
    return checked(opened.run())


def shown(opened):
    return list(opened.dataframe[0].value["name"])


def test_the_table_is_filtered_by_verdict_cause_and_size(path):
    opened = page()
    assert shown(opened) == ["a/<b>.keras", "b/c.keras", "d.keras"]
    assert "3 of 3 models: 1 trains, 1 cannot train, 1 refused" in {c.value for c in opened.caption}
    checked(opened.multiselect(key="models_verdicts").set_value(["trains", "refused"]).run())
    assert shown(opened) == ["a/<b>.keras", "d.keras"]
    checked(opened.multiselect(key="models_verdicts").set_value([]).run())
    checked(opened.multiselect(key="models_causes").set_value(["signal_vanishes"]).run())
    assert shown(opened) == ["b/c.keras"]
    checked(opened.multiselect(key="models_causes").set_value([]).run())
    checked(opened.select_slider(key="models_depth").set_value((3, 4)).run())
    assert shown(opened) == ["a/<b>.keras"]
    checked(opened.text_input(key="models_filter").set_value("d.keras").run())
    assert shown(opened) == []


def test_the_other_views_draw_the_same_models(path):
    opened = page()
    checked(opened.segmented_control(key="models_view").set_value("Scatter").run())
    (chart,) = opened.get("plotly_chart")
    assert "cannot train" in chart.proto.spec
    assert "&lt;b&gt;" in chart.proto.spec
    checked(opened.segmented_control(key="models_view").set_value("Curves").run())
    (cells,) = (each.proto.body for each in opened.get("html") if "class=curves" in each.proto.body)
    assert cells.count("<img ") == 2  # what has no figures has no curve
    assert "a/&lt;b&gt;.keras" in cells
    assert "<b>" not in cells


def test_a_model_stands_in_the_address(path):
    opened = page(**{MODEL: "h:/nets/b/c.keras"})
    texts = [each.value for each in opened.markdown]
    assert any("✖ cannot train" in text for text in texts)
    assert "Causes: [The signal vanishes](?finding=signal_vanishes)" in texts
    assert any("is not on this machine" in each.value for each in opened.caption)
    told = "best was He at a rate of 0.01: 0.8 (its own initializers 0.7, without training 0.1)."
    assert any(told in each.value for each in opened.caption)
    assert page(**{MODEL: "h:/nets/d.keras"}).error[0].value.startswith("Refused: No rule")


def test_its_analysis_is_a_click_away(path, tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr(app.jobs, "submit", lambda spec, **_: begun.append(spec) or 1 / 0)
    there = tmp_path / "there.keras"
    there.write_bytes(b"")
    with Store(path) as store:
        store.append(replace(WELL, file=str(there)))
    opened = page(**{MODEL: f"h:{there}"})
    (button,) = (each for each in opened.button if each.label == "Open its analysis")
    button.click().run()
    ((model, samples, trust),) = ((s.model, s.settings.samples, s.settings.trust) for s in begun)
    assert (model, samples, trust) == (str(there), 9, False)  # this server runs no one's code


def test_rows_that_came_later_are_there(path):
    assert len(page().dataframe[0].value) == 3
    with Store(path) as store:
        store.append(replace(WELL, file="/nets/e.keras"))
        assert len(page().dataframe[0].value) == 4


def test_another_file_is_told(path):
    path.write_bytes(b"no table")
    assert "is no Parquet file" in page().error[0].value.replace("&#46;", ".")


def test_names_are_without_what_all_share():
    names = ["/a/b/one.keras", "/a/b/c/two.keras", "sample:x", "depth 3"]
    assert short_names(names) == ["one.keras", "c/two.keras", "sample:x", "depth 3"]
    assert short_names(["/a/b/one.keras"]) == ["one.keras"]


def test_on_a_phone_the_sidebar_makes_way_for_what_was_chosen_in_it(path):
    def closes_the_sidebar(opened):
        return any("stSidebarCollapseButton" in each.proto.body for each in opened.get("html"))

    opened = checked(AppTest.from_file(PAGE, default_timeout=300).run())
    assert not closes_the_sidebar(opened)
    (button,) = [each for each in opened.sidebar.button if each.label.startswith("Models in")]
    button.click()
    assert closes_the_sidebar(checked(opened.run()))
    assert shown(opened)
    assert not closes_the_sidebar(checked(opened.run()))
