"""What number formats would do: its sentences and its table, wherever they are shown."""

import pytest
from streamlit.testing.v1 import AppTest

from app.analysis.formats import HEAD, format_findings, rows
from app.analysis.result import FormatFacts
from app.cli.terminal import summary
from app.export.report import report_html
from tests.app.parsing import parsed

FINE = {"overflow": 0.0, "underflow": 0.001, "subnormal": 0.0, "error": 2e-4, "scales": (9, 15)}


def facts(loss_scale=0, gradients=None, scaled=None, **kinds):
    parts = {name: FINE | kinds.get(name, {}) for name in ("weights", "signals")}
    back = FINE | (gradients or {})
    return FormatFacts(
        **parts,
        gradients=back,
        loss_scale=loss_scale,
        scaled_gradients=back | (scaled or {}),
        samples=32,
    )


def told(found, name="float16"):
    return list(format_findings({"default": {name: found}}))


def test_what_fits_is_not_told():
    assert told(facts()) == []


def test_the_first_tensor_to_overflow_is_named_and_what_is_lost_after_it_is_not():
    lost = {"overflow": 1.0, "overflow_at": "z"}
    (found,) = told(
        facts(
            signals={
                "overflow": 0.12,
                "overflow_at": "conv3",
                "scales": (-4, 11),
                "underflow_if_scaled": 0.0,
            },
            gradients=lost,
        )
    )
    assert (found.code, found.path, found.series) == ("format_overflows", "conv3", "default")
    assert found.message.startswith("In float16 signals with default weights overflow, first at")
    assert "12 %" in found.message
    assert "(2⁻⁴ … 2¹¹) loses 0 %" in found.message


def test_the_scale_of_the_loss_is_told_with_what_it_leaves():
    lost = {"underflow": 0.4, "underflow_at": "conv1", "underflow_if_scaled": 0.0}
    (found,) = told(facts(17, lost, {"underflow": 0.02, "overflow": 0.01}))
    assert (found.code, found.path) == ("format_underflows", "conv1")
    assert "40 % of the entries of a tensor of gradients" in found.message
    left = "With the loss multiplied by 2¹⁷, 2 % become 0 and 1 % overflow."
    assert left in found.message


@pytest.fixture
def narrow(build_result):
    lost = {"underflow": 0.4, "underflow_at": "conv1"}
    found = facts(17, lost, signals={"underflow": 0.06}).model_dump()
    result = build_result(10, uploaded=True)
    return parsed(result | {"formats": {name: {"float16": found} for name in result["series"]}})


def test_a_table_has_a_row_for_each_kind_of_tensor(narrow):
    table = rows(narrow)
    assert len(table) == 3 * 4
    row = dict(zip(HEAD, table[3], strict=True))
    assert (row["of"], row["become 0"], row["error"]) == ("gradients × 2¹⁷", "40 %", "2.0×10⁻⁴")
    assert [each[-1] for each in table[:4]] == [
        "as it is",
        "× 2⁹ … × 2¹⁵",
        "loss × 2¹⁷",
        "× 2⁹ … × 2¹⁵",
    ]


def test_terminal_and_report_show_it(narrow, result):
    lines = summary(narrow).splitlines()
    shown = [line.split()[0] for line in lines if " float16 " in line]
    assert shown == ["AutoInit"] * 4 + ["Uploaded"] * 4  # the file's own, and the remedy
    report = report_html(narrow)
    assert "gradients × 2¹⁷" in report
    assert "over 32 samples" in report
    assert "<h2>Number formats</h2>" in report
    assert "<h2>Number formats</h2>" not in report_html(parsed(result))
    assert "float16" not in summary(parsed(result))


def test_the_page_shows_it(narrow):
    def page(found):
        from app.dashboard.result.sections import show_formats

        show_formats(found)

    (shown,) = AppTest.from_function(page, args=(narrow,)).run().dataframe
    assert shown.value["fits"].tolist() == [row[-1] for row in rows(narrow)]
