"""What a grid of trainings says, from cells that are made up."""

import pytest

from app.analysis.trials.answer import answer, bolder_than, standing
from tests.app.analysis.trials.made_up import made_up


def test_the_best_is_taken_at_its_best_rate():
    found = answer(
        made_up({"default": [0.1, [0.3, 0.3], None], "autoinit": [0.5, [0.9, 0.88], None]})
    )
    assert (found.scheme, found.rate, found.alike) == ("autoinit", 0.01, ("autoinit",))
    assert found.sentence.startswith("Take AutoInit, with a rate of 0.01: 89 % of unseen samples")
    assert "Its own initializers 30 %" in found.sentence


def test_what_lies_within_two_standard_errors_is_as_good():
    close = answer(made_up({"he": [0, [0.88, 0.9], 0], "autoinit": [0, [0.9, 0.91], 0]}))
    assert close.alike == ("autoinit", "he")
    assert "As good, within two standard errors: He at 0.01" in close.sentence
    apart = answer(made_up({"he": [0, [0.8, 0.8], 0], "autoinit": [0, [0.9, 0.9], 0]}))
    assert apart.alike == ("autoinit",)


def test_a_model_is_not_changed_without_need():
    found = answer(made_up({"default": [0, [0.88, 0.9], 0], "autoinit": [0, [0.9, 0.91], 0]}))
    assert found.scheme == "default"
    assert found.sentence.startswith("Keep the model's own initializers")
    # That its draws differ widely makes it no equal: its mean is clearly lower.
    found = answer(made_up({"default": [0, [0.9, 0.1], 0], "autoinit": [0, [0.9, 0.91], 0]}))
    assert (found.scheme, found.alike) == ("autoinit", ("autoinit", "default"))


def test_a_further_draw_that_diverges_counts_as_nothing_learnt():
    found = answer(made_up({"he": [0, [0.9, None], 0], "autoinit": [0, [0.7, 0.7], 0]}))
    he = next(each for each in found.standings if each.scheme == "he")
    assert he.score == pytest.approx((0.9 + 0.1) / 2)
    assert found.scheme == "autoinit"


def test_where_nothing_learns_nothing_is_recommended():
    found = answer(made_up({"default": [0.1, 0.12, None], "autoinit": [0.11, 0.1, 0.13]}))
    assert found.scheme is None
    assert found.sentence.startswith("None of 6 trainings learnt anything in 100 steps")


def test_rates_that_do_as_well_and_rates_at_the_end():
    found = answer(made_up({"autoinit": [0.9, 0.91, 0.5]}))
    assert (found.rate, found.standings[0].low, found.standings[0].high) == (0.001, 0.001, 0.01)
    assert found.standings[0].at_end == "smallest"
    assert "0.001 (0.001 to 0.01 do as well)" in found.sentence
    assert "That is the smallest rate tried" in found.sentence
    (alone,) = answer(made_up({"autoinit": [0.5, 0.7, 0.91]})).standings
    assert (alone.rate, alone.at_end) == (0.1, "largest")


def test_of_rates_that_do_as_well_the_middle_one_is_tried_again():
    found = answer(made_up({"autoinit": [0.9, 0.88, 0.91]}))
    assert (found.rate, found.standings[0].score) == (0.01, 0.88)
    # Once it has further draws, a single training at another rate does not take its place.
    found = answer(made_up({"autoinit": [0.9, [0.88, 0.84], 0.91]}))
    assert (found.rate, found.standings[0].draws) == (0.01, 2)


def test_of_a_loss_what_the_best_constant_loses_is_gained():
    found = answer(made_up({"autoinit": [0.2, 0.6, None]}, measure="loss", chance=0.0, error=0.0))
    assert "60 % of what the best constant loses is gained" in found.sentence
    assert answer(made_up({"autoinit": [0.02, -3.0, None]}, "loss", 0.0, error=0.0)).scheme is None


def test_nothing_is_said_before_a_training_is_over():
    started = made_up({"autoinit": [0.5, 0.5, 0.5]}).model_copy(update={"trainings": ()})
    assert answer(started).sentence == ""


def test_rates_up_to_which_nothing_diverges():
    (found,) = answer(made_up({"autoinit": [0.5, 0.9, None]})).standings
    assert found.stable == 0.01
    (found,) = answer(made_up({"autoinit": [None, 0.9, 0.5]})).standings
    assert found.stable is None


def test_a_rate_that_other_weights_do_not_bear_leads_to_the_next_smaller_one():
    found = made_up({"centred": (0.9, 0.94, [0.97, None, 0.5, 0.6])})
    assert bolder_than(found, "centred", 0.1, 1) == 0.01  # it diverged
    assert bolder_than(found, "centred", 0.1, 2) == 0.01  # 0.4 of 0.87 above chance
    assert bolder_than(found, "centred", 0.1, 3) is None  # 0.5 of 0.87
    assert bolder_than(found, "centred", 0.1, 4) is None  # was not trained
    lowest = made_up({"centred": ([0.9, None], None, None)})
    assert bolder_than(lowest, "centred", 0.001, 1) is None


def test_of_two_rates_with_as_many_draws_the_better_mean_counts():
    found = made_up({"centred": (None, [0.94, 0.9], [0.97, None])})
    assert standing(found, "centred").rate == 0.01
