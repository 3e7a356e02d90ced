"""Data files from anyone: what is read of them, what is refused, and what a job makes of them."""

import io
import json
import pickle
import struct
import zipfile

import keras
import numpy as np
import pytest
from keras import layers

from app.analysis.comparison import compare
from app.analysis.comparison.figures import calls_of
from app.analysis.comparison.input_data import fitted, read_input_data
from app.analysis.input_moments import joined_moments, parse_moment, parse_moments
from app.analysis.job_spec import JobSpec
from app.analysis.settings import Settings
from app.jobs.execution import run
from autoinit.errors import ModelFileError
from autoinit.model_files import Budgets

QUICK = {"samples": 64, "device": "cpu"}
ONE, TWO = {"in": (4,)}, {"left": (4,), "right": (2, 2)}


def read(tmp_path, name, content, shapes=ONE, budgets=None):
    path = tmp_path / name
    path.write_bytes(content)
    return read_input_data(path, name, shapes, budgets or Budgets())


def npy(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def npz(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def zipped(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def header(text, version=(1, 0)):
    """An array's header that says whatever it likes."""
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H", len(text)) + text.encode()


def announcing(shape, dtype="<f8"):
    return header(f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}\n")


# What is read


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4),
        np.arange(12, dtype="u1").reshape(3, 4),
        np.arange(12, dtype=">i2").reshape(3, 4),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.arange(12).reshape(3, 4) % 2 == 1,
    ],
)
def test_arrays_of_numbers(tmp_path, array):
    for content in (npy(array), npz(whatever=array), npz(y=array[:, 0], **{"in": array})):
        # The bytes say what it is, whatever the name says.
        for name in ("data.npy", "data.npz", "data.csv"):
            (found,) = read(tmp_path, name, content).values()
            assert found.dtype == array.dtype
            assert np.array_equal(found, array)


def test_data_to_train_on_serve_an_analysis_and_its_calibration(tmp_path):
    x = np.random.default_rng(0).normal(size=(64, 4)) * [1.0, 2.0, 4.0, 8.0]
    found = read(tmp_path, "train.npz", npz(x=x, y=np.arange(64)))
    assert list(found) == ["in"]
    assert np.array_equal(found["in"], x)
    model = keras.Sequential([keras.Input((4,), name="in"), layers.Dense(300)])
    settings = Settings(scheme="calibrated", samples=64, device="cpu")
    comparison = compare(model, settings, uploaded=False, data={"in": x.astype("float32")})
    (given,) = model.layers[0].kernel.numpy()[None]
    assert np.var(x @ given) == pytest.approx(1.0, rel=0.15)  # of 32 of these samples
    assert comparison.taken == "calibrated"


def test_several_inputs_by_name(tmp_path):
    arrays = {
        "right": np.arange(12).reshape(3, 2, 2),
        "left": np.ones((3, 4)),
        "labels": np.ones(3),
    }
    found = read(tmp_path, "a.npz", npz(**arrays), TWO)
    assert found.keys() == TWO.keys()
    assert np.array_equal(found["right"], arrays["right"])


@pytest.mark.parametrize(
    "text",
    [
        "1,2,3,4\n5,6,7,8.5\n",
        "a,b,c,d\n1,2,3,4\n5,6,7,8.5",
        "\ufeff1;2;3;4\r\n5;6;7;8.5\r\n",
        '"a","b, c","d","e"\n"1","2","3","4"\n5,6,7,8.5\n',
        "0,1,2,3\n1,2,3,4\n5,6,7,8.5\n",
        "1\t2\t3\t4\n\n5\t6\t7\t8.5\n",
    ],
)
def test_tables_with_and_without_names(tmp_path, text):
    (found,) = read(tmp_path, "a.CSV", text.encode()).values()
    assert found.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8.5]]


def test_rows_become_samples_of_the_inputs_shape():
    rows = np.arange(24.0).reshape(2, 12)
    assert fitted(rows, (2, 2, 3)).tolist() == rows.reshape(2, 2, 2, 3).tolist()
    assert fitted(rows.reshape(2, 3, 4), (3, 4, 1)).shape == (2, 3, 4, 1)
    assert fitted(rows[:, 0], (1,)).shape == (2, 1)
    # Channels first are not channels last: nothing is guessed.
    assert fitted(rows.reshape(2, 3, 2, 2), (2, 2, 3)).shape == (2, 3, 2, 2)
    assert fitted(rows, (5,)).shape == (2, 12)


