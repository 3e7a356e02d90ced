"""Products upon products, in which a few inputs outweigh all others."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from app.analysis.diagnosis.fault import Fault
from app.analysis.diagnosis.measured.flow import RESETS
from app.analysis.diagnosis.measured.series import Measured, fault_of
from app.analysis.diagnosis.roles import Role
from app.text.formatting import number
from autoinit.graph.model_graph import Call

# By how much products amplify what two inputs differ by, squared, times how uneven they make the
# inputs' sizes: 1 + d², with the deviation d of a sample's mean square beside its mean. Chains of
# products of two kernels' outputs with AutoInit's weights gained, by SGD with momentum and by Adam,
# 96 to 99 % up to 54 (lin · lin, three), 89 and 96 % at 80 (ReLU · tanh, four), 79 and 81 % at 70
# (tanh · tanh, six), 74 and 92 % at 160 (ReLU · tanh, five), 42 and 59 % at 290 (tanh · tanh,
# eight), 24 and 71 % at 400 (ReLU · tanh, six), 39 and 47 % at 600 (lin · lin, four), nothing from
# 1,200 on. Ten by a sigmoid, which amplify nothing, gained 89 to 98 %.
_TOO_UNEVEN = 150.0
_AT_LEAST = 3  # a trend


class _Product(NamedTuple):
    """What products have made of a signal: an amplification, squared, and its samples' unevenness.

    Attributes:
        amplified: of what two inputs differ by, beside the signal.
        uneven: logarithms of 1 + d², at each product.
        first: index of the first of these.
    """

    amplified: float = 1.0
    uneven: tuple[float, ...] = ()
    first: int = -1

    @property
    def log(self) -> float:
        """Of both together; without the largest single step, which few samples may make."""
        steps = [after - before for before, after in pairwise((0.0, *self.uneven))]
        return math.log(self.amplified) + sum(steps) - max(steps, default=0.0)


def products_upon_products(measured: Measured) -> Iterator[Fault]:
    """Products of what kernels gave, one after the other, with no normalization between them.

    What two inputs differ by, beside the signal, adds up in a product of two: its square doubles,
    and that of a value with itself is four times as large. And so do the sizes of inputs differ
    more in each: a learning rate that the largest bear moves nothing for the rest. A variance of 1
    is a mean over inputs, and says nothing of it.
    """
    found: list[_Product] = []
    for call in measured.graph.calls:
        found.append(_behind(measured, call, found))
        product = found[-1]
        if len(product.uneven) >= _AT_LEAST and product.log >= math.log(_TOO_UNEVEN):
            count, deviation = len(product.uneven), math.sqrt(math.expm1(product.uneven[-1]))
            yield fault_of(
                measured,
                "gradient_differs",
                measured.graph.calls[product.first],
                f"Products stand on products, {count:,} up to {call.path!r}: what two inputs "
                f"differ by grows by {number(math.sqrt(product.amplified))} beside the signal, and "
                f"the mean square of one input deviates by {number(deviation)} times the mean of "
                "all. Few inputs outweigh the others.",
                "add_normalisation",
            )
            return


def _behind(measured: Measured, call: Call, found: list[_Product]) -> _Product:
    role, sources = (
        measured.roles[call.index],
        [measured.producers[value.index] for value in call.inputs if not value.constant],
    )
    if role in RESETS or role is Role.INPUT or not sources:
        return _Product()
    before = [found[source] for source in sources]
    longest = max(before, key=lambda each: len(each.uneven))
    if role is Role.MERGE:  # each as far as it carries the sum
        moments = [measured.forward[source] for source in sources]
        squares = [0.0 if m is None else m.mean_square for m in moments]
        whole = sum(squares)
        if not 0.0 < whole < math.inf:
            return longest
        shares = zip(squares, before, strict=True)
        return longest._replace(amplified=sum(s / whole * each.amplified for s, each in shares))
    if measured.flow.products.get(call.index) != frozenset():
        return longest  # no product, or one that a gate weighs
    here = _unevenness(measured, call)
    if here is None:
        return longest
    again = len(set(sources)) < len(sources)
    amplified = 4.0 * longest.amplified if again else sum(each.amplified for each in before)
    first = longest.first if longest.uneven else call.index
    return _Product(amplified, (*longest.uneven, here), first)


def _unevenness(measured: Measured, call: Call) -> float | None:
    """The logarithm of 1 + d², by the standard error d/√n that n samples' mean square has."""
    moments = measured.forward[call.index]
    if moments is None or moments.standard_error is None:
        return None
    samples = moments.count / call.outputs[0].entries
    return math.log1p(moments.standard_error**2 * samples)
