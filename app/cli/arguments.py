"""What the command line takes, and the help that teaches it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from app import __version__
from app.analysis.input_moments import parse_moment
from app.analysis.settings import (
    DEVICES,
    DISTRIBUTIONS,
    MODES,
    SIGNAL_MODELS,
    UNSUPPORTED,
    Settings,
)
from app.cli.examples import (
    ANALYZE_EXAMPLES,
    COMPLETION_EXAMPLES,
    EXAMPLES,
    INSPECT_EXAMPLES,
    REPORT_EXAMPLES,
    SAMPLES_EXAMPLES,
    SERVE_EXAMPLES,
)
from app.text.escaping import plain_text

COMMAND = "autoinit"
USAGE_STATUS = 64
SENTENCE_LIMIT = 2000

SHELLS = ("bash", "zsh", "fish")


class Parser(argparse.ArgumentParser):
    """argparse, with the exit status that sysexits.h has for wrong usage."""

    def error(self, message: str) -> NoReturn:
        """Says what is wrong and ends the program."""
        self.print_usage(sys.stderr)
        # A file's name may have come with the file.
        self.exit(USAGE_STATUS, f"{self.prog}: error: {plain_text(message, SENTENCE_LIMIT)}\n")


def program_name(started_as: str) -> str:
    """What to call this program in its help: as it was started.

    Args:
        started_as: the first of `sys.argv`.
    """
    return COMMAND if Path(started_as).stem == COMMAND else "python -m app"


def build_parser() -> Parser:
    """The parser of `python -m app`, and of `autoinit` where it is installed."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = Parser(
        prog=program_name(sys.argv[0]),
        description="See how signal variance develops through a Keras network, as it is "
        "configured and as AutoInit would initialise it.",
        epilog=EXAMPLES,
        formatter_class=raw,
    )
    parser.add_argument("--version", action="version", version=f"autoinit {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    analyze = commands.add_parser(
        "analyze",
        help="analyse a model file or a sample network",
        description="Predict and measure every layer call's mean and variance, as configured "
        "and under AutoInit. Without --output a summary is printed.",
        epilog=ANALYZE_EXAMPLES,
        formatter_class=raw,
    )
    _add_analyze_arguments(analyze)
    inspect = commands.add_parser(
        "inspect",
        help="tell what a model file holds, without running it",
        description="Tell a model file's format, inputs, layers, weights and training settings, "
        "and which of its parts would not be run, without running or rebuilding any of it.",
        epilog=INSPECT_EXAMPLES,
        formatter_class=raw,
    )
    _add_inspect_arguments(inspect)
    report = commands.add_parser(
        "report",
        help="make a page or a table of a result",
        description="Make the HTML report or the table of a result that analyze --output has "
        "written. Without either, print its summary.",
        epilog=REPORT_EXAMPLES,
        formatter_class=raw,
    )
    _add_report_arguments(report)
    serve = commands.add_parser(
        "serve",
        help="start the dashboard",
        description="Start the dashboard on this machine.",
        epilog=SERVE_EXAMPLES,
        formatter_class=raw,
    )
    _add_serve_arguments(serve)
    commands.add_parser(
        "samples",
        help="list the sample networks",
        description="List the networks that `analyze sample:NAME` takes, with their arguments.",
        epilog=SAMPLES_EXAMPLES,
        formatter_class=raw,
    )
    completion = commands.add_parser(
        "completion",
        help="print a script that completes this command in a shell",
        description="Print a script that completes commands, options and sample networks.",
        epilog=COMPLETION_EXAMPLES,
        formatter_class=raw,
    )
    completion.add_argument("shell", choices=SHELLS, help="bash, zsh or fish")
    return parser


def _add_inspect_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a .keras, .h5, .hdf5 or JSON file")
    parser.add_argument("--json", action="store_true", help="print strict JSON")
    parser.add_argument(
        "--verbose", action="store_true", help="when the inspection fails, show the worker's log"
    )


def _add_report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "result", type=Path, metavar="RESULT", help="what analyze --output has written"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write a self-contained HTML page"
    )
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="write the table of all calls, for a spreadsheet"
    )


def _add_serve_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port", type=_port, default=8501, metavar="N", help="to listen on (default %(default)s)"
    )
    parser.add_argument(
        "--address",
        default="localhost",
        metavar="A",
        help="to listen on; 0.0.0.0 opens it to others (default %(default)s)",
    )
    parser.add_argument(
        "streamlit_arguments",
        nargs="*",
        metavar="ARGUMENT",
        help="after --: options of streamlit run",
    )