# What is refused


class Boom:
    def __reduce__(self):
        return (pytest.fail, ("the pickle was run",))


PICKLED = npy(np.array([Boom()], object), allow_pickle=True)
LARGE = "(1000000000, 1000)"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.npy", b"", "'a.npy' is empty"),
        ("a.npy", b"1,2,3,4\n", "is neither a NumPy array .* nor a table that is called .csv"),
        ("a.npz", b"hello", "is neither a NumPy array"),
        ("a.npy", b"\x89HDF\r\n\x1a\n" + bytes(100), "is neither a NumPy array"),
        ("a.npy", pickle.dumps([1, 2]), "is neither a NumPy array"),
        ("a.npy", PICKLED, r"holds Python objects \(a pickle\)"),
        ("a.npz", zipped(x=PICKLED), r"'a.npz: x' holds Python objects"),
        ("a.npz", zipped(x=pickle.dumps([1])), "'a.npz: x' is no NumPy array of numbers"),
        ("a.npy", npy(np.array(["text"])), "holds no plain numbers, but '<U4'"),
        ("a.npy", npy(np.ones(2, complex)), "holds no plain numbers, but 'complex128'"),
        ("a.npy", npy(np.zeros(2, "f4,i4")), "holds no plain numbers"),
        ("a.npy", npy(np.ones((0, 4))), "holds no numbers"),
        ("a.npy", announcing("(-2, -4)"), "holds no numbers"),
        ("a.npy", announcing("(True, 4)"), "holds no samples"),
        ("a.npy", announcing("(" + "1, " * 100 + ")"), "holds no samples"),
        ("a.npy", announcing("(2, 4)"), "is cut short"),
        ("a.npy", npy(np.ones((2, 4)))[:-1], "is cut short"),
        ("a.npy", announcing(LARGE), "The array in 'a.npy' would take 7.276 TiB, and the limit"),
        ("a.npz", zipped(x=announcing(LARGE)), "The array in 'a.npz: x' would take 7.276 TiB"),
        ("a.npy", b"\x93NUMPY\x01\x00", "is no NumPy array of numbers, or is damaged"),
        ("a.npy", b"\x93NUMPY\x09\x00" + bytes(64), "is no NumPy array of numbers, or is damaged"),
        ("a.npy", header("__import__('os')\n"), "is no NumPy array of numbers, or is damaged"),
        ("a.npy", header("(" * 9000), "is no NumPy array of numbers, or is damaged"),
        ("a.npy", header("x" * 60_000), "is no NumPy array of numbers, or is damaged"),
        ("a.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "is no NumPy array of numbers"),
        (
            "a.npz",
            npz(one=np.ones((2, 4)), two=np.ones((2, 4))),
            "arrays 'one', 'two', and the inputs",
        ),
        ("a.npz", npz(), "holds no arrays"),
        ("a.npz", npz(x=np.ones((2, 4)))[:-9], "'a.npz' is damaged or cut short"),
        ("a.csv", b"a,b,c,d\n", "has no rows of numbers"),
        ("a.csv", b"1,2,x,4\n", "is not a table of numbers: could not convert string 'x'"),
        ("a.csv", b"1,2,3,4\n1,2\n", "is not a table of numbers: the number of columns changed"),
        ("a.csv", b"1,2,,4\n", "is not a table of numbers"),
        ("a.csv", b"1,2\n\xff\xfe,3\n", "is not a table of text in UTF-8"),
        ("a.csv", b"1" * (2**24 + 1), "too long a first line"),
    ],
)
def test_what_is_refused_and_why(tmp_path, name, content, says):
    with pytest.raises(ModelFileError, match=says) as refusal:
        read(tmp_path, name, content)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 400


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            npy(np.ones((2, 4))),
            r"data of one input, and the model has 2: .* arrays 'left', 'right'",
        ),
        (b"1,2\n", "data of one input"),
        (npz(left=np.ones((2, 4))), "has the arrays 'left', and the inputs are 'left', 'right'"),
    ],
)
def test_several_inputs_take_arrays_named_like_them(tmp_path, content, says):
    with pytest.raises(ModelFileError, match=says):
        read(tmp_path, "a.csv", content, TWO)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.npy", npy(np.ones(400)), "'a.npy' would take"),
        # A bomb: 80 MB of zeros in 80 KB.
        ("a.npz", npz(x=np.zeros(10**7)), "'a.npz', unpacked, would take 76.29 MiB"),
        ("a.csv", b"1,2,3,4\n" * 30, "The table in 'a.csv', as numbers, would take"),
    ],
)
def test_what_is_too_large_is_refused_before_it_is_read(tmp_path, name, content, says):
    limit = 150_000 if name == "a.npz" else 900
    with pytest.raises(ModelFileError, match=f"{says}.*AUTOINIT_MAX_FILE_BYTES") as refusal:
        read(tmp_path, name, content, budgets=Budgets(file_bytes=limit))
    assert refusal.value.code == "over_budget"


