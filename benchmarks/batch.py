"""Many small networks through `autoinit batch --trust`: how many a second, in how much memory.

python -m benchmarks.batch [--models 1000] [--workers 2]      throughput and memory
python -m benchmarks.batch --kill 10                          killed at random, and gone on with
python -m benchmarks.batch --models 30 --nodes 3              on Ray, of whose nodes one is lost
"""

from __future__ import annotations

import argparse
import collections
import math
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from app.analysis.batch.store import journal_of, read_rows
from benchmarks.measuring import ROOT

LOOKS = 2.0  # seconds between two looks at the memory
LEAST_MB = 300  # of a process with Keras


def generate(folder: Path, count: int) -> None:
    """Dense, convolutional and residual networks of 2 to 9 layers, all different."""
    import keras
    from keras import layers

    rng = random.Random(0)
    for number in range(count):
        activation = rng.choice(["relu", "tanh", "elu", "gelu", "selu"])
        initializer = rng.choice(["glorot_uniform", "he_normal", "lecun_normal"])
        given = {"activation": activation, "kernel_initializer": initializer}
        if number % 3:
            data = x = keras.Input((rng.randint(8, 64),))
            width = rng.randint(8, 64)
            for _ in range(rng.randint(2, 8)):
                y = layers.Dense(width, **given)(x)
                x = layers.Add()([x, y]) if number % 3 == 2 and x.shape == y.shape else y
        else:
            data = x = keras.Input((12, 12, 3))
            for _ in range(rng.randint(2, 6)):
                x = layers.Conv2D(rng.randint(4, 16), 3, padding="same", **given)(x)
            x = layers.GlobalAveragePooling2D()(x)
        model = keras.Model(data, layers.Dense(10, "softmax")(x), name=f"net_{number}")
        model.save(folder / f"{number:05}.keras")


def started(folder: Path, output: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "app", "batch", str(folder), "--output", str(output)]
    return subprocess.Popen([*command, "--trust", *options], cwd=ROOT, stderr=subprocess.DEVNULL)


def throughput(folder: Path, output: Path, workers: int) -> None:
    start, peaks = time.perf_counter(), collections.defaultdict[int, list[int]](list)
    process = started(folder, output, "--workers", str(workers))
    first = None
    while process.poll() is None:
        time.sleep(LOOKS)
        try:
            for child in psutil.Process(process.pid).children(recursive=True):
                peaks[child.pid].append(child.memory_info().rss >> 20)
            if first is None and journal_of(output).stat().st_size:
                first = time.perf_counter()
        except (psutil.Error, FileNotFoundError):
            continue
    end = time.perf_counter()
    table = read_rows(output, ["status", "processor_seconds"])
    times = sorted(table["processor_seconds"].drop_null().to_pylist())
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    warm = end - (first or start)
    mean = sum(times) / len(times)
    rows = {
        "models, of them with figures": f"{len(table)}, {len(times)}",
        "seconds in all, from the first row on": f"{end - start:.0f}, {warm:.0f}",
        "models a second, warm": f"{len(times) / warm:.2f}",
        "processor seconds in all": f"{usage.ru_utime + usage.ru_stime:.0f}",
        "the same of a model: median, mean, largest": f"{times[len(times) // 2]:.2f}, {mean:.2f}, "
        f"{times[-1]:.2f}",
        f"models in a second of {workers} processors": f"{workers / mean:.2f}",
    }
    for found in peaks.values():
        quarter = max(len(found) // 4, 1)
        most = [max(found[at : at + quarter]) for at in range(0, len(found), quarter)]
        if most[0] > LEAST_MB:
            rows[f"MB of worker {len(rows)}, most in each quarter"] = ", ".join(map(str, most[:4]))
    for name, value in rows.items():
        print(f"| {name} | {value} |")


def killed(folder: Path, output: Path, workers: int, times: int) -> None:
    rng, rows = random.Random(1), 0
    for number in range(times):
        process = started(folder, output, "--workers", str(workers))
        children: list[psutil.Process] = []
        # At any moment between the first new row and twenty seconds later; the first time before.
        until = time.monotonic() + 10 if number == 0 else math.inf
        while time.monotonic() < until and process.poll() is None:
            time.sleep(0.2)
            if until == math.inf and rows_in(output) > rows:
                until = time.monotonic() + rng.uniform(0, 20)
            children = psutil.Process(process.pid).children(recursive=True) or children
        process.kill()
        process.wait()
        _, left = psutil.wait_procs(children, timeout=20)
        found = rows_in(output)
        print(f"killed {number + 1}: {found} rows, {found - rows} new; processes left: {len(left)}")
        rows = found
    started(folder, output, "--workers", str(workers)).wait()
    say_whether_whole(folder, output)


def nodes_lost(folder: Path, output: Path, count: int) -> None:
    """A cluster of nodes of one processor each; the last one is killed after some rows."""
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    nodes = [cluster.add_node(num_cpus=1) for _ in range(count)]
    process = started(folder, output, "--ray", cluster.address)
    while process.poll() is None and rows_in(output) < len(list(folder.iterdir())) // 3:
        time.sleep(1)
    print(f"{rows_in(output)} rows when node {count} of {count} is killed")
    cluster.remove_node(nodes[-1], allow_graceful=False)
    process.wait()
    cluster.shutdown()
    say_whether_whole(folder, output)


def say_whether_whole(folder: Path, output: Path) -> None:
    table = read_rows(output, ["file", "status"])
    files = collections.Counter(table["file"].to_pylist())
    wanted = {str(path) for path in folder.glob("*.keras")}
    whole = set(files) == wanted and set(files.values()) == {1}
    done = table["status"].to_pylist().count("done")
    print(f"{len(files)} of {len(wanted)} models there, each once: {whole}; {done} with figures")


def rows_in(output: Path) -> int:
    try:
        return len(read_rows(output, ["file"]))
    except FileNotFoundError:  # killed before the first
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kill", type=int, default=0, metavar="TIMES")
    parser.add_argument("--nodes", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="of networks that are there already")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.folder or Path(name) / "networks"
        if not folder.exists():
            folder.mkdir()
            code = "import sys; from pathlib import Path; from benchmarks.batch import generate; "
            code += "generate(Path(sys.argv[1]), int(sys.argv[2]))"
            command = [sys.executable, "-c", code, str(folder), str(arguments.models)]
            subprocess.run(command, cwd=ROOT, check=True)
        output = Path(name) / "results.parquet"
        if arguments.nodes:
            nodes_lost(folder, output, arguments.nodes)
        elif arguments.kill:
            killed(folder, output, arguments.workers, arguments.kill)
        else:
            throughput(folder, output, arguments.workers)


if __name__ == "__main__":
    main()
