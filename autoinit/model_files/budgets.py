"""What one file may ask of the machine: the limits, in one place.

What a service may take as a whole (time, memory, disk) is the business of who runs it: `app.jobs`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields

from autoinit.errors import ModelFileError, SettingsError

_KIB, _MIB, _GIB, _TIB = 2**10, 2**20, 2**30, 2**40

# Of what the limits count, where it is not bytes.
_UNITS = {
    "members": "members", "json_depth": "levels of nesting", "json_nodes": "values",
    "name_length": "characters", "layers": "layers", "calls": "calls of layers",
    "parameters": "parameters", "orthogonal_operations": "operations",
    "repetitions": "repetitions", "steps": "steps", "multiplications": "multiplications",
}  # fmt: skip


@dataclass(frozen=True)
class Budgets:
    """The limits, with defaults for a machine with 2 cores.

    Each can be set by the environment variable `AUTOINIT_MAX_<FIELD>`, in upper case.

    Attributes:
        file_bytes: size of the file.
        members: number of members of a `.keras` archive.
        config_bytes: size of the configuration's text, and of each other text of the file.
        json_depth, json_nodes: how deep a configuration is nested, and of how many values it is
            made.
        name_length: characters of a name.
        layers: layers in the configuration.
        calls: uses of layers, those inside a nested model counted once per use of that model.
        parameters: weights of all layers together.
        live_bytes: activations of one sample that are alive at once.
        activation_bytes: all activations of all samples of one pass.
        orthogonal_operations: rows × columns × min(rows, columns) of one orthogonal draw.
        repetitions: how often a layer does something again by an argument, such as the power
            iterations of SpectralNormalization, and steps of an unrolled recurrent layer.
        steps: of recurrent layers, one after the other.
        multiplications: by entries of kernels, of all samples of one pass.
    """

    file_bytes: int = _GIB
    members: int = 1000
    config_bytes: int = 16 * _MIB
    json_depth: int = 400
    json_nodes: int = 2_000_000
    name_length: int = 1_000_000
    layers: int = 20_000
    calls: int = 50_000
    parameters: int = 400_000_000
    live_bytes: int = 4 * _GIB
    activation_bytes: int = _TIB
    orthogonal_operations: int = 40_000_000_000
    repetitions: int = 1000
    steps: int = 100_000
    multiplications: int = 20_000_000_000_000

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Budgets:
        """The defaults, changed as the environment says.

        Raises:
            ValueError: where a variable is no positive whole number.
        """
        given = {
            field.name: _positive(variable(field.name), environ[variable(field.name)])
            for field in fields(cls)
            if variable(field.name) in environ
        }
        return cls(**given)

    def require(self, budget: str, figure: float, what: str) -> None:
        """Refuse what goes beyond a limit.

        Args:
            budget: name of the limit's attribute.
            figure: what was found; infinite where it is only known to be more than the limit.
            what: whose figure it is, as the beginning of a sentence: "The model".

        Raises:
            ModelFileError: `over_budget`, naming the figure, the limit and its variable.
        """
        limit = getattr(self, budget)
        if figure <= limit:
            return
        if figure == math.inf:
            found = f"more than the limit of {_formatted(limit, budget)}"
        else:
            found = f"{_formatted(figure, budget)}, and the limit is {_formatted(limit, budget)}"
        raise ModelFileError(
            "over_budget",
            f"{what} would take {found}; whoever runs this can raise it by {variable(budget)}.",
        )


def variable(budget: str) -> str:
    """The environment variable that sets a limit."""
    return f"AUTOINIT_MAX_{budget.upper()}"


def _positive(name: str, text: str) -> int:
    try:
        number = int(text)
        if number > 0:
            return number
    except ValueError:  # also for integers of thousands of digits
        pass
    raise SettingsError(f"{name} must be a positive whole number; received {text[:100]!r}.")


def _formatted(figure: float, budget: str) -> str:
    if figure >= 10**15:
        return f"more than 10^{len(str(int(figure))) - 1} {_UNITS.get(budget, 'bytes')}"
    if budget in _UNITS:
        return f"{figure:,} {_UNITS[budget]}"
    for size, symbol in ((_TIB, "TiB"), (_GIB, "GiB"), (_MIB, "MiB"), (_KIB, "KiB")):
        if figure >= size:
            return f"{figure / size:,.4g} {symbol}"
    return f"{figure:,} bytes"