def test_an_archive_that_lies_about_its_sizes(tmp_path):
    content = bytearray(npz(x=np.zeros(10**6)))
    # The size in the archive's directory, and in the header before the member.
    for place in (content.rindex(b"PK\x01\x02") + 24, content.index(b"PK\x03\x04") + 22):
        content[place : place + 4] = struct.pack("<I", 1000)
    with pytest.raises(ModelFileError, match="is damaged or cut short"):
        read(tmp_path, "a.npz", bytes(content), budgets=Budgets(file_bytes=10**5))


def test_a_file_that_is_gone(tmp_path):
    with pytest.raises(ModelFileError, match="cannot be read"):
        read_input_data(tmp_path / "none.npy", "none.npy", ONE, Budgets())


# Moments as people type them


def test_moments_by_name():
    assert parse_moments("left: 0, 1; a/b:c : 0.5,0.25 ;") == {"left": [0, 1], "a/b:c": [0.5, 0.25]}
    assert parse_moments("  ;") is None
    assert parse_moment("-0.5") == (None, -0.5)
    assert parse_moment("a=b=2") == ("a=b", 2)
    given = [(None, 3.0), ("left", 4.0)], [("right", 9.0)]
    assert joined_moments(*given) == (3, None, {"left": [4, 1], "right": [3, 9]})
    assert joined_moments([], []) == (None, None, None)


@pytest.mark.parametrize("text", ["0, 1", "left: 1", "left: 1, 2, 3", ": 0, 1", "left: a, b", "x;"])
def test_moments_that_cannot_be_understood(text):
    with pytest.raises(ValueError, match="Expected name: mean, variance for each input, such as"):
        parse_moments(text)
    with pytest.raises(ValueError, match="'left' is named twice"):
        parse_moments("left: 0, 1; left: 0, 2")


# What a job makes of them


def two_inputs(scale=None):
    left, right = keras.Input((40,), name="left"), keras.Input((10,), name="right")
    scaled = right if scale is None else layers.Rescaling(scale, name="scaled")(right)
    sides = [layers.Dense(64, name="from_left")(left), layers.Dense(64, name="from_right")(scaled)]
    return keras.Model([left, right], layers.Add(name="sum")(sides))


def rows(comparison):
    return {
        call.path: call.of("default").model_dump(exclude_unset=True)
        for call in calls_of(comparison)
    }


def moments(row, kind):
    return row[kind]["mean"], row[kind]["variance"]


def test_moments_per_input_reach_the_prediction_and_the_measurement():
    settings = Settings(
        input_mean=0.5,
        input_moments={"left": [3.0, 4.0], "right": [0.0, 0.25]},
        gradients=True,
        jacobian=1,
        samples=2000,
        device="cpu",
    )
    comparison = compare(two_inputs(), settings, uploaded=False)
    table = rows(comparison)
    for path, expected in (("left", (3, 4)), ("right", (0, 0.25))):
        assert moments(table[path], "predicted") == pytest.approx(expected, rel=1e-3)
        assert moments(table[path], "measured") == pytest.approx(expected, rel=0.05, abs=0.02)
    assert not comparison.findings
    with pytest.raises(ValueError, match="no input 'middle'"):
        compare(two_inputs(), Settings(input_moments={"middle": [0, 1]}, **QUICK), uploaded=False)


