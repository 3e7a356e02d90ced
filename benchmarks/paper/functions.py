"""Activation functions made at random, as PANGAEA makes them (Bingham & Miikkulainen 2020).

A tree of operators with x at its leaves: two operators, then three mutations. The parameters that
PANGAEA learns are left at 1, where it begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from keras import ops
from numpy.random import Generator
from scipy.stats import norm

# An operator's name and its operands, or x.
Tree = tuple[Any, ...] | str

UNARY: dict[str, Callable[[Any], Any]] = {
    "0": ops.zeros_like, "1": ops.ones_like, "id": lambda x: x, "neg": ops.negative,
    "abs": ops.absolute, "1/": lambda x: 1.0 / x, "square": ops.square, "exp": ops.exp,
    "erf": ops.erf, "erfc": lambda x: 1.0 - ops.erf(x), "sinh": ops.sinh, "cosh": ops.cosh,
    "tanh": ops.tanh, "arcsinh": ops.arcsinh, "arctan": ops.arctan, "expm1": ops.expm1,
    "sigmoid": ops.sigmoid, "logsigmoid": ops.log_sigmoid, "relu": ops.relu,
    "min0": lambda x: ops.minimum(x, 0.0), "elu": ops.elu, "selu": ops.selu,
    "softplus": ops.softplus, "softsign": ops.softsign, "swish": ops.silu,
    "hardsigmoid": ops.hard_sigmoid,
}  # fmt: skip
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": ops.add, "-": ops.subtract, "*": ops.multiply, "/": ops.divide, "^": ops.power,
    "max": ops.maximum, "min": ops.minimum,
}  # fmt: skip
MUTATIONS = 3
# Share of numbers without a value from which on nothing can be learnt, whatever the kernels.
_MISSING = 0.01


def generated(count: int, seed: int) -> list[Tree]:
    """Different trees, the same for the same seed; fewer are the first of more."""
    generator, found = np.random.default_rng(seed), dict[Tree, None]()
    while len(found) < count:
        tree: Tree = _operator(generator, _unary(generator, "x"))
        for _ in range(MUTATIONS):
            mutation = generator.choice(len(_MUTATIONS))
            tree = _MUTATIONS[mutation](tree, generator)
        found[tree] = None
    return list(found)


def function_of(tree: Tree, name: str) -> Callable[[Any], Any]:
    """It as a function of a tensor."""

    def function(x: Any) -> Any:
        return _value(tree, x)

    function.__name__ = name
    return function


def text(tree: Tree) -> str:
    """As one writes it."""
    if isinstance(tree, str):
        return tree
    name, *operands = tree
    inner = [text(each) for each in operands]
    if len(inner) == 1:
        return {"0": "0", "1": "1", "id": inner[0]}.get(name, f"{name}({inner[0]})")
    return f"{name}({', '.join(inner)})" if name.isalpha() else f"({f' {name} '.join(inner)})"


def values(tree: Tree, points: Any) -> Any:
    """At some points, in single precision."""
    with np.errstate(all="ignore"):
        return np.asarray(_value(tree, ops.convert_to_tensor(points, "float32")))


def is_hopeless(tree: Tree) -> bool:
    """Whether it is constant, or has no value, for what a normal variable mostly is."""
    found = values(tree, norm.ppf((np.arange(1000) + 0.5) / 1000))
    return bool(np.isnan(found).mean() > _MISSING or np.ptp(found[~np.isnan(found)]) == 0)


def _value(tree: Tree, x: Any) -> Any:
    if isinstance(tree, str):
        return x
    name, *operands = tree
    operations: dict[str, Callable[..., Any]] = {**UNARY, **BINARY}
    return operations[name](*(_value(each, x) for each in operands))


def _unary(generator: Generator, operand: Tree) -> Tree:
    return (str(generator.choice(list(UNARY))), operand)


def _operator(generator: Generator, operand: Tree) -> Tree:
    """One of an operand, or of that and a function of x; as often one as the other."""
    if generator.random() < 0.5:
        return _unary(generator, operand)
    return (str(generator.choice(list(BINARY))), operand, _unary(generator, "x"))


def _places(tree: Tree, path: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """Paths of all operators, the root's first."""
    if not isinstance(tree, str):
        yield path
        for number, operand in enumerate(tree[1:], 1):
            yield from _places(operand, (*path, number))


def _changed(tree: Tree, path: tuple[int, ...], change: Callable[[Tree], Tree]) -> Tree:
    if not path:
        return change(tree)
    first, *rest = path
    return (*tree[:first], _changed(tree[first], tuple(rest), change), *tree[first + 1 :])


def _somewhere(tree: Tree, generator: Generator, change: Callable[[Tree], Tree]) -> Tree:
    places = list(_places(tree))
    return _changed(tree, places[generator.choice(len(places))], change)


def _renamed(node: Tree, generator: Generator) -> Tree:
    return (str(generator.choice(list(UNARY if len(node) == 2 else BINARY))), *node[1:])


def _inserted(tree: Tree, generator: Generator) -> Tree:
    return _somewhere(tree, generator, lambda node: _operator(generator, node))


def _removed(tree: Tree, generator: Generator) -> Tree:
    if len(list(_places(tree))) == 1:
        return tree
    found = _somewhere(tree, generator, lambda node: node[generator.integers(1, len(node))])
    return tree if isinstance(found, str) else found


def _another(tree: Tree, generator: Generator) -> Tree:
    return _somewhere(tree, generator, lambda node: _renamed(node, generator))


def _regenerated(tree: Tree, generator: Generator) -> Tree:
    for place in list(_places(tree)):
        tree = _changed(tree, place, lambda node: _renamed(node, generator))
    return tree


_MUTATIONS = (_inserted, _removed, _another, _regenerated)
