"""AutoInit's choice as Keras code: an initializer for each layer, to be copied into a program."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from app.analysis.headline import full_name
from app.analysis.result import Call, Finding, Initializer, Kernel, Result
from app.text.escaping import plain_text

# Remedies that are a change of the code at the layer that the finding names.
_AT_A_LAYER = (
    "change_last_activation", "change_activation", "add_nonlinearity", "add_normalisation",
    "scale_input", "widen", "reseed", "bound_recurrence", "fix_statistics",
    "keep_from_zero",
)  # fmt: skip
_NAMES_ON_A_LINE = 4
# Argument, initializer as Python, and the attribute that holds the weights.
_Choice = tuple[str, str, str]
_HEAD = '''\
# AutoInit's initializers for the layers of {name}.
#
# Give each layer the argument that stands here, such as
#     {argument}={example}
# where your code makes it; or let initialize(model) set it in a model that is built, and draw the
# weights anew.

from keras.initializers import {classes}


def part_of(model, path):
    """The layer that a path leads to."""
    for name in path.split("/"):
        parts = model._flatten_layers(include_self=False, recursive=False)
        model = next(part for part in parts if part.name == name)
    return model


def initialize(model):
    """Sets the initializers of a model's layers, and draws their weights."""
'''


def patch(result: Result) -> str:
    """A program with an initializer for each kernel that AutoInit sets, equal ones together.

    What findings advise at a layer stands there as a comment. Names from the file stand in it as
    Python writes text, whatever they hold.

    Args:
        result: of the analysis.

    Returns:
        The program; nothing for results of earlier versions, which do not tell initializers.
    """
    groups: dict[tuple[_Choice, ...], list[Call]] = defaultdict(list)
    places: dict[str, str] = {}
    for call in result.calls:
        choices = tuple(_choices(call.kernels))
        if choices:
            groups[choices].append(call)
            places[call.path] = _owner(call)
    if not groups:
        return ""
    classes = {code.partition("(")[0] for choices in groups for _, code, _ in choices}
    advice = _advice(result)
    argument, example, _ = next(iter(groups))[0]
    head = _HEAD.format(
        name=plain_text(repr(full_name(result.model.name, result.settings))),
        classes=", ".join(sorted(classes)),
        argument=argument,
        example=example,
    )
    lines = []
    for choices, calls in groups.items():
        for call in calls:
            lines += advice.pop(call.path, [])
        lines += _assignments([places[call.path] for call in calls], choices)
    lines += [line for rest in advice.values() for line in rest]
    return head + "\n".join(f"    {line}" for line in lines) + "\n"


def _choices(kernels: tuple[Kernel, ...]) -> Iterator[_Choice]:
    for kernel in kernels:
        weights = kernel.variable.rpartition("/")[2]
        if kernel.initializer is None:
            continue
        # A result may come from anyone, and this becomes code.
        names = (kernel.argument, weights, kernel.initializer.class_name)
        if all(name.isidentifier() for name in (*names, *kernel.initializer.arguments)):
            yield kernel.argument, _as_code(kernel.initializer), weights


def _as_code(initializer: Initializer) -> str:
    arguments = [f"{k}={v:.5g}" for k, v in initializer.arguments.items() if (k, v) != ("mean", 0)]
    return f"{initializer.class_name}({', '.join(arguments)})"


def _owner(call: Call) -> str:
    """The path of the layer that has the kernels; inside a wrapper it is not the call's."""
    owner = call.kernels[0].variable.split("/")[-2:-1]
    return "/".join([call.path, *(name for name in owner if name != call.path.split("/")[-1])])


def _assignments(paths: list[str], choices: tuple[_Choice, ...]) -> Iterator[str]:
    indent = ""
    if len(paths) == 1:
        yield f"layer = part_of(model, {paths[0]!r})"
    else:
        indent = "    "
        yield "for path in ("
        for start in range(0, len(paths), _NAMES_ON_A_LINE):
            names = paths[start : start + _NAMES_ON_A_LINE]
            yield indent + " ".join(f"{name!r}," for name in names)
        yield from ("):", "    layer = part_of(model, path)")
    for argument, initializer, weights in choices:
        yield f"{indent}layer.{argument} = {initializer}"
        yield f"{indent}layer.{weights}.assign(layer.{argument}(layer.{weights}.shape))"


def _advice(result: Result) -> dict[str, list[str]]:
    """By the path of a layer, what findings advise there, as comments."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for finding in result.findings:
        if finding.remedy in _AT_A_LAYER and finding.severity != "note":
            found[finding.path][_comment(finding)] = None
    return {path: list(comments) for path, comments in found.items()}


def _comment(finding: Finding) -> str:
    where = f"{finding.path!r}: " if finding.path else ""
    return f"# {where}{plain_text(finding.advice or '')} ({plain_text(finding.code)})"