@pytest.mark.parametrize("source", ["data", "noise"])
def test_uniform_data_give_their_moments(source):
    generator = np.random.default_rng(0)
    data = {"left": 2 + 3 * generator.random((500, 40)), "right": generator.random((500, 10))}
    settings = Settings(input_data="x.npz", input_source=source, samples=500, device="cpu")
    comparison = compare(two_inputs(), settings, uploaded=False, data=data)
    table = rows(comparison)
    for path, expected in (("left", (3.5, 9 / 12)), ("right", (0.5, 1 / 12))):
        assert moments(table[path], "predicted") == pytest.approx(expected, rel=0.03)
        assert moments(table[path], "measured") == pytest.approx(expected, rel=0.06)
        # Uniform numbers end where Gaussian ones go on.
        highest, end = table[path]["measured"]["maximum"], data[path].max()
        assert (highest == pytest.approx(end)) == (source == "data")
        assert source == "data" or highest > end + 0.3
    told = [each.message for each in comparison.findings if each.code == "input_from_data"]
    mean, variance = data["right"].mean(), data["right"].var()
    assert told[1].startswith(
        f"Mean {mean:.4g} and variance {variance:.4g} of input 'right' were taken from x.npz, 500 "
    )
    assert ("Noise" in told[1]) == (source == "noise")


@pytest.mark.parametrize("source", ["data", "noise"])
def test_integer_data(source):
    tokens = keras.Input((6,), dtype="int32", name="tokens")
    table = layers.Embedding(10, 32, name="table")(tokens)
    model = keras.Model(tokens, layers.Dense(4)(layers.GlobalAveragePooling1D()(table)))
    settings = Settings(input_data="x.npy", input_source=source, **QUICK)
    data = {"tokens": np.full((5, 6), 7)}
    measured = rows(compare(model, settings, uploaded=False, data=data))["tokens"]["measured"]
    assert (measured["mean"], measured["variance"]) == (7, 0) or source == "noise"
    assert measured["variance"] > 5 or source == "data"
    with pytest.raises(ModelFileError, match="integers from 0 to 9, and the data have 10 to 10"):
        compare(model, settings, uploaded=False, data={"tokens": np.full((5, 6), 10)})


def test_the_hint_about_scaling_goes_by_each_inputs_moments():
    def hints(settings, data=None):
        found = compare(two_inputs(1 / 255), settings, uploaded=False, data=data).findings
        return [each.message for each in found if each.code == "input_scaling"]

    for fine in ({}, {"input_moments": {"right": [33.0, 6172.0]}}):  # MNIST's bytes
        assert not hints(Settings(**fine, **QUICK))
    (said,) = hints(Settings(input_moments={"right": [0.0, 4.0]}, **QUICK))
    assert "mean 0 and variance 4, for which the weights to download are" in said
    assert "set this input's mean to 127.5 and this input's variance to 5418.75" in said
    assert hints(Settings(input_moments={"right": [0.0, 65025.0]}, **QUICK)), "fits no image"
    data = {"left": np.ones((9, 40)), "right": np.random.default_rng(0).random((9, 10))}
    (said,) = hints(Settings(input_data="x.npz", **QUICK), data)
    assert "scaled twice" in said


def model_file(tmp_path):
    inputs = keras.Input((2, 2), name="image")
    path = tmp_path / "model.json"
    path.write_text(
        keras.Model(inputs, layers.Dense(8, name="dense")(layers.Flatten()(inputs))).to_json()
    )
    return path


def analyse(tmp_path, content, **settings):
    stored = tmp_path / "0a1b.csv"
    stored.write_bytes(content)
    given = Settings(input_data=str(stored), input_data_name="mine.csv", **QUICK, **settings)
    run(JobSpec(str(model_file(tmp_path)), "m", given), tmp_path, lambda share, stage: None)
    return json.loads((tmp_path / "result.json").read_text())


def test_a_whole_job_with_data(tmp_path):
    result = analyse(tmp_path, b"a,b,c,d\n1,2,3,4\n5,6,7,8\n")
    (said,) = [each for each in result["warnings"] if each["code"] == "input_from_data"]
    assert said["message"].startswith(
        "Mean 4.5 and variance 5.25 of input 'image' were taken from mine.csv, 2 samples"
    )
    settings = result["settings"]
    assert settings["input_data"] == "mine.csv"
    assert settings["input_moments"] == {"image": [4.5, 5.25]}
    assert len(settings["input_data_sha256"]) == 64
    assert str(tmp_path) not in json.dumps(result), "where files lie is the server's business"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"1,2,3\n", r"'mine.csv': Input 'image' takes samples of shape \(2, 2\).* are \(3,\)"),
        (b"1,2,3,nan\n", "'mine.csv': The data for input 'image' hold NaN or infinity"),
    ],
)
def test_a_job_with_data_that_do_not_fit(tmp_path, content, says):
    with pytest.raises(ModelFileError, match=says) as refusal:
        analyse(tmp_path, content)
    assert refusal.value.code == "bad_input_data"
