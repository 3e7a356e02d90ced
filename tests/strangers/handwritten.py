"""Configurations as they stand in files of old versions, which no version at hand can write."""

from __future__ import annotations

from typing import Any

Config = dict[str, Any]

UNIFORM = {
    "class_name": "VarianceScaling",
    "config": {"scale": 1.0, "mode": "fan_avg", "distribution": "uniform", "seed": None},
}
ORTHOGONAL = {"class_name": "Orthogonal", "config": {"gain": 1.0, "seed": None}}
ZEROS = {"class_name": "Zeros", "config": {}}
POLICY = {"class_name": "Policy", "config": {"name": "mixed_float16", "loss_scale": "dynamic"}}


def dense(name: str, units: int, activation: str = "linear", **more: Any) -> Config:
    return {
        "name": name,
        "trainable": True,
        "units": units,
        "activation": activation,
        "use_bias": True,
        "kernel_initializer": UNIFORM,
        "bias_initializer": ZEROS,
        "kernel_regularizer": None,
        "bias_regularizer": None,
        "activity_regularizer": None,
        "kernel_constraint": None,
        "bias_constraint": None,
        **more,
    }


def recurrent(name: str, units: int, **more: Any) -> Config:
    return {
        **dense(name, units, "tanh"),
        "recurrent_initializer": ORTHOGONAL,
        "recurrent_regularizer": None,
        "recurrent_constraint": None,
        "return_sequences": False,
        "return_state": False,
        "go_backwards": False,
        "stateful": False,
        "unroll": False,
        "dropout": 0.0,
        "recurrent_dropout": 0.0,
        **more,
    }


def layer(class_name: str, config: Config, reads: str = "") -> Config:
    nodes = [[[reads, 0, 0, {}]]] if reads else []
    return {
        "class_name": class_name,
        "config": config,
        "name": config["name"],
        "inbound_nodes": nodes,
    }


def image(shape: list[int | None], name: str = "input_1") -> Config:
    config = {
        "name": name,
        "batch_input_shape": [None, *shape],
        "dtype": "float32",
        "sparse": False,
    }
    return layer("InputLayer", config)


def model(
    layers: list[Config], class_name: str = "Model", version: str = "2.2.4", name: str = "model_1"
) -> Config:
    config = {
        "name": name,
        "layers": layers,
        "input_layers": [[layers[0]["name"], 0, 0]],
        "output_layers": [[layers[-1]["name"], 0, 0]],
    }
    return {
        "class_name": class_name,
        "config": config,
        "keras_version": version,
        "backend": "tensorflow",
    }


def sequential_as_list() -> Config:
    """Stand-alone Keras 2.0: no name, no InputLayer."""
    first = dense("dense_1", 64, "relu", batch_input_shape=[None, 20], dtype="float32")
    dropout = {"name": "dropout_1", "trainable": True, "rate": 0.5}
    return {
        "class_name": "Sequential",
        "config": [
            {"class_name": "Dense", "config": first},
            {"class_name": "Dropout", "config": dropout},
            {"class_name": "Dense", "config": dense("dense_2", 10, "softmax")},
        ],
        "keras_version": "2.0.8",
        "backend": "theano",
    }


def embedding_and_lstm() -> Config:
    embedding = {
        "name": "embedding_1",
        "trainable": True,
        "batch_input_shape": [None, 30],
        "dtype": "float32",
        "input_dim": 1000,
        "output_dim": 16,
        "embeddings_initializer": {
            "class_name": "RandomUniform",
            "config": {"minval": -0.05, "maxval": 0.05, "seed": None},
        },
        "embeddings_regularizer": None,
        "activity_regularizer": None,
        "embeddings_constraint": None,
        "mask_zero": False,
        "input_length": 30,
    }
    lstm = recurrent(
        "lstm_1", 12, recurrent_activation="hard_sigmoid", unit_forget_bias=True, implementation=0
    )
    return {
        "class_name": "Sequential",
        "config": {
            "name": "sequential_1",
            "layers": [
                {"class_name": "Embedding", "config": embedding},
                {"class_name": "LSTM", "config": lstm},
                {"class_name": "Dense", "config": dense("dense_1", 1, "sigmoid")},
            ],
        },
        "keras_version": "2.2.2",
        "backend": "tensorflow",
    }


def gru_of_the_first_kind() -> Config:
    gru = recurrent(
        "gru_1", 12, recurrent_activation="hard_sigmoid", implementation=1, reset_after=False
    )
    return model(
        [image([15, 8]), layer("GRU", gru, "input_1"), layer("Dense", dense("out", 3), "gru_1")],
        version="2.1.5",
    )


