import math

import keras
import pytest
from keras import layers

from autoinit.propagation import Options, input_signals, predict
from autoinit.reading import read_model
from autoinit.rules.registry import Support
from autoinit.signals import SIGNAL_MODELS
from tests.autoinit.rules.checks import check_given_weights, last_signal, predicted
from tests.contracts.case import SHIFTED, case
from tests.contracts.data_cases import ENCODING, VOCABULARY, WORDS

TOKENS = {"num_tokens": 6, "input_dtype": "int32"}
ANY = 1 - (5 / 6) ** 4  # that one of four integers is a given one of six
EDGES = {"bin_boundaries": [-1.0, 1.0]}
OUTSIDE = 0.158655254  # P(Z > 1)

HAND = [
    (case(layers.CategoryEncoding, "one", (4,), output_mode="one_hot", **TOKENS), 1 / 6, 5 / 36),
    (case(layers.CategoryEncoding, "any", (4,), **TOKENS), ANY, ANY * (1 - ANY)),
    (case(layers.CategoryEncoding, "any along the first axis", (4, 3), **TOKENS),
     ANY, ANY * (1 - ANY)),
    (case(layers.CategoryEncoding, "how many", (4,), output_mode="count", **TOKENS),
     4 / 6, 20 / 36),
    (case(layers.CategoryEncoding, "sparse", (4,), output_mode="one_hot", sparse=True, **TOKENS),
     1 / 6, 5 / 36),
    # Four terms of mean m/6 and second moment (v + m²)/6.
    (case(layers.CategoryEncoding, "weights", (4,), (4,), moments=((2.5, 35 / 12), *SHIFTED),
          build=lambda x, y: layers.CategoryEncoding(6, "count")(
              x, count_weights=layers.Rescaling(1.0)(y))),
     1 / 3, 4 * (1.75 / 6 - 0.25 / 36)),
    # What it knows is looked up: 1, 5 and 7 become 1, 2 and 3.
    (case(layers.IntegerLookup, "places", (4,), input_dtype="int32", **VOCABULARY), 2.0, 2 / 3),
    # 0, which it does not know, becomes 0, and 1 stands first.
    (case(layers.IntegerLookup, "unknown", (4,), input_dtype="int32",
          build=lambda x: layers.IntegerLookup(**VOCABULARY)(layers.Reshape((4, 1))(x))),
     0.5, 0.25),
    # One of three rows out of four: the first is of what it does not know.
    (case(layers.IntegerLookup, "one", (4,), input_dtype="int32", output_mode="one_hot",
          **VOCABULARY), 1 / 4, 3 / 16),
    # Three numbers of four, of mean 4/3 and second moment 8/3, times 0.5, 0.3, 0.2, and a zero.
    (case(layers.IntegerLookup, "weighted by rarity", (4,), input_dtype="int32",
          output_mode="tf_idf", idf_weights=[0.5, 0.3, 0.2], **VOCABULARY),
     1 / 3, 8 / 3 * 0.38 / 4 - 1 / 9),
    # Three words become 1, 2 and 3.
    (case(layers.StringLookup, "places", (4,), **WORDS), 2.0, 2 / 3),
    (case(layers.StringLookup, "any", (4,), output_mode="multi_hot", **WORDS),
     0.75 * (1 - (2 / 3) ** 4), 0.75 * (1 - (2 / 3) ** 4) * (1 - 0.75 * (1 - (2 / 3) ** 4))),
    # Of one word alone: it is there, and what is not known is not.
    (case(layers.TextVectorization, "one word", (1,), output_mode="multi_hot",
          vocabulary=["a"], input_dtype="string"), 0.5, 0.25),
    (case(layers.Hashing, "one bin", (4,), input_dtype="int32", num_bins=1), 0.0, 0.0),
    (case(layers.HashedCrossing, "one bin, one_hot", (1,), (1,), input_dtype="int32", num_bins=1,
          output_mode="one_hot"), 1.0, 0.0),
    (case(layers.Discretization, "three bins", (4,), **EDGES), 1.0, 2 * OUTSIDE),
    (case(layers.Discretization, "three bins, one", (4,), output_mode="one_hot", **EDGES),
     1 / 3, 2 / 9),
    (case(layers.Discretization, "one edge, two entries, any", (2,), bin_boundaries=[0.0],
          output_mode="multi_hot"), 0.75, 0.1875),
    (case(layers.Discretization, "a constant", (4,), moments=((2.0, 0.0),), **EDGES), 2.0, 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("case", "mean", "variance"), HAND, ids=str)
def test_by_hand(case, mean, variance):
    signal = last_signal(case)
    assert (signal.mean, signal.variance) == pytest.approx((mean, variance), rel=1e-3, abs=1e-9)


def test_a_text_is_padded_to_its_length():
    padded = case(layers.TextVectorization, "", (1,), output_sequence_length=64, **WORDS)
    outcome = predicted(padded).results[-1]
    # Of 64 places the first 32 hold 2, 3 or 4, the others 0.
    signal, error = outcome.signals[0], outcome.standard_error
    assert signal.mean == pytest.approx(1.5, rel=0.01)
    assert signal.variance == pytest.approx(29 / 6 - 2.25, abs=5 * error)
    assert error < 0.05


@pytest.mark.parametrize("signal_model", SIGNAL_MODELS)
def test_some_integers_stand_for_very_many(signal_model):
    data = keras.Input((4,), dtype="int32")
    graph = read_model(keras.Model(data, layers.Hashing(3)(data)))
    size = 100_000
    many = SIGNAL_MODELS[signal_model].gaussian((size - 1) / 2, (size**2 - 1) / 12)
    few = input_signals(graph, signal_model=signal_model)[0]
    sampled, exact = (predict(graph, {0: signal}, Options()).results[-1] for signal in (many, few))
    assert (sampled.support, exact.support) == (Support.APPROXIMATE, Support.EXACT)
    # Three bins, hit alike: ⅓(0 + 1 + 2) and ⅓(0 + 1 + 4) − 1.
    assert sampled.signals[0].mean == pytest.approx(1.0, abs=0.03)
    assert sampled.signals[0].variance == pytest.approx(2 / 3, abs=0.03)


@pytest.mark.parametrize(
    "refusing",
    [
        case(
            layers.IntegerLookup,
            "knows 3 alone",
            (4,),
            input_dtype="int32",
            build=lambda x: layers.IntegerLookup(vocabulary=[3], num_oov_indices=0)(
                layers.Reshape((4, 1))(x)
            ),
        ),
        pytest.param(
            case(
                layers.CategoryEncoding,
                "of negative numbers",
                (4,),
                build=lambda x: layers.CategoryEncoding(6)(layers.Rescaling(1.0, -9.0)(x)),
            ),
            marks=pytest.mark.skipif(
                keras.backend.backend() != "tensorflow",
                reason="only on TensorFlow does Keras refuse numbers out of range",
            ),
        ),
        case(layers.StringLookup, "knows no words", (4,), input_dtype="string"),
        case(
            layers.StringLookup,
            "gives words back",
            (4,),
            invert=True,
            vocabulary=["a"],
            input_dtype="int32",
        ),
        case(layers.TextVectorization, "knows no words", (1,), input_dtype="string"),
        case(layers.Discretization, "has seen no data", (4,), num_bins=3, output_mode="one_hot"),
    ],
    ids=str,
)
def test_what_a_layer_refuses_is_passed_through(refusing):
    outcome = predicted(refusing).results[-1]
    assert outcome.support is Support.PASS_THROUGH
    assert [finding.code for finding in outcome.findings] == ["unsupported_layer"]


@pytest.mark.parametrize("moments", [(math.nan, 1.0), (0.0, math.inf), (1e300, 1e300), (5.0, 0.0)])
@pytest.mark.parametrize("kind", [layers.Hashing, layers.Discretization])
def test_signals_of_any_size_have_a_figure_or_none(kind, moments):
    arguments = {"num_bins": 3} if kind is layers.Hashing else EDGES
    signal = last_signal(case(kind, "", (4,), moments=(moments,), **arguments))
    assert math.isfinite(signal.mean) == all(map(math.isfinite, moments))


@pytest.mark.parametrize("case", ENCODING, ids=str)
def test_real_layer(case):
    check_given_weights(case)
