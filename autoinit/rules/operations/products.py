"""Sums of products: matrix products, `einsum`, and the attention that is made of them.

One operand may be a parameter, which is then a kernel that AutoInit draws. Two signals are taken
as independent; that is right for queries, keys and values, which have weights of their own. Where
it is not, `autoinit/propagation/dependence.py` tells, and the product is sampled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from autoinit.graph.model_graph import Call, TensorRef, Value
from autoinit.rules.kernels import Kernel
from autoinit.rules.masks import masking_of, masking_of_rows
from autoinit.rules.operations.named import NAMED
from autoinit.rules.projection import LETTERS, project, spelled_out
from autoinit.rules.registry import Context, RuleResult, Support
from autoinit.signals.signal import Signal

# What is added to a logit that does not count lies below this.
_MASKED = -1e4


def equation_of(call: Call) -> tuple[list[str], str] | None:
    """Letters of the operands and of the output of a product, the batch axis among them.

    None for what is no sum of products of two tensors over axes of theirs.
    """
    name, shapes = type(call.layer).__name__, _operand_shapes(call)
    if shapes is None or len(shapes) != 2:
        return None
    first, second = len(shapes[0]), len(shapes[1])
    if name == "Einsum":
        return spelled_out(call.layer.subscripts, shapes)
    if name == "Matmul":
        left, right = LETTERS[:first], LETTERS[:second]
        if first < 1 or second < 1:
            return None
        # …ij,…jk->…ik; of a vector there is no i or no k.
        lead = "abcdefg"[: max(first - 2, second - 2, 0)]
        left = (lead[-(first - 2) :] if first > 2 else "") + ("x" if first > 1 else "") + "y"
        right = (lead[-(second - 2) :] if second > 2 else "") + "y" + ("z" if second > 1 else "")
        output = lead + ("x" if first > 1 else "") + ("z" if second > 1 else "")
        return [left, right], output
    if name == "Dot" and second <= 2 <= first:
        left = LETTERS[:first]
        right = left[-1] + ("z" if second > 1 else "")
        return [left, right], left[:-1] + right[1:]
    if name == "Tensordot":
        axes = call.layer.axes
        axes = (range(first - axes, first), range(axes)) if isinstance(axes, int) else axes
        left, other = LETTERS[:first], list(LETTERS[first : first + second])
        for mine, theirs in zip(*map(np.atleast_1d, axes), strict=True):
            other[theirs] = left[mine]
        right = "".join(other)
        return [left, right], "".join(x for x in left + right if (left + right).count(x) == 1)
    return None


def _operand_shapes(call: Call) -> list[tuple[int, ...]] | None:
    values = {value.index: value for value in call.inputs}
    shapes: list[tuple[int, ...]] = []
    for operand in operands_of(call):
        if isinstance(operand, TensorRef):
            value = values[operand.value]
            shapes.append(value.sample if value.constant else (0, *value.sample))
        elif hasattr(operand, "shape"):
            shapes.append(tuple(operand.shape))
        else:
            return None
    return shapes


def operands_of(call: Call) -> list[Any]:
    """The tensors that a product takes: slots, or constants."""
    args, kwargs = call.arguments
    names = {"x1", "x2", "a", "b", "x"}
    given = [*args, *(value for name, value in kwargs.items() if name in names)]
    if type(call.layer).__name__ == "Einsum":
        given = list(args)
    return [leaf for leaf in given if leaf is not None]


def product(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult | None:
    """Matmul, einsum, dot and tensordot of two tensors, one of which may be a parameter."""
    found = equation_of(call)
    operands = operands_of(call)
    if found is None or len(inputs) != len(call.inputs):
        return None
    terms, output = found
    by_value = {v.index: (v, s) for v, s in zip(call.inputs, inputs, strict=True)}
    values: list[Value | None] = []
    signals: list[Signal] = []
    samples: list[str] = []  # of each operand that has samples, the letter of their axis
    for operand, term in zip(operands, terms, strict=True):
        if isinstance(operand, TensorRef):
            value, signal = by_value[operand.value]
            values.append(value)
            signals.append(signal)
            if not value.constant:
                samples.append(term[0])
        else:
            array = np.asarray(operand, np.float64)
            values.append(None)
            signals.append(type(inputs[0]).of_values(array))
    if len(set(samples)) != 1 or not output.startswith(samples[0]):
        return None
    batch = samples[0]
    shapes = _operand_shapes(call) or []
    plain = [
        (term[1:], shape[1:]) if term.startswith(batch) else (term, shape)
        for term, shape in zip(terms, shapes, strict=True)
    ]
    if any(batch in term for term, _ in plain):
        return None
    sizes: dict[str, int] = {}
    for term, shape in plain:
        for letter, size in zip(term, shape, strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    wanted = output[1:]
    for place in (1, 0):
        read = values[place]
        kernel = None if read is None else read.parameter
        other = plain[1 - place][0]
        summed_alone = [x for x in plain[place][0] if x not in other and x not in wanted]
        if kernel is not None and values[1 - place] is not None and not summed_alone:
            made = Kernel(kernel, "variable", kernel.attribute, summed_axes=())
            labels = (other, plain[place][0], wanted)
            moved = call if place else replace(call, inputs=call.inputs[::-1])
            return project(moved, signals[1 - place], context, made, labels)
    signals = [
        _broadcast(signal, term, shape, sizes)
        for signal, (term, shape) in zip(signals, plain, strict=True)
    ]
    labels = (plain[0][0], plain[1][0], wanted)
    result = signals[0].contract(signals[1], labels, sizes)
    return RuleResult((result,), Support.EXACT)


def _broadcast(signal: Signal, term: str, shape: tuple[int, ...], sizes: dict[str, int]) -> Signal:
    wanted = [sizes[letter] for letter in term]
    return signal if list(shape) == wanted else signal.repeat(wanted[:-1])


def attention(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult | None:
    """softmax(q·kᵀ·scale)·v, per head; shapes (samples, tokens, heads, units)."""
    args, kwargs = call.arguments
    names = ("query", "key", "value", "bias", "mask", "scale", "is_causal")
    given = dict(zip(names, args, strict=False)) | kwargs
    by_value = {v.index: (v, s) for v, s in zip(call.inputs, inputs, strict=True)}
    slots = [each for name in names[:3] if isinstance(each := given.get(name), TensorRef)]
    if len(slots) < 3:
        return None
    (q, query), (k, key), (_, value) = (by_value[slot.value] for slot in slots)
    if len(q.sample) != 3 or len(k.sample) != 3:
        return None
    targets, heads, units = q.sample
    sources, groups, _ = k.sample
    if groups != heads:  # grouped queries: each key is read by several heads
        key, value = (each.arrange([sources, heads]) for each in (key, value))
    sizes = {"t": targets, "n": heads, "h": units, "s": sources}
    scale = given.get("scale")
    scale = 1 / math.sqrt(units) if scale is None else float(scale)
    logits = query.contract(key, ("tnh", "snh", "nts"), sizes).affine(scale, 0.0)
    bias = given.get("bias")
    if isinstance(bias, TensorRef):
        logits = logits.combine("add", [by_value[bias.value][1].arrange([heads, targets])])
    is_causal = given.get("is_causal") or getattr(call.layer, "is_causal", False)
    earlier = np.tri(targets, sources, dtype=bool) if is_causal else None
    masking = masking_of(given.get("mask"), call, inputs, context, sources, earlier)
    shares = logits.softmax(sources, masking)
    result = shares.contract(value, ("nts", "snh", "tnh"), sizes)
    approximate = isinstance(bias, TensorRef)
    return RuleResult((result,), Support.APPROXIMATE if approximate else Support.EXACT)


def masked_sum(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult | None:
    """Logits plus a mask: 0 where an entry counts, and a large negative number elsewhere."""
    if len(call.inputs) != 2:
        return None
    for place in (1, 0):
        added = context.known.get(call.inputs[place].index)
        if added is None or not added.size or not added.min() < _MASKED:
            continue
        logits, mask = inputs[1 - place], call.inputs[place]
        rows = (added if not mask.constant else added[None]) > _MASKED
        masking = masking_of_rows(rows, call.outputs[0].sample[-1])
        whole = logits.combine("add", [inputs[place]])
        placed = logits.repeat(call.outputs[0].positions)
        return RuleResult((whole.masked(placed, masking),), Support.EXACT)
    return None


def all_true(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
    """A mask that comes with a tensor hides few entries: taken as none."""
    return RuleResult((type(inputs[0]).gaussian(1.0, 0.0),), Support.APPROXIMATE)


NAMED.update(
    dict.fromkeys(("Matmul", "Einsum", "Dot", "Tensordot"), product)
    | {"DotProductAttention": attention, "Add": masked_sum, "Mask": all_true}
)
