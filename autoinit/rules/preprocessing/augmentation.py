"""Random transformations of images and audio front ends: Monte Carlo through a copy of the layer.

What they do depends on how the data lie in the range of values that the layer is told, so that
entries are clipped, and on neighbouring entries: no closed form holds for long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from keras import layers

from autoinit.graph.model_graph import Call
from autoinit.rules.fallbacks import pass_through
from autoinit.rules.registry import Context, RuleResult, Support, rule
from autoinit.rules.sampling import sample_layer
from autoinit.signals.signal import Signal

# Samples have many entries each: so many are drawn, fewer of large ones.
_SAMPLES, _ENTRIES = 1024, 1 << 25
# Some layers transform a whole batch alike: small batches tell more of them.
_TOGETHER = 32


@rule(layers.RandomFlip, layers.MaxNumBoundingBoxes, support=Support.NEUTRAL)
def same_entries(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
    """The same entries, some of them at other places; only boxes beside images change.

    Labels and masks may come with the images, as they do to all of these layers.
    """
    return RuleResult(tuple(inputs))


@rule(
    layers.AugMix,
    layers.CutMix,
    layers.MixUp,
    layers.RandAugment,
    layers.RandomBrightness,
    layers.RandomColorDegeneration,
    layers.RandomColorJitter,
    layers.RandomContrast,
    layers.RandomElasticTransform,
    layers.RandomErasing,
    layers.RandomGaussianBlur,
    layers.RandomGrayscale,
    layers.RandomHue,
    layers.RandomInvert,
    layers.RandomPerspective,
    layers.RandomPosterization,
    layers.RandomRotation,
    layers.RandomSaturation,
    layers.RandomSharpness,
    layers.RandomShear,
    layers.RandomTranslation,
    layers.RandomZoom,
    layers.Solarization,
    support=Support.SAMPLED,
)
def augmentation(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
    """Nothing in inference; in training, what the layer makes of Gaussian images."""
    if not context.training:
        return RuleResult(tuple(inputs), Support.NEUTRAL)
    return _sampled(call, inputs, context)


@rule(
    layers.AutoContrast,
    layers.ContrastLimitedAdaptiveHistogramEqualization,
    layers.MelSpectrogram,
    layers.STFTSpectrogram,
    support=Support.SAMPLED,
)
def transformation(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
    """What the layer makes of Gaussian images or sounds, in either mode."""
    return _sampled(call, inputs, context)


def _sampled(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
    most = min(_SAMPLES, _ENTRIES // call.inputs[0].entries + 1)
    few = replace(context, samples=min(context.samples, most))
    given = [
        replace(value, shape=(value.shape[0] or _TOGETHER, *value.shape[1:]))
        for value in call.inputs
    ]
    try:
        signals, error = sample_layer(replace(call, inputs=tuple(given)), inputs, few)
    except Exception:  # of its own configuration, of so few channels: it raises what it likes
        return pass_through(call, inputs)
    return RuleResult(signals, standard_error=error)