def _add_analyze_arguments(parser: argparse.ArgumentParser) -> None:
    defaults = Settings()
    parser.add_argument(
        "model",
        metavar="MODEL",
        nargs="+",
        help="a .keras, .h5, .hdf5 or JSON file, or sample:NAME, with arguments if need be "
        "(sample:NAME?argument=value&argument=value); of several, the highest exit status counts",
    )
    files = parser.add_argument_group("files")
    files.add_argument("--output", metavar="FILE", help="write all figures as JSON; - for stdout")
    files.add_argument(
        "--save",
        type=Path,
        metavar="FILE",
        help="write the re-initialised model in MODEL's own format (.keras, .h5 or .json), or as "
        ".keras where it can be converted exactly",
    )
    files.add_argument(
        "--report", type=Path, metavar="FILE", help="write a self-contained HTML page"
    )

    data = parser.add_argument_group("the inputs")
    data.add_argument(
        "--samples",
        type=int,
        default=defaults.samples,
        metavar="N",
        help="how many inputs to feed through (default %(default)s)",
    )
    data.add_argument(
        "--seed",
        type=int,
        default=defaults.seed,
        metavar="N",
        help="of weights and inputs; the same seed gives the same figures (default %(default)s)",
    )
    data.add_argument(
        "--seeds",
        type=int,
        default=defaults.seeds,
        metavar="K",
        help="average over K draws of weights and inputs (default %(default)s)",
    )
    data.add_argument(
        "--input-mean",
        type=_moment,
        action="append",
        default=[],
        metavar="X",
        help="mean of the Gaussian inputs; NAME=X for one input of several, as often as there are "
        f"inputs (default {defaults.input_mean:g})",
    )
    data.add_argument(
        "--input-var",
        type=_moment,
        action="append",
        default=[],
        metavar="X",
        help="variance of the Gaussian inputs; NAME=X for one input of several, as often as there "
        f"are inputs (default {defaults.input_variance:g})",
    )
    data.add_argument(
        "--input-data",
        type=Path,
        metavar="FILE",
        help="take mean and variance from real data, and feed samples of it in place of noise: "
        "a .npy array with one sample per row, a .npz with an array for each input, named like "
        "it, or a .csv with a sample per line",
    )
    data.add_argument(
        "--input-noise",
        action="store_true",
        help="with --input-data: feed noise, and take only mean and variance from the data",
    )
    data.add_argument(
        "--input-size",
        type=int,
        default=defaults.input_size,
        metavar="N",
        help="stands in for unknown dimensions, such as (None, None, 3) (default %(default)s)",
    )

    method = parser.add_argument_group("the analysis")
    method.add_argument(
        "--mode",
        choices=MODES,
        default=defaults.mode,
        help="how Dropout, BatchNormalization and their like behave (default %(default)s)",
    )
    method.add_argument(
        "--signal-model",
        choices=SIGNAL_MODELS,
        default=defaults.signal_model,
        help="what predictions carry through the network: distributions and correlations, or the "
        "paper's mean and variance (default: %(default)s)",
    )
    method.add_argument(
        "--unsupported",
        choices=UNSUPPORTED,
        default=defaults.unsupported,
        help="what becomes of a layer that has no rule and cannot be opened into its parts: "
        "estimate its output by sampling, let the signal pass through unchanged as in the paper, "
        "or refuse the model (default: %(default)s)",
    )
    method.add_argument(
        "--distribution",
        choices=DISTRIBUTIONS,
        default=defaults.distribution,
        help="what AutoInit draws weights from (default %(default)s)",
    )
    method.add_argument(
        "--signal-variance",
        type=float,
        default=defaults.signal_variance,
        metavar="X",
        help="what AutoInit gives every weighted call (default %(default)g)",
    )
    method.add_argument(
        "--constrain-weights",
        action="store_true",
        help="keep kernels centred and scaled throughout training; the saved model then needs "
        "`import autoinit` before it is loaded",
    )
    method.add_argument(
        "--keep-frozen",
        action="store_true",
        help="let layers with trainable=False keep the weights that came with the file, as for a "
        "pretrained body under a new head",
    )
    method.add_argument(
        "--custom-objects",
        metavar="PACKAGE.MODULE",
        help="import this module first, for the layer classes that it registers",
    )
    method.add_argument(
        "--device",
        choices=DEVICES,
        default=defaults.device,
        help="where to measure; auto takes a GPU where there is one (default %(default)s)",
    )
    method.add_argument(
        "--gradients",
        action="store_true",
        help="measure what flows back to each call and kernel, too, which takes several times as "
        "long as a pass forward",
    )
    method.add_argument(
        "--jacobian",
        type=int,
        default=defaults.jacobian,
        metavar="N",
        help="take the singular values of the input-output Jacobian at N inputs "
        "(default %(default)s: none)",
    )
    method.add_argument(
        "--fail-outside",
        type=_band,
        metavar="LOW,HIGH",
        help="exit with 3 when the AutoInit variance of a weighted call is not in this band, or "
        "could not be measured; calls that --keep-frozen leaves alone do not count",
    )
    parser.add_argument(
        "--verbose", action="store_true", help="when the analysis fails, show the worker's log"
    )


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:6]) <= 65_535:
        raise argparse.ArgumentTypeError(f"expected a port from 1 to 65535; got {text!r}")
    return int(text)


def _moment(text: str) -> tuple[str | None, float]:
    try:
        return parse_moment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"expected a number, or an input and a number, such as 0.5 or image=0.5; got {text!r}"
        ) from error


def _band(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low, high = 1.0, 0.0
    if not 0 <= low <= high:
        raise argparse.ArgumentTypeError(
            f"expected two numbers LOW,HIGH with 0 <= LOW <= HIGH, such as 0.5,2; got {text!r}"
        )
    return low, high
