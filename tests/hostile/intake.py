"""A process that opens or analyses one file after the other, and survives them or is replaced.

As a program, `python -m tests.hostile.intake`, it answers lines of JSON in the surroundings of a
worker: a large stack, and the address space that a worker may have. As a module it is the other
end, which sees a crash or a hang of the first as an outcome like any other.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STARTING_SECONDS = 600.0


@dataclass(frozen=True)
class Answer:
    """What became of a file.

    Attributes:
        outcome: `analysed`, the code of a refusal, or `failed`, `crashed` or `hung`.
        message: the sentence of a refusal; of a failure, the traceback.
        findings: codes of what an analysis reports.
        seconds: of the processor, from question to answer.
        peak: bytes of resident memory, at the most.
    """

    outcome: str
    message: str = ""
    findings: tuple[str, ...] = ()
    seconds: float = 0.0
    peak: int = 0


class Intake:
    """The process; it is started when first asked, and again after it died.

    Args:
        temporary: its folder of temporary files.
        patience: seconds after which it hangs, on however busy a machine.
    """

    def __init__(self, temporary: Path, patience: float = 300.0) -> None:
        self.temporary = temporary
        self._patience = patience
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Intake:
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()

    def ask(self, path: Path | bytes, name: str, analyse: bool = False) -> Answer:
        """Opens a file there, and runs a whole job on it if `analyse`."""
        if self._process is None:
            self._start()
        question = {"path": os.fsdecode(path), "name": name, "analyse": analyse}
        line = self._converse(json.dumps(question).encode() + b"\n", self._patience)
        if line is None:
            self._kill()
            return Answer("hung", f"no answer in {self._patience:g} seconds")
        if not line.endswith(b"\n"):
            status = self._kill()
            return Answer("crashed", f"exit status {status}")
        answer = json.loads(line)
        return Answer(**{**answer, "findings": tuple(answer["findings"])})

    def left_behind(self) -> list[str]:
        """Temporary files that an answer left there, except those that TensorFlow removes last."""
        names = [path.name for path in self.temporary.iterdir()]
        return [name for name in names if not name.startswith("__autograph_generated_file")]

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile.intake"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ
            | {
                "TMPDIR": str(self.temporary),
                "TF_CPP_MIN_LOG_LEVEL": "3",
                "CUDA_VISIBLE_DEVICES": "",
            },
            cwd=Path(__file__).parents[2],
            start_new_session=True,
        )
        if self._converse(b"\n", STARTING_SECONDS) is None:
            raise RuntimeError("The intake process did not start.")

    def _converse(self, question: bytes, patience: float) -> bytes | None:
        """The line that answers; cut short if the process died, None if it took too long."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(question)
            self._process.stdin.flush()
        except BrokenPipeError:
            return b""
        answer, deadline = b"", time.monotonic() + patience
        descriptor = self._process.stdout.fileno()
        while not answer.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                return None
            piece = os.read(descriptor, 65536)
            if not piece:
                return answer
            answer += piece
        return answer

    def _kill(self) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        return status


# The program


def main() -> None:
    gc.disable()  # as a worker does
    from app.jobs import execution as analysis
    from app.jobs.worker import RECURSION_LIMIT, STACK_BYTES

    channel = os.dup(1)
    os.dup2(2, 1)
    assert analysis
    gc.freeze()
    gc.enable()
    sys.setrecursionlimit(RECURSION_LIMIT)
    threading.stack_size(STACK_BYTES)

    def answer() -> None:
        for line in sys.stdin.buffer:
            reply = _answer(json.loads(line)) if line.strip() else {}
            os.write(channel, json.dumps(reply).encode() + b"\n")

    thread = threading.Thread(target=answer)
    thread.start()
    thread.join()
    os._exit(0)


def _answer(question: dict[str, Any]) -> dict[str, Any]:
    import keras

    from autoinit.errors import AutoInitError

    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")
    findings: list[str] = []
    start = time.process_time()
    try:
        findings = _analyse(question) if question["analyse"] else _open(question)
        outcome, message = "analysed", ""
    except AutoInitError as error:
        outcome, message = getattr(error, "code", "unsupported_model"), str(error)
    except BaseException as error:
        outcome = "out_of_memory" if _is_out_of_memory(error) else "failed"
        message = "".join(traceback.format_exception(error, limit=-12))[-4000:]
    seconds = time.process_time() - start
    if outcome == "analysed":  # Keras's own state grows; clearing it takes longer than a refusal.
        keras.backend.clear_session()
    return {
        "outcome": outcome,
        "message": message,
        "findings": findings,
        "seconds": seconds,
        "peak": _peak(),
    }


def _open(question: dict[str, Any]) -> list[str]:
    from autoinit.model_files import open_model_file

    file = open_model_file(question["path"], name=question["name"])
    return [finding.code for finding in file.findings]


def _analyse(question: dict[str, Any]) -> list[str]:
    from app.jobs import JobSpec, Settings
    from app.jobs import execution as analysis

    settings = Settings(samples=4, device="cpu", input_size=8)
    spec = JobSpec(question["path"], question["name"], settings)
    with tempfile.TemporaryDirectory() as folder:
        analysis.run(spec, Path(folder), lambda _share, _stage: None)
        result = json.loads((Path(folder) / "result.json").read_bytes())
    return [warning["code"] for warning in result["warnings"]]


def _is_out_of_memory(error: BaseException) -> bool:
    from app.jobs.worker import _is_out_of_memory as is_out_of_memory

    return is_out_of_memory(error)


def _peak() -> int:
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
