"""The table of sample models, and how one is asked for by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from sample_models.arguments import Argument, WrongArgumentError, arguments_of
from sample_models.branching import multi_input
from sample_models.convolutional import all_cnn_c, densenet_like, vgg_like
from sample_models.custom import custom_layer
from sample_models.fully_connected import deep_tanh_mlp
from sample_models.residual import resnet
from sample_models.text import lstm_text, transformer_encoder

if TYPE_CHECKING:
    import keras

FILES_FOLDER = Path(__file__).parent / "files"


@dataclass(frozen=True)
class Builder:
    """One sample model: the function that builds it, and what the name alone decides."""

    name: str
    function: Callable[..., "keras.Model"]
    description: str
    fixed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def arguments(self) -> dict[str, Argument]:
        """What may follow the name, as in `NAME?argument=value`."""
        return arguments_of(self.function)


def _resnet(depth: int, block: str, batch_normalization: bool) -> Builder:
    suffix, ending = ("", "") if batch_normalization else ("-nobn", ", no batch normalization")
    return Builder(
        name=f"resnet-{depth}{suffix}",
        function=resnet,
        description=f"Pre-activation ResNet, {depth} layers, {block} blocks{ending} (32x32 images)",
        fixed={"depth": depth, "block": block, "batch_normalization": batch_normalization},
    )


MODELS: dict[str, Builder] = {
    builder.name: builder
    for builder in (
        Builder("all-cnn-c", all_cnn_c, "All-CNN-C: convolutions only (32x32 images)"),
        _resnet(56, "basic", True),
        _resnet(56, "basic", False),
        _resnet(164, "bottleneck", True),
        _resnet(164, "bottleneck", False),
        _resnet(812, "bottleneck", True),
        _resnet(812, "bottleneck", False),
        Builder("deep-tanh-mlp", deep_tanh_mlp, "A deep chain of Dense layers with tanh"),
        Builder("vgg-like", vgg_like, "VGG-16 for 32x32 images, without batch normalization"),
        Builder("densenet-like", densenet_like, "Densely connected blocks and concatenations"),
        Builder("multi-input", multi_input, "Three inputs, two outputs, nested and shared parts"),
        Builder("lstm-text", lstm_text, "Embedding and LSTM layers: a text classifier"),
        Builder("transformer-encoder", transformer_encoder, "Self-attention: a text classifier"),
        Builder(
            "custom-layer", custom_layer, "A CNN with a layer of its own, opened into its parts"
        ),
    )
}


def build(spec: str) -> "keras.Model":
    """Build a sample model from `NAME` or `NAME?argument=value&argument=value`.

    Args:
        spec: a name of `MODELS`, with arguments as in a web address.

    Returns:
        The model, built and not compiled, with weights freshly drawn.

    Raises:
        ValueError: the name, an argument or a value is unknown; the message lists the right ones.

    Example:
        >>> from sample_models import build
        >>> build("deep-tanh-mlp?depth=3&width=8").count_params()
        306
    """
    builder, arguments = parse(spec)
    return builder.function(**builder.fixed, **arguments)


def parse(spec: str) -> tuple[Builder, dict[str, Any]]:
    """Split a specification into its builder and its arguments, without building anything.

    Raises:
        ValueError: as `build` does.
    """
    name, _, query = spec.partition("?")
    if name not in MODELS:
        raise WrongArgumentError(
            f"There is no sample model {name!r}. The sample models are: {', '.join(MODELS)}."
        )
    builder = MODELS[name]
    return builder, _parse_query(query, builder)


def _parse_query(query: str, builder: Builder) -> dict[str, Any]:
    known = builder.arguments
    takes = f"It takes: {', '.join(known)}." if known else "It takes none."
    values: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise WrongArgumentError(f"{builder.name} has no argument {name!r}. {takes}")
        if name in values:
            raise WrongArgumentError(f"{builder.name} was given {name} twice. Give it once.")
        values[name] = known[name].parse(text)
    return values