def convolution_without_groups() -> Config:
    convolution = dense("conv1/conv", 0)
    del convolution["units"]
    convolution |= {
        "filters": 8,
        "kernel_size": [3, 3],
        "strides": [2, 2],
        "padding": "same",
        "data_format": "channels_last",
        "dilation_rate": [1, 1],
    }
    normalization = {
        "name": "conv1/bn",
        "trainable": True,
        "axis": 3,
        "momentum": 0.99,
        "epsilon": 1e-3,
        "center": True,
        "scale": True,
        "beta_initializer": ZEROS,
        "gamma_initializer": {"class_name": "Ones", "config": {}},
        "moving_mean_initializer": ZEROS,
        "moving_variance_initializer": {"class_name": "Ones", "config": {}},
        "beta_regularizer": None,
        "gamma_regularizer": None,
        "beta_constraint": None,
        "gamma_constraint": None,
    }
    pool = {"name": "pool", "trainable": True, "data_format": "channels_last"}
    return model(
        [
            image([16, 16, 3]),
            layer("Conv2D", convolution, "input_1"),
            layer("BatchNormalization", normalization, "conv1/conv"),
            layer(
                "Activation", {"name": "relu", "trainable": True, "activation": "relu"}, "conv1/bn"
            ),
            layer("GlobalAveragePooling2D", pool, "relu"),
            layer("Dense", dense("fc", 10), "pool"),
        ],
        version="2.0.9",
    )


def mixed_precision() -> Config:
    """TensorFlow 2.3's experimental policy."""
    return model(
        [
            image([12]),
            layer("Dense", dense("a", 16, "relu", dtype=POLICY), "input_1"),
            layer("Dense", dense("b", 4, dtype="float32"), "a"),
        ],
        "Functional",
        "2.4.0",
    )


def operations_of_tensorflow_2_0() -> Config:
    """Arithmetic as TensorFlow 2.0 to 2.3 wrote it: a node of its graph."""

    def node(name: str, operation: str, reads: str, constant: float) -> Config:
        definition = {
            "name": name,
            "op": operation,
            "input": [f"{reads}/BiasAdd", f"{name}/y"],
            "attr": {"T": {"type": "DT_FLOAT"}},
        }
        config = {
            "name": name,
            "trainable": True,
            "dtype": "float32",
            "node_def": definition,
            "constants": {"1": constant},
        }
        entry = layer("TensorFlowOpLayer", config, reads)
        entry["name"] = f"tf_op_layer_{name}"
        return entry

    return model(
        [
            image([12]),
            layer("Dense", dense("a", 16), "input_1"),
            node("mul", "Mul", "a", 2.0),
            node("add", "AddV2", "tf_op_layer_mul", 1.0),
            layer("Dense", dense("b", 4), "tf_op_layer_add"),
        ],
        "Model",
        "2.3.0-tf",
    )


def cudnn_lstm() -> Config:
    """Of stand-alone Keras 2.1 to 2.3 on a GPU: no Keras at hand has such a layer any more."""
    config = recurrent("cu_dnnlstm_1", 12, unit_forget_bias=True)
    for key in ("activation", "use_bias", "unroll", "dropout", "recurrent_dropout"):
        del config[key]
    return model(
        [
            image([15, 8]),
            layer("CuDNNLSTM", config, "input_1"),
            layer("Dense", dense("out", 3), "cu_dnnlstm_1"),
        ],
        version="2.2.4",
    )


def functional_in_sequential() -> Config:
    """Transfer learning as the tutorials of 2018 did it."""
    body = model([image([16]), layer("Dense", dense("inner", 8, "relu"), "input_1")])
    return {
        "class_name": "Sequential",
        "config": {
            "name": "sequential_1",
            "layers": [
                {"class_name": "Model", "config": body["config"]},
                {"class_name": "Dense", "config": dense("top", 2, "softmax")},
            ],
        },
        "keras_version": "2.2.4",
        "backend": "tensorflow",
    }


def lambda_of_python_2() -> Config:
    """Bytecode of another Python, which no loader could run any more."""
    config = {
        "name": "lambda_1",
        "trainable": True,
        "function_type": "lambda",
        "function": ["4wEAAAAAAAAAAQAAAAIAAABDAAAAcwgAAAB8AGQBGwBTAA==\n", None, None],
        "output_shape": [12],
        "output_shape_type": "raw",
        "arguments": {},
    }
    return model(
        [
            image([12]),
            layer("Lambda", config, "input_1"),
            layer("Dense", dense("out", 3), "lambda_1"),
        ],
        version="2.1.2",
    )


def custom_layer() -> Config:
    config = {"name": "l2_norm", "trainable": True, "output_dim": 7, "gamma_init": 20}
    return model(
        [
            image([12]),
            layer("L2Normalization", config, "input_1"),
            layer("Dense", dense("out", 3, "swish_custom"), "l2_norm"),
        ],
        version="2.2.4",
    )


CONFIGURATIONS = {
    build.__name__: build
    for build in (
        sequential_as_list,
        embedding_and_lstm,
        gru_of_the_first_kind,
        convolution_without_groups,
        mixed_precision,
        operations_of_tensorflow_2_0,
        cudnn_lstm,
        functional_in_sequential,
        lambda_of_python_2,
        custom_layer,
    )
}
