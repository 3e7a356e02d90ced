"""`check`: whether a model will train, in one line before `fit`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autoinit.errors import CannotTrainError
from autoinit.initializers.cloning import working_copy
from autoinit.randomness import python_seed
from autoinit.reading import read_model
from autoinit.running.inputs import by_name

if TYPE_CHECKING:
    from app.analysis.result import Result


def check(
    model: Any,
    x: Any = None,
    *,
    strict: bool = False,
    verbose: bool = True,
    settings: Mapping[str, Any] | None = None,
) -> Result:
    """Say whether a model will train from the weights that it has, why not, and what to do.

    What an analysis of its file would say: signals and gradients are measured with its weights,
    with others that its initializers draw, and with AutoInit's. The model is left as it was.

    Args:
        model: a `keras.Model` with a graph, compiled or not; what it is compiled with counts.
        x: some of the training data: an array for a model with one input, or arrays by the inputs'
            names, the samples' axis first. Gaussian noise without it.
        strict: raise where the model cannot train.
        verbose: print the verdict, in a few lines.
        settings: further ones, as `Settings` of the command line has them: `{"gradients": True}`.

    Returns:
        The result that `analyze --output` writes: `result.verdicts["uploaded"]` is the verdict on
        the weights as they are, `result.findings` what was found.

    Raises:
        CannotTrainError: where the model cannot train, if `strict`; it has the result.
        GraphError: for a model without a graph of layers.
        ModelFileError: for data that do not fit the inputs.
        ValueError: for a setting that there is none of, or several inputs and one array.

    Example:
        >>> import keras
        >>> import autoinit
        >>> dead = keras.layers.Dense(8, "relu", kernel_initializer="zeros")
        >>> model = keras.Sequential([keras.Input((8,)), dead, keras.layers.Dense(2)])
        >>> autoinit.check(model, verbose=False).verdicts["uploaded"].verdict
        'cannot train'
    """
    # Like `AutoInitVisualizer`, this reaches up to what analyses.
    from app.analysis.comparison import compare
    from app.analysis.diagnosis.linter.lint import lint_model
    from app.analysis.job_spec import JobSpec
    from app.analysis.reporting import ModelSource, result_of
    from app.analysis.settings import Settings
    from app.cli.terminal import verdict_lines

    chosen = Settings(**{"input_data_name": "x", **(settings or {})})
    linted = lint_model(model)
    # Whoever goes on has the random numbers of who did not ask.
    with python_seed(chosen.seed), working_copy(model) as copied:
        data = None if x is None else by_name(read_model(copied, chosen.input_size), x)
        found = compare(copied, chosen, uploaded=True, linted=linted, data=data)
        spec = JobSpec("", str(model.name), chosen)
        result = result_of(found, copied, ModelSource(), spec, found.findings, found.timings)
    lines = list(verdict_lines(result))
    if verbose:
        print("\n".join(lines))
    if strict and result.verdicts["uploaded"].verdict == "cannot train":
        raise CannotTrainError("\n".join(lines), result)
    return result
