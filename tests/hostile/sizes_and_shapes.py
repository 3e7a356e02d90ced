"""Models that are too large, too deep or not models at all, and names that are hostile."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.hostile.parts import (
    ANALYSED,
    FEATURES,
    Config,
    Row,
    chain,
    dense,
    functional,
    h5_file,
    input_layer,
    json_file,
    keras_file,
    layer,
    reads,
    sequential,
)

OVER = ("over_budget",)
BAD = ("bad_configuration",)
UNBUILDABLE = ("bad_configuration", "cannot_rebuild")
NO_GRAPH = ("no_graph",)
IMAGE = (32, 32, 3)


def alone(entry: Config, shape: Any = (FEATURES,), keras: int = 3) -> Callable[[Path], bytes]:
    """A model of one layer, as JSON: nothing but the configuration says how large it is."""

    def make(_: Path) -> bytes:
        config = chain(entry, keras=keras, shape=shape, head=False)
        return json_file(config, "" if keras == 3 else "2.11.0")

    return make


def both(
    name: str, class_name: str, shape: Any, outcomes: tuple[str, ...], **config: Any
) -> list[Row]:
    """The same layer for both Kerases."""
    return [
        Row(
            f"{name}.keras{keras}.json",
            alone(layer(class_name, "big", config, keras=keras), shape, keras),
            outcomes,
        )
        for keras in (2, 3)
    ]


def attention(keras: int) -> Callable[[Path], bytes]:
    def make(_: Path) -> bytes:
        config: Config = {"num_heads": 10**5, "key_dim": 10**5}
        if keras == 2:
            config |= {f"{name}_shape": [None, 8, 8] for name in ("query", "key", "value")}
        big = layer("MultiHeadAttention", "big", config, keras=keras)
        model = chain(big, keras=keras, shape=(8, 8), head=False)
        node = big["inbound_nodes"][0]
        if keras == 3:
            node["args"] *= 2
        else:
            node[0][3] = {"value": ["in", 0, 0]}
        return json_file(model, "" if keras == 3 else "2.11.0")

    return make


# Depth and number


def text(content: str) -> Callable[[Path], bytes]:
    return lambda _: content.encode()


def deep_in_archive(_: Path) -> bytes:
    return keras_file('{"a":' * 200_000 + "1" + "}" * 200_000)


def deep_in_h5(_: Path) -> bytes:
    return h5_file("[" * 200_000 + "]" * 200_000)


def millions_of_nodes(_: Path) -> bytes:
    config = chain()
    config["extra"] = [0] * 5_000_000
    return json_file(config)


def huge_integer(_: Path) -> bytes:
    return json_file(chain()).replace(b'"units": 4', b'"units": 1' + b"0" * 100_000)


def nested_300_times(_: Path) -> bytes:
    config = chain(name="m0")
    for index in range(300):
        config["name"] = config["config"]["name"]
        config = chain(config, head=False, name=f"m{index + 1}")
    return json_file(config)


def doubled(times: int, keras: int) -> Callable[[Path], bytes]:
    """Each model holds the one before and calls it twice: 2 to the power of `times` calls."""

    def make(_: Path) -> bytes:
        config = chain(dense("same", FEATURES, keras=keras), keras=keras, head=False, name="m0")
        for index in range(times):
            config["name"] = before = config["config"]["name"]
            first, second = reads("in", keras)[0], reads(before, keras, node=1)[0]
            config["inbound_nodes"] = [first, second]
            layers = [input_layer(keras=keras), config]
            config = functional(layers, keras=keras, name=f"m{index + 1}")
            config["config"]["output_layers"] = [[before, 2, 0]]
        return json_file(config, "" if keras == 3 else "2.11.0")

    return make


def many_layers(count: int, keras: int = 3) -> Callable[[Path], bytes]:
    def make(_: Path) -> bytes:
        parts = [
            layer("Activation", f"a{index}", {"activation": "relu"}, keras=keras)
            for index in range(count)
        ]
        return json_file(chain(*parts, keras=keras), "" if keras == 3 else "2.11.0")

    return make


def many_calls(_: Path) -> bytes:
    """One layer, called more often than calls may be."""
    config = chain(dense("same", FEATURES), head=False)
    entry = config["config"]["layers"][1]
    entry["inbound_nodes"] = [reads("in")[0]] + [reads("same")[0] for _ in range(50_001)]
    return json_file(config)


def many_inputs(_: Path) -> bytes:
    layers = [input_layer(name=f"in{index}") for index in range(20_001)]
    config = functional([*layers, dense() | {"inbound_nodes": reads("in0")}])
    config["config"]["input_layers"] = [[entry["name"], 0, 0] for entry in layers]
    return json_file(config)


def large_constant(_: Path) -> bytes:
    config = chain(layer("Normalization", "n", {"mean": [0.0] * 10**6, "variance": [1.0] * 10**6}))
    return json_file(config)


# Structure


def duplicate_keys(_: Path) -> bytes:
    """Readers differ in which of two equal keys they take."""
    once = b'"class_name": "Functional"'
    return json_file(chain()).replace(once, once + b', "class_name": "Lambda"', 1)


def edited(edit: Callable[[Config], object], keras: int = 3) -> Callable[[Path], bytes]:
    """A good model, as JSON, after an edit."""

    def make(_: Path) -> bytes:
        config = chain(dense("code", FEATURES, keras=keras), keras=keras)
        edit(config)
        return json_file(config, "" if keras == 3 else "2.11.0")

    return make


def layers_of(config: Config) -> list[Config]:
    found: list[Config] = config["config"]["layers"]
    return found


def put(*keys: str | int) -> Callable[[Any], Callable[[Config], object]]:
    """Sets the entry of a configuration at a path."""

    def value(content: Any) -> Callable[[Config], object]:
        def edit(config: Any) -> None:
            for key in keys[:-1]:
                config = config[key]
            config[keys[-1]] = content

        return edit

    return value


def drop(*keys: str | int) -> Callable[[Config], object]:
    def edit(config: Any) -> None:
        for key in keys[:-1]:
            config = config[key]
        del config[keys[-1]]

    return edit


def named(name: str, keras: int = 3) -> Callable[[Path], bytes]:
    """A complete file in which model, input and layer bear the name."""

    def make(_: Path) -> bytes:
        part = layer("Activation", name, {"activation": "relu"}, keras=keras)
        config = chain(part, keras=keras, name=name)
        if keras == 2:
            return h5_file(config)
        return keras_file(config)

    return make


LAYERS = ("config", "layers")
STRUCTURES: list[tuple[str, Callable[[Config], object], tuple[str, ...]]] = [
    ("no-input", lambda config: layers_of(config).pop(0), (*NO_GRAPH, *UNBUILDABLE)),
    ("no-layers", put(*LAYERS)([]), (*NO_GRAPH, *BAD)),
    ("layers-is-null", put(*LAYERS)(None), (*NO_GRAPH, *BAD)),
    ("layers-is-a-string", put(*LAYERS)("Dense"), (*NO_GRAPH, *BAD)),
    ("layers-holds-numbers", put(*LAYERS)([1, 2]), (*NO_GRAPH, *BAD)),
    ("no-config", drop("config"), (*NO_GRAPH, *BAD, "not_a_model")),
    ("config-is-a-list", put("config")([]), (*NO_GRAPH, *BAD, "not_a_model")),
    ("class-name-is-a-list", put("class_name")(["Functional"]),
     (*BAD, "no_model_config", "not_a_model")),
    ("no-input-layers", drop("config", "input_layers"), (*NO_GRAPH, *BAD)),
    ("no-output-layers", put("config", "output_layers")([]), (*NO_GRAPH, *BAD)),
    ("output-is-missing", put("config", "output_layers")([["nowhere", 0, 0]]), UNBUILDABLE),
    ("output-index-is-missing", put("config", "output_layers")([["head", 7, 3]]), UNBUILDABLE),
    ("outputs-are-text", put("config", "output_layers")(["head"]), UNBUILDABLE),
    ("outputs-are-pairs", put("config", "output_layers")([["head", 0]]), UNBUILDABLE),
    ("nodes-are-null", put(*LAYERS, 1, "inbound_nodes")(None), UNBUILDABLE),
    ("reads-nobody", put(*LAYERS, 1, "inbound_nodes")([]), (*UNBUILDABLE, *NO_GRAPH)),
    ("duplicate-names", put(*LAYERS, 1, "config", "name")("head"), UNBUILDABLE),
    ("layer-without-config", drop(*LAYERS, 1, "config"), BAD),
    ("layer-without-class", drop(*LAYERS, 1, "class_name"), BAD),
    ("name-is-a-number", put(*LAYERS, 1, "name")(7), BAD),
    ("units-is-negative", put(*LAYERS, 1, "config", "units")(-3), UNBUILDABLE),
    ("units-is-zero", put(*LAYERS, 1, "config", "units")(0), UNBUILDABLE),
    ("units-is-a-float", put(*LAYERS, 1, "config", "units")(8.5), UNBUILDABLE),
    ("units-is-a-string", put(*LAYERS, 1, "config", "units")("8"), (*UNBUILDABLE, ANALYSED)),
    ("units-is-null", put(*LAYERS, 1, "config", "units")(None), UNBUILDABLE),
    ("units-is-a-list", put(*LAYERS, 1, "config", "units")([8]), UNBUILDABLE),
    ("units-is-infinite", put(*LAYERS, 1, "config", "units")(float("inf")), UNBUILDABLE),
    ("units-is-true", put(*LAYERS, 1, "config", "units")(True), (*UNBUILDABLE, ANALYSED)),
    ("unknown-argument", put(*LAYERS, 1, "config", "shell")("rm"), (*UNBUILDABLE, ANALYSED)),
    ("dtype-is-nonsense", put(*LAYERS, 1, "config", "dtype")("float33"), UNBUILDABLE),
    ("dtype-is-a-string", put(*LAYERS, 1, "config", "dtype")("string"), UNBUILDABLE),
    ("shape-is-negative", put(*LAYERS, 0, "config", "batch_shape")([None, -8]), UNBUILDABLE),
    ("shape-is-text", put(*LAYERS, 0, "config", "batch_shape")("eight"), UNBUILDABLE),
    ("shape-is-huge", put(*LAYERS, 0, "config", "batch_shape")([None, 10**9]), OVER),
    ("shape-is-beyond", put(*LAYERS, 0, "config", "batch_shape")([None, 10**18]), BAD),
    ("batch-is-huge", put(*LAYERS, 0, "config", "batch_shape")([10**12, 8]), (*OVER, ANALYSED)),
    ("rank-is-huge", put(*LAYERS, 0, "config", "batch_shape")([None] + [1] * 500),
     (*OVER, *UNBUILDABLE)),
]  # fmt: skip


def cyclic(config: Config) -> None:
    layers_of(config)[1]["inbound_nodes"] = reads("head")


def cyclic2(config: Config) -> None:
    layers_of(config)[1]["inbound_nodes"] = reads("head", 2)


def reads_missing(config: Config) -> None:
    layers_of(config)[1]["inbound_nodes"] = reads("nowhere")


def reads_missing2(config: Config) -> None:
    layers_of(config)[1]["inbound_nodes"] = reads("nowhere", 2)


# Keras 3 writes no slash in a name, and TensorFlow's scopes rule out most of what is no letter.
OPENS, REFUSED = (ANALYSED,), BAD
NAMES = {
    "html": ("<script>alert(1)</script><img src=x onerror=alert(1)>", REFUSED, REFUSED),
    "html-without-slash": ("<img src=x onerror=alert(1)>", OPENS, REFUSED),
    "markdown": ("![x](http:x) **bold** $x^2$ :red[x]", OPENS, REFUSED),
    "right-to-left": ("relu\u202egnp.exe", OPENS, REFUSED),
    "nul": ("a\0b", OPENS, REFUSED),
    "newline": ("a\nb\r\nc", OPENS, REFUSED),
    "megabyte": ("a" * 1_000_000, OPENS, OPENS),
    "beyond": ("a" * 1_000_001, OVER, OVER),
    "formula": ("=cmd|'C calc'!A1", OPENS, REFUSED),
    "terminal": ("\x1b[2J\x1b]0;owned\x07", OPENS, REFUSED),
    "surrogate": ("a\ud800b", BAD, ()),
    "empty": ("", REFUSED, REFUSED),
    "slashes": ("../../etc/passwd", REFUSED, OPENS),
    "dots": ("..", OPENS, OPENS),
    "percent": ("%s%n%x{0}{a.__class__}", OPENS, REFUSED),
    "emoji": ("🦄" * 50, OPENS, REFUSED),
}

ROWS = [
    # Depth and number
    Row("deep.json", text('{"class_name":' * 200_000), OVER),
    Row("deep-list.json", text('{"class_name":' + "[" * 200_000 + "]" * 200_000 + "}"), OVER),
    Row("deep.keras", deep_in_archive, OVER),
    Row("deep.h5", deep_in_h5, OVER),
    Row("millions-of-nodes.json", millions_of_nodes, OVER),
    Row("huge-integer.json", huge_integer, BAD),
    Row("nested-300-times.json", nested_300_times, OVER),
    Row("doubled-30-times.json", doubled(30, 3), OVER),
    Row("doubled-30-times.keras2.json", doubled(30, 2), OVER),
    Row("doubled-300-times.json", doubled(300, 3), OVER),
    Row("20001-layers.json", many_layers(20_000), OVER),
    Row("20001-layers.keras2.json", many_layers(20_000, 2), OVER),
    Row("50002-calls.json", many_calls, OVER),
    Row("20001-inputs.json", many_inputs, OVER),
    Row("large-constant.json", large_constant, OVER),
    # Sizes
    *both("dense", "Dense", (8,), OVER, units=10**9),
    *both("dense-beyond-integers", "Dense", (8,), BAD, units=10**30),
    *both("repeat", "RepeatVector", (8,), OVER, n=10**9),
    *both("up-sampling", "UpSampling2D", IMAGE, OVER, size=[10**5, 10**5]),
    *both("padding", "ZeroPadding2D", IMAGE, OVER, padding=[10**6, 10**6]),
    *both("padding-1d", "ZeroPadding1D", (8, 3), OVER, padding=[10**10, 10**10]),
    *both("giant-kernel", "Conv2D", IMAGE, OVER, filters=10**4, kernel_size=[10**4, 10**4],
          padding="same"),
    *both("giant-filters", "Conv2D", IMAGE, OVER, filters=10**8, kernel_size=[3, 3]),
    *both("giant-depthwise", "DepthwiseConv2D", IMAGE, OVER, kernel_size=[3, 3],
          depth_multiplier=10**8),
    *both("giant-transposed", "Conv2DTranspose", IMAGE, OVER, filters=4, kernel_size=[3, 3],
          strides=[10**5, 10**5]),
    *both("giant-dilation", "Conv2D", IMAGE, OVER, filters=4,
          kernel_size=[3, 3], dilation_rate=[10**9, 10**9], padding="same"),
    *both("giant-stride", "Conv2D", IMAGE, (ANALYSED,), filters=4,
          kernel_size=[3, 3], strides=[10**9, 10**9], padding="same"),
    *both("zero-stride", "Conv2D", IMAGE, UNBUILDABLE, filters=4, kernel_size=[3, 3],
          strides=[0, 0]),
    *both("negative-kernel", "Conv2D", IMAGE, UNBUILDABLE, filters=4, kernel_size=[-3, 3]),
    *both("negative-padding", "ZeroPadding2D", IMAGE, UNBUILDABLE, padding=[-40, -40]),
    *both("pool-beyond-image", "MaxPooling2D", IMAGE, UNBUILDABLE, pool_size=[64, 64]),
    *both("giant-reshape", "Reshape", (8,), UNBUILDABLE, target_shape=[10**9, 10**9]),
    *both("giant-lstm", "LSTM", (4, 8), OVER, units=10**6),
    *both("giant-embedding", "Embedding", (8,), OVER, input_dim=10**9, output_dim=512),
    *both("orthogonal-4000", "Dense", (4000,), OVER, units=4000,
          kernel_initializer={"class_name": "Orthogonal", "config": {"gain": 1.0, "seed": None},
                              "module": "keras.initializers"}),
    *both("orthogonal-10000", "Dense", (10_000,), OVER, units=10_000,
          kernel_initializer="orthogonal"),
    *both("orthogonal-lstm", "LSTM", (4, 8), OVER, units=4000),
    *both("digits-of-an-equation", "EinsumDense", (8,), UNBUILDABLE, output_shape=[4],
          equation="ab,bc->1" + "0" * 4400),
    Row("giant-attention.keras2.json", attention(2), OVER),
    Row("giant-attention.keras3.json", attention(3), OVER),
    # Structure, in both Kerases
    *(Row(f"{name}.json", edited(edit), out) for name, edit, out in STRUCTURES),
    *(Row(f"{name}.keras2.json", edited(edit, 2), out) for name, edit, out in STRUCTURES
      if not name.startswith(("shape", "batch", "rank"))),
    Row("reads-itself.json", edited(cyclic), (*UNBUILDABLE, *NO_GRAPH)),
    Row("reads-itself.keras2.json", edited(cyclic2, 2), (*UNBUILDABLE, *NO_GRAPH)),
    Row("reads-what-is-missing.json", edited(reads_missing), UNBUILDABLE),
    Row("reads-what-is-missing.keras2.json", edited(reads_missing2, 2), UNBUILDABLE),
    Row("bare-dense.json", lambda _: json_file(dense()), ("not_a_model",)),
    Row("bare-dense.keras2.json", lambda _: json_file(dense(keras=2), "2.11.0"), ("not_a_model",)),
    Row("bare-dense.keras", lambda _: keras_file(dense()), ("not_a_model",)),
    Row("empty-sequential.json", lambda _: json_file(sequential()), NO_GRAPH),
    Row("sequential-without-input.json", lambda _: json_file(sequential(dense())), NO_GRAPH),
    Row("only-an-input.json", lambda _: json_file(sequential(input_layer())), NO_GRAPH),
    Row("string-in-string.json", lambda _: json.dumps(json.dumps(chain())).encode(), (ANALYSED,)),
    Row("list.json", lambda _: b"[1, 2, 3]", ("not_a_model_file",)),
    Row("nan.json", lambda _: b'{"class_name": NaN}', ("no_model_config",)),
    Row("duplicate-keys.json", duplicate_keys, (ANALYSED,)),
    Row("utf-16.json", lambda _: json.dumps(chain()).encode("utf-16"), (ANALYSED,)),
    Row("latin-1.json", lambda _: json_file(chain()).replace(b'"head"', b'"t\xeate"'),
        ("broken_file",)),
    # Names
    *(Row(f"name-{kind}.keras", named(name), outcomes3) for kind, (name, outcomes3, _)
      in NAMES.items()),
    *(Row(f"name-{kind}.h5", named(name, 2), outcomes2) for kind, (name, _, outcomes2)
      in NAMES.items() if outcomes2),
]  # fmt: skip
