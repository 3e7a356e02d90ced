"""Report, table and headline: what leaves the page, and that no name in it is ever run."""

import csv
import html
import io
import re
from html.parser import HTMLParser

import pytest

from app.analysis import cards as cards_module
from app.analysis import grouping, headline
from app.export import report, tables
from app.export.tables import columns
from app.text.escaping import html_text, markdown_text, plain_text, spreadsheet_text
from app.text.formatting import duration, number, plural, shape, size
from tests.app.parsing import on_files, parsed

grouped, lead = on_files(grouping.grouped), on_files(grouping.lead)
unsupported_sentence = on_files(grouping.unsupported_sentence)
agreement, cards = on_files(cards_module.agreement), on_files(cards_module.cards)
series_figures, verdict_parts = on_files(headline.series_summary), on_files(headline.verdict_parts)
report_html = on_files(report.report_html)
csv_text, rows = on_files(tables.csv_text), on_files(tables.rows)

HOSTILE = "</script><script>alert('x')</script><b onload=y>\u202e"


class Reader(HTMLParser):
    """Collects what a browser would see: tags, what they fetch, the text of table rows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.scripts = 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href")]


def hostile_result(build_result):
    result = build_result(
        20, unsupported=(7,), name=HOSTILE, path=lambda block, layer: HOSTILE + layer
    )
    for call in result["calls"]:
        call["class"] = HOSTILE
    for warning in result["warnings"]:
        warning["message"] = HOSTILE
    result["device"]["name"] = HOSTILE
    result["model"]["inputs"][0]["name"] = HOSTILE
    return result


def test_the_report_has_everything_in_one_file(deep_result):
    text = report_html(deep_result)
    reader = Reader(text)
    assert reader.addresses == []
    assert text.count("Plotly.newPlot(") == 5
    assert len(re.findall(r"plotly\.js v\d", text)) == 1
    assert "made-up.keras" in text
    assert "Swirl" in text
    assert "Choose in the legend to see what the paper's model predicts" in html.unescape(text)
    assert '"visible":"legendonly"' in text
    assert "truncated_normal" in text
    assert reader.tags.count("tr") > 140
    for card in cards(deep_result):
        assert html_text(card.value) in text


def test_hostile_names_stay_text_in_the_report(build_result):
    harmless = Reader(report_html(build_result(20, unsupported=(7,))))
    text = report_html(hostile_result(build_result))
    assert "<b onload" not in text
    assert "<script>alert" not in text
    assert "\u202e" not in text
    assert sorted(Reader(text).tags) == sorted(harmless.tags)


def test_the_report_allows_no_request(result):
    assert "content=\"default-src 'none';" in report_html(result)


def test_a_row_per_call_with_numbers_as_numbers(deep_result):
    table = rows(deep_result)
    assert len(table) == 140
    assert list(table[0]) == columns(deep_result["series"])
    measured = deep_result["calls"][5]["uploaded"]["measured"]["variance"]
    assert table[5]["uploaded_measured_variance"] == measured
    assert table[63]["default_measured_variance"] is None
    assert table[63]["default_predicted_variance"] is not None
    assert table[62]["support"] == "pass_through"
    assert table[70]["tainted"] is True


def test_how_sure_a_variance_is_stands_in_table_and_report(deep_result):
    deep_result["calls"][5]["uploaded"]["measured"]["standard_error"] = 0.0312
    table = rows(deep_result)
    assert table[5]["uploaded_measured_standard_error"] == 0.0312
    assert table[6]["uploaded_measured_standard_error"] is None
    text = report_html(deep_result)
    assert "Uploaded error of the variance" in text
    assert "3.12 %" in text


def test_a_report_of_one_sample_has_no_correlations(result):
    for call in result["calls"]:
        for series in result["series"]:
            for block in call[series].values():
                block.pop("sample_correlation", None), block.pop("position_correlation", None)
    assert report_html(result).count("Plotly.newPlot(") == 3


def test_gradients_and_singular_values_are_in_the_report_where_they_were_measured(build_result):
    text = report_html(build_result(gradients=True, jacobian=2, seeds=3))
    assert text.count("Plotly.newPlot(") == 7
    assert "Gradient of each layer" in text
    assert "condition number 1.0×10⁶" in text  # the default's
    assert "of 10 predictions" in text
    without = report_html(build_result())
    assert "Gradient of each layer" not in without
    assert "Jacobian" not in without


def test_the_verdict_in_words(build_result):
    exploding = build_result(50, growth=1.3)
    does, path, rate = verdict_parts(exploding, "default")
    assert (does, path) == ("explodes from", "block0/conv")
    # Ten weighted calls, five calls apart: e^(5·0.3) from one to the next.
    assert rate == "on, ×4.48 for each layer with a kernel"
    assert verdict_parts(exploding, "autoinit") == ("is stable", None, "")
    assert verdict_parts(build_result(50, growth=0.7), "default")[0] == "vanishes from"
    assert verdict_parts(build_result(5, opaque=0), "default")[0] == "is not measured"


def test_headline_cards_of_what_was_measured_besides(build_result):
    told = {c.label: c for c in cards(build_result(10, gradients=True, jacobian=1, seeds=3))}
    assert (told["Condition number"].value, told["Condition number"].note) == (
        "100",
        "Default: 1.0×10⁶",
    )
    assert told["Outside the band"].value == "2"
    # Weighted calls 0 and 5, with gradients of e^0 and e^-1.5.
    assert told["Gradient's range"].note == "Default: ×4.48"
    assert told["Gradient's range"].value == "×1.00"
    assert {"Condition number", "Outside the band", "Gradient's range"}.isdisjoint(
        card.label for card in cards(build_result())
    )


def test_csv_reads_back(deep_result):
    read = list(csv.DictReader(io.StringIO(csv_text(deep_result))))
    assert len(read) == 140
    for flat, call in zip(read, deep_result["calls"], strict=True):
        assert flat["path"] == call["path"]
        assert flat["weighted"] == str(call["weighted"]).lower()
        expected = call["default"]["predicted"]["variance"]
        assert float(flat["default_predicted_variance"]) == expected
        alike = call["uploaded"]["predicted"]["sample_correlation"]
        assert float(flat["uploaded_predicted_sample_correlation"]) == alike
    assert read[63]["default_measured_variance"] == ""


@pytest.mark.parametrize("start", ["=", "+", "-", "@", " =", "＝", "＋", "－", "＠"])
def test_text_cells_never_start_a_formula(build_result, start):
    result = build_result(10, path=lambda block, layer: f"{start}cmd|' /c calc'!A{block}{layer}")
    result["calls"][0]["autoinit"]["measured"]["mean"] = -1.5
    first = next(csv.DictReader(io.StringIO(csv_text(result), newline="")))
    assert first["path"].startswith("'" + start)
    assert first["autoinit_measured_mean"] == "-1.5"
    assert spreadsheet_text("block1/conv") == "block1/conv"


@pytest.mark.parametrize("start", ["\t=", "\r=", "\n=", "\0", "\x1b[2J", "\x9b2J", "\u202e"])
def test_text_cells_hold_nothing_invisible(build_result, start):
    result = build_result(10, path=lambda block, layer: f"{start}{block}{layer}")
    result["calls"][0]["opaque"] = start
    text = csv_text(result)
    assert set(start) & set(text) <= set("=2J[\r\n")
    first = next(csv.DictReader(io.StringIO(text, newline="")))
    assert first["path"].startswith("\ufffd")
    assert first["not_run"].startswith("\ufffd")


def test_smallest_largest_and_final_variance(result):
    figures = series_figures(result, "default")
    weighted = [result["calls"][i]["default"]["measured"]["variance"] for i in (0, 5)]
    assert (figures.smallest, figures.largest) == (min(weighted), max(weighted))
    assert figures.final == result["calls"][-1]["default"]["measured"]["variance"]
    assert (figures.overflowed, figures.underflowed) == (0, 0)
    assert figures.verdict == "stable"


@pytest.mark.parametrize(
    ("calls", "growth", "verdict"),
    [
        (60, 1.3, "explodes"),
        (60, 0.7, "vanishes"),
        (4000, 1.1, "overflows"),
        (400, 0.3, "underflows"),
    ],
)
def test_the_verdict_says_what_happens(build_result, calls, growth, verdict):
    result = build_result(calls, growth=growth)
    assert series_figures(result, "default").verdict == verdict
    assert series_figures(result, "autoinit").verdict == "stable"


def test_the_verdict_goes_by_the_target(build_result):
    result = build_result(20, growth=1.0)
    result["settings"]["signal_variance"] = 1e-6
    assert series_figures(result, "autoinit").verdict == "explodes"


def test_a_network_that_is_measured_in_part_is_not_called_stable(cut_result, build_result):
    figures = series_figures(cut_result, "autoinit")
    assert (figures.verdict, figures.weighted, figures.unmeasured) == ("stable so far", 6, 3)
    assert figures.final is None
    shown = {card.label: card for card in cards(cut_result)}
    assert shown["Variance, AutoInit weights"].note == "stable so far"
    assert "3 of 6 layers with a kernel could not be measured" in (
        shown["Variance, AutoInit weights"].explanation
    )
    assert "last layer was not measured" in shown["Variance, AutoInit weights"].explanation
    assert (shown["Layers measured"].value, shown["Layers measured"].note) == ("40 %", "12 of 30")
    assert "Layers measured" not in {card.label for card in cards(build_result(30))}


def test_what_is_known_of_the_measured_part_is_said(build_result):
    assert series_figures(build_result(100, growth=1.5, opaque=50), "default").verdict == "explodes"
    assert series_figures(build_result(100, growth=0.5, opaque=50), "default").verdict == "vanishes"


def test_a_network_that_is_cut_at_its_entrance_is_neither_healthy_nor_sick(build_result):
    result = build_result(30, opaque=0)
    figures = series_figures(result, "default")
    assert (figures.verdict, figures.overflowed, figures.underflowed) == ("not measured", 0, 0)
    first = cards(result)[0]
    assert (first.value, first.note) == ("–", "only predicted")
    assert agreement(result, "autoinit") is None
    assert "<html" in report_html(result)


def test_a_series_without_measurements_is_not_judged(result):
    for call in result["calls"]:
        call["default"]["measured"] = None
    assert series_figures(result, "default").verdict == "not measured"
    assert agreement(result, "default") is None
    assert cards(result)[0].note == "only predicted"


def test_agreement_is_a_factor_either_way(result):
    for index, call in enumerate(result["calls"]):
        measured = call["autoinit"]["measured"]["variance"]
        call["autoinit"]["predicted"]["variance"] = measured * (2.0 if index % 2 else 0.5)
    result["calls"][4]["autoinit"]["predicted"]["variance"] /= 4
    found = agreement(result, "autoinit")
    assert found.median == pytest.approx(2.0)
    assert found.largest == pytest.approx(8.0)
    assert found.where == result["calls"][4]["path"]
    assert found.compared == 10


def test_agreement_survives_quotients_that_no_float_can_hold(result):
    result["calls"][4]["autoinit"]["measured"]["variance"] = 1e-200
    result["calls"][4]["autoinit"]["predicted"]["variance"] = 1e200
    assert agreement(result, "autoinit").largest == float("inf")


def test_coverage_counts_calls_by_support(deep_result):
    found = parsed(deep_result)
    assert sum(found.coverage.values()) == 140
    assert found.coverage["pass_through"] == 1
    assert found.tainted == 77
    card = next(card for card in cards(deep_result) if card.label == "Layers with a rule")
    assert (card.value, card.note) == ("99.2 %", "139 of 140")


def test_coverage_never_rounds_up_to_all(build_result):
    result = build_result(4000, growth=1.0, unsupported=(17,))
    card = next(card for card in cards(result) if card.label == "Layers with a rule")
    assert card.value == "99.9 %"


def test_layers_without_a_rule_come_first(deep_result):
    for code in ("shared_layer", "input_scaling", "brand_new_code"):
        warning = {"code": code, "path": "conv", "class": "Conv2D", "message": code}
        deep_result["warnings"].insert(0, warning)
    found = grouped(deep_result)
    codes = [group.code for group in found]
    assert codes == ["unsupported_layer", "input_scaling", "shared_layer", "brand_new_code"]
    assert [group.severity.in_sight for group in found] == [True, True, False, False]
    assert found[-1].title == "Brand new code"


def test_what_is_not_run_comes_before_all(build_result):
    result = build_result(30, unsupported=(3,), opaque=12)
    first, second = grouped(result)
    assert (first.code, second.code) == ("opaque_layer", "unsupported_layer")
    sentence = lead(result, "opaque_layer", str.upper)
    assert sentence.startswith(
        "1 layer of LAMBDA was not run, and nothing was measured there or at"
    )
    assert "the 17 layers after it" in sentence
    # The layer without a rule is another one, though the Lambda has none either.
    assert lead(result, "unsupported_layer", str).startswith("1 layer of Swirl has no rule")
    assert lead(result, "input_scaling", str) == ""


def test_one_sentence_does_for_layers_and_activations(cut_result):
    cut_result["calls"][20]["opaque"] = "it is not known"
    warning = {"code": "opaque_activation", "path": "a", "class": "A", "message": "m"}
    cut_result["warnings"].append(warning)
    assert lead(cut_result, "opaque_layer", str).startswith("2 layers of Lambda, Conv2D were not")
    assert lead(cut_result, "opaque_activation", str) == ""


def test_many_classes_are_counted(build_result):
    result = build_result(60, unsupported=tuple(range(0, 60, 5)))
    for place, call in enumerate(result["calls"]):
        call["class"] = f"Swirl{place}"
    assert "and 4 other classes have" not in lead(result, "unsupported_layer", str)
    assert "Swirl35, 4 other classes have no rule" in lead(result, "unsupported_layer", str)


def test_the_report_says_what_was_not_run_and_what_is_frozen(cut_result):
    cut_result["calls"][0]["frozen"] = True
    text = report_html(cut_result)
    assert "1 layer of Lambda was not run" in text
    assert "pass through, not run" in text
    assert "exact, frozen" in text
    assert "at or after a layer that is not run." in text
    assert "Stable so far" in text


def test_results_of_before_can_still_be_shown(build_result):
    result, old = build_result(20, unsupported=(7,)), build_result(20, unsupported=(7,))
    for call in old["calls"]:
        del call["opaque"], call["frozen"]
    assert report_html(old) == report_html(result)
    assert csv_text(old) == csv_text(result)


def test_the_sentence_about_missing_rules_counts(deep_result):
    sentence = unsupported_sentence(deep_result, ["Swirl"])
    assert sentence.startswith("1 layer of Swirl has no rule")
    assert "At 77 layers after it the prediction" in sentence


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0.0, "0"),
        (1.0, "1"),
        (1.034, "1.03"),
        (-0.5, "−0.5"),
        (123.4, "123"),
        (9999.0, "1.0×10⁴"),
        (3.2e8, "3.2×10⁸"),
        (-1e-40, "−1.0×10⁻⁴⁰"),
    ],
)
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


def test_quantities_in_words():
    assert duration(0.84) == "0.8 s"
    assert duration(200.4) == "3 min 20 s"
    assert size(528_000_000) == "528 MB"
    assert plural(1, "call") == "1 call"
    assert plural(4000, "call") == "4,000 calls"
    assert shape([None, 32, 3]) == "?×32×3"
    assert shape([]) == "scalar"
    assert shape([[None, 2], [None, 4]]) == "?×2, ?×4"


def test_invisible_characters_are_replaced_and_long_names_shortened():
    assert plain_text("a\u202eb\0c\nd") == "a\ufffdb\ufffdc\ufffdd"
    assert plain_text("x" * 1_000_000, 60) == "x" * 20 + "…" + "x" * 39
    assert plain_text("stage1/block2/conv3", 12) == "stag…2/conv3"


def test_markup_of_either_kind_is_escaped():
    assert html_text("<b>'\"&") == "&lt;b&gt;&#x27;&quot;&amp;"
    joiner = "\N{WORD JOINER}"
    assert markdown_text("www.a") == f"www{joiner}&#46;a"
    assert markdown_text("HTTPS://a") == f"HTTPS&#58;{joiner}&#47;&#47;a"
    assert markdown_text("a@b") == f"a{joiner}&#64;b"
    assert markdown_text("**a**[x](y)") == ("&#42;&#42;a&#42;&#42;&#91;x&#93;&#40;y&#41;")
