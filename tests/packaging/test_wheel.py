"""The wheel, installed where the checkout is not: the library, the command and the dashboard."""

import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import app

pytestmark = pytest.mark.slow

ROOT = Path(app.__file__).parents[1]
PACKAGES = ("app", "autoinit", "probes", "sample_models")
FILES = ("pyproject.toml", "requirements.in", "setup.py", "README.md", "LICENSE")
# What each is called in the wheel, where `app` would be in the way of other people's.
NAMES = {each: each if each == "autoinit" else f"autoinit_{each}" for each in PACKAGES}
PATIENCE = 600.0  # seconds, for the dashboard's first answer
BESIDE = """
import keras
import app, autoinit, probes

relu = keras.layers.Dense(64, "relu", kernel_initializer="he_normal")
model = keras.Sequential([keras.Input((64,)), relu, keras.layers.Dense(2)])
found = autoinit.check(model)
assert autoinit.probes.probe_model(model, num_samples=16)
print(app.OWNER, probes.OWNER, found.verdicts["uploaded"].verdict, sep=", ")
"""
LIBRARY = """
import keras
import autoinit, probes

model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(2)])
fresh, estimates = autoinit.AutoInit({"seed": 0}).initialize_model(model, return_estimates=True)
figures = probes.probe_model(fresh, num_samples=16)
assert set(estimates) <= set(figures), (set(estimates), set(figures))
figure = autoinit.AutoInitVisualizer().visualize(model, num_samples=16)
assert "Plotly.newPlot(" in figure._repr_html_()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: setuptools would leave a `build` folder behind, and take from it."""
    source = tmp_path_factory.mktemp("source")
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in FILES:
        shutil.copy(ROOT / name, source / name)
    folder = tmp_path_factory.mktemp("dist")
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *build], check=True, timeout=1200)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def binaries(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel in it, and with this one's other packages."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    # Before the other packages are there: pip would find this project among them.
    install = ["--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True, timeout=1200)
    # A line in a .pth file is a folder more to import from; the .pth files in there, by which the
    # checkout is installed, are not read.
    others = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    command = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    own = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    (Path(own) / "dependencies.pth").write_text("".join(f"{path}\n" for path in sorted(others)))
    return folder / "bin"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Nothing of ours but what programs need to start."""
    passed_on = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    data = tmp_path / "data"
    return {
        **passed_on,
        "HOME": str(tmp_path),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "AUTOINIT_DATA": str(data),
    }


@pytest.fixture
def run(binaries: Path, environment: dict[str, str], tmp_path: Path):
    """Runs a program of the environment in an empty folder; its standard output."""

    def start(program: str, *arguments: str, status: int = 0) -> str:
        done = subprocess.run(
            [str(binaries / program), *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done.stdout

    return start


def test_everything_is_in_it_and_nothing_else(wheel: Path) -> None:
    expected = {
        f"{NAMES[package]}/{path.relative_to(ROOT / package)}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        (licence,) = [name for name in archive.namelist() if name.endswith("/LICENSE")]
        assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()
        (top,) = [name for name in archive.namelist() if name.endswith("/top_level.txt")]
        assert set(archive.read(top).decode().split()) == set(NAMES.values())
    assert names == expected
    assert {"autoinit_app/.streamlit/config.toml", "autoinit_probes/py.typed"} <= names
    assert "autoinit_sample_models/files/small-cnn.keras" in names


def test_nothing_comes_from_the_checkout(run, binaries: Path) -> None:
    names = ", ".join(NAMES.values())
    out = run("python", "-c", f"import {names}; print(*[x.__file__ for x in ({names})], sep='\\n')")
    for file in out.split():
        assert Path(file).is_relative_to(binaries.parent), file


def test_the_version_is_the_packages(run) -> None:
    code = "import importlib.metadata as m; print(m.version('autoinit-dashboard'))"
    assert run("autoinit", "--version") == f"autoinit {run('python', '-c', code)}"


def test_the_library(run) -> None:
    run("python", "-c", LIBRARY)


def test_a_project_keeps_its_own_app_and_probes(run, tmp_path: Path) -> None:
    for name in ("app", "probes", "sample_models"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"OWNER = 'the {name} of the project'\n")
    out = run("python", "-c", BESIDE)
    assert out.splitlines()[-1] == "the app of the project, the probes of the project, trains"
    model = "sample:deep-tanh-mlp?depth=3&width=8"
    assert "variance measured" in run("autoinit", "analyze", model, "--samples", "16")
    assert run("python", "-m", "autoinit", "--version") == run("autoinit", "--version")


def test_the_command_is_named_in_its_help(run) -> None:
    assert run("autoinit", "--help").startswith("Usage: autoinit [OPTIONS]")
    assert "autoinit analyze sample:resnet-56-nobn" in run("autoinit", "analyze", "--help")
    assert "sample:resnet-56-nobn " in run("autoinit", "samples")
    assert "-F _autoinit_completion autoinit" in run("autoinit", "completion", "bash")


def test_a_model_from_the_file_to_the_report(run, tmp_path: Path) -> None:
    code = "from autoinit_sample_models import FILES_FOLDER; print(FILES_FOLDER)"
    model = Path(run("python", "-c", code).strip()) / "small-mlp.h5"
    found = json.loads(run("autoinit", "inspect", str(model), "--json"))
    assert found["weights"]["model"]["entries"] == 25_610
    files = ["--output", "result.json", "--save", "new.h5"]
    run("autoinit", "analyze", str(model), "--samples", "16", *files)
    assert (tmp_path / "new.h5").stat().st_size > 100_000
    run("autoinit", "report", "result.json", "--output", "report.html", "--csv", "table.csv")
    assert "Plotly.newPlot(" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert (tmp_path / "table.csv").read_text().startswith("index,path,class")
    assert "25,610 parameters" in run("autoinit", "report", "result.json")


def test_a_sample_network(run) -> None:
    command = ["autoinit", "analyze", "sample:deep-tanh-mlp?depth=3&width=8", "--samples", "16"]
    assert "variance measured" in run(*command, "--fail-outside", "1e-9,1e9")
    run(*command, "--fail-outside", "0.999999,1.000001", status=3)


@pytest.fixture
def server(binaries: Path, environment: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """The address of a dashboard started by `autoinit serve`."""
    with socket.create_server(("localhost", 0)) as probe:
        port = probe.getsockname()[1]
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(binaries / "autoinit"), "serve", "--port", str(port)],
            cwd=tmp_path,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        address = f"http://localhost:{port}"
        wait_for(f"{address}/_stcore/health", process, log)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    pytest.fail(f"no answer from {address}: {log.read_text()}")


def test_the_dashboard_with_its_own_settings(server: str, run, tmp_path: Path) -> None:
    with urllib.request.urlopen(server, timeout=300) as page:
        assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
        assert "Streamlit" in page.read().decode()
    # Streamlit says so on its way up, unless the file of settings that came along forbids it.
    assert "usage statistics" not in (tmp_path / "log").read_text()
    run("autoinit", "serve", "--port", server.rpartition(":")[2], status=64)
