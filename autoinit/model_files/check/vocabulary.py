"""Which names a configuration may hold, for either Keras: data only.

A name that is not listed here is never looked up: not as a class, nor as a function, nor as a
module. What is listed computes tensors from tensors, with nothing but numbers and short texts as
arguments. A test holds the lists against what Keras exports, so that whatever a later version adds
is decided on here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autoinit.model_files.keras2 import vocabulary as keras2


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Keras 3

_LAYERS = _names("""
    Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D
    AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add
    AdditiveAttention AlphaDropout Attention AugMix AutoContrast Average AveragePooling1D
    AveragePooling2D AveragePooling3D AvgPool1D AvgPool2D AvgPool3D BatchNormalization Bidirectional
    CategoryEncoding CenterCrop Concatenate ContrastLimitedAdaptiveHistogramEqualization Conv1D
    Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D
    Convolution1D Convolution1DTranspose Convolution2D Convolution2DTranspose Convolution3D
    Convolution3DTranspose Cropping1D Cropping2D Cropping3D CutMix Dense DepthwiseConv1D
    DepthwiseConv2D Discretization Dot Dropout ELU EinsumDense Embedding Equalization Flatten GRU
    GRUCell GaussianDropout GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D
    GlobalAveragePooling3D GlobalAvgPool1D GlobalAvgPool2D GlobalAvgPool3D GlobalMaxPool1D
    GlobalMaxPool2D GlobalMaxPool3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D
    GroupNormalization GroupQueryAttention HashedCrossing Hashing Identity InputLayer IntegerLookup
    LSTM LSTMCell LayerNormalization LeakyReLU Masking MaxNumBoundingBoxes MaxPool1D MaxPool2D
    MaxPool3D MaxPooling1D MaxPooling2D MaxPooling3D Maximum MelSpectrogram Minimum MixUp
    MultiHeadAttention Multiply Normalization PReLU Permute Pipeline RMSNormalization RNN
    RandAugment RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop
    RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHue
    RandomInvert RandomPerspective RandomPosterization RandomRotation RandomSaturation
    RandomSharpness RandomShear RandomTranslation RandomZoom ReLU RepeatVector Rescaling Reshape
    Resizing ReversibleEmbedding STFTSpectrogram SeparableConv1D SeparableConv2D
    SeparableConvolution1D SeparableConvolution2D SimpleRNN SimpleRNNCell Softmax Solarization
    SpatialDropout1D SpatialDropout2D SpatialDropout3D SpectralNormalization StackedRNNCells
    StringLookup Subtract TextVectorization TimeDistributed UnitNormalization UpSampling1D
    UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D
""")

# Layers of Keras that it does not export, or not under their own name, by module.
UNEXPORTED: Mapping[str, frozenset[str]] = {
    "keras.src.applications.convnext": _names("LayerScale StochasticDepth"),
    "keras.src.applications.inception_resnet_v2": _names("CustomScaleLayer"),
    "keras.src.layers.attention.grouped_query_attention": _names("GroupedQueryAttention"),
    "keras.src.layers.rnn.conv_lstm": _names("ConvLSTMCell"),
}

# Operations of `keras.ops` in a functional model, by module.
OPERATIONS: Mapping[str, frozenset[str]] = {
    "keras.src.activations.activations": _names("Mish ReLU"),
    "keras.src.ops.core": _names("""
        Cast ConvertToTensor SaturateCast Scatter ScatterUpdate Slice SliceUpdate StopGradient
        Unstack
    """),
    "keras.src.ops.einops": _names("Rearrange"),
    "keras.src.ops.image": _names("""
        AffineTransform CropImages ElasticTransform ExtractPatches GaussianBlur HSVToRGB
        MapCoordinates PadImages PerspectiveTransform RGBToGrayscale RGBToHSV Resize SSIM
        ScaleAndTranslate SobelEdges
    """),
    "keras.src.ops.linalg": _names("""
        Cholesky CholeskyInverse Det Eig Eigh Inv Lstsq LuFactor MatrixRank Norm Pinv Qr SVD Solve
        SolveTriangular
    """),
    "keras.src.ops.math": _names("""
        CDist Erf Erfc Erfinv ExtractSequences FFT FFT2 IFFT2 IRFFT ISTFT InTopK Logdet Logsumexp
        RFFT Rsqrt STFT SegmentMax SegmentMin SegmentProd SegmentSum TopK ViewAsComplex ViewAsReal
    """),
    "keras.src.ops.nn": _names("""
        AdaptiveAveragePool AdaptiveMaxPool AveragePool BatchNorm BinaryCrossentropy CTCDecode
        CTCLoss CategoricalCrossentropy Celu Conv ConvTranspose DepthToSpace DepthwiseConv
        DotProductAttention Elu Fold Gelu Glu HardShrink HardSigmoid HardSilu HardTanh LayerNorm
        LeakyRelu LogSigmoid LogSoftmax MaxPool Moments MultiHot Normalize OneHot PSNR Polar RMSNorm
        Relu Relu6 Selu SeparableConv Sigmoid Silu SoftShrink Softmax Softplus Softsign SpaceToDepth
        SparseCategoricalCrossentropy SparsePlus SparseSigmoid Sparsemax Squareplus TanhShrink
        Threshold Unfold
    """),
    "keras.src.ops.numpy": _names("""
        Abs Absolute Add All AllClose Amax Amin Angle Any Append Arange Arccos Arccosh Arcsin
        Arcsinh Arctan Arctan2 Arctanh Argmax Argmin Argpartition Argsort Array ArraySplit Average
        Bincount BitwiseAnd BitwiseInvert BitwiseLeftShift BitwiseNot BitwiseOr BitwiseRightShift
        BitwiseXor BroadcastTo Cbrt Ceil Clip Concatenate Conj Conjugate Copy Corrcoef Correlate Cos
        Cosh CountNonzero Cross Cumprod Cumsum Deg2rad Diag Diagflat Diagonal Diff Digitize Divide
        DivideNoNan Dot Dsplit Dstack Einsum EmptyLike Equal Exp Exp2 ExpandDims Expm1 Fabs Flip
        Fliplr Flipud Floor FloorDivide Fmax Fmin Fmod Full FullLike Gcd Geomspace GetItem Greater
        GreaterEqual Heaviside Histogram Hsplit Hstack Hypot I0 Imag Inner IsIn Isclose Isfinite
        Isinf Isnan Isneginf Isposinf Isreal Kron Lcm Ldexp LeftShift Less LessEqual Linspace Log
        Log10 Log1p Log2 Logaddexp Logaddexp2 LogicalAnd LogicalNot LogicalOr LogicalXor Logspace
        Matmul Max Maximum Mean Median Meshgrid Min Minimum Mod Moveaxis Multiply NanToNum Nanargmax
        Nanargmin Nancumprod Nancumsum Nanmax Nanmean Nanmedian Nanmin Nanpercentile Nanprod
        Nanquantile Nanstd Nansum Nanvar Ndim Negative Nextafter Nonzero NotEqual OnesLike Outer Pad
        Percentile Power Prod Ptp Quantile Rad2deg Ravel Real Reciprocal Repeat Reshape RightShift
        Roll Rot90 Round SearchSorted Select Sign Signbit Sin Sinc Sinh Size Slogdet Sort Split Sqrt
        Square Squeeze Stack Std Subtract Sum Swapaxes Take TakeAlongAxis Tan Tanh Tensordot Tile
        Trace Transpose Trapezoid Tril Triu TrueDivide Trunc Unique UnravelIndex Vander Var Vdot
        View Vsplit Vstack Where ZerosLike
    """),
}

# Layers and operations that are not made, and why, as the end of a sentence.
_CODE, _ELSEWHERE = "it holds code", "it runs a program that lies elsewhere"
_CALLS, _NONE = "it calls code", "it is of no class of its own"
DENIED: Mapping[str, str] = {
    "Lambda": _CODE,
    "FlaxLayer": _ELSEWHERE, "JaxLayer": _ELSEWHERE, "TFSMLayer": _ELSEWHERE,
    "TorchModuleWrapper": _ELSEWHERE,
    "AssociativeScan": _CALLS, "Cond": _CALLS, "ForiLoop": _CALLS, "JVP": _CALLS, "Map": _CALLS,
    "Scan": _CALLS, "Switch": _CALLS, "VectorizedMap": _CALLS, "WhileLoop": _CALLS,
    "Function": _NONE, "Layer": _NONE, "Operation": _NONE, "SegmentReduction": _NONE,
    "Wrapper": _NONE,
    "FakeQuantWithMinMaxVars": "it packs numbers into fewer bits",
}  # fmt: skip

_INITIALIZERS = _names("""
    Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity IdentityInitializer LecunNormal
    LecunUniform Ones Orthogonal OrthogonalInitializer RandomNormal RandomUniform STFT
    STFTInitializer TruncatedNormal VarianceScaling Zeros
""")
_INITIALIZER_NAMES = _names("""
    glorot_normal glorot_uniform he_normal he_uniform identity lecun_normal lecun_uniform
    normal one ones orthogonal random_normal random_uniform stft truncated_normal uniform
    variance_scaling zero zeros
""")
_REGULARIZERS = _names("L1 L1L2 L2 OrthogonalRegularizer")
_REGULARIZER_NAMES = _names("l1 l1l2 l2 orthogonal_regularizer")
_CONSTRAINTS = _names("MaxNorm MinMaxNorm NonNeg UnitNorm")
_CONSTRAINT_NAMES = _names("max_norm min_max_norm non_neg unit_norm")
_ACTIVATIONS = _names("""
    celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu
    linear log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus
    softsign sparse_plus sparse_sigmoid sparsemax squareplus swish tanh tanh_shrink
""")
# Functions that are exported as activations, and why none can be one by its name alone.
INCOMPLETE = {"threshold": "needs arguments, which its name alone does not give"}
_ACTIVATION_LAYERS = _names("Activation ELU LeakyReLU PReLU ReLU Softmax")
_POLICIES = _names("DTypePolicy FloatDTypePolicy")
# Of layers whose weights were packed into fewer bits after training.
QUANTIZED_POLICIES = _names("""
    AWQDTypePolicy DTypePolicyMap GPTQDTypePolicy Int4DTypePolicy QuantizedDTypePolicy
    QuantizedFloat8DTypePolicy
""")
_VALUES = _names("__bytes__ __ellipsis__ __keras_tensor__ __numpy__ __slice__ __tensor__")

DTYPES = _names("""
    bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 bfloat16 float32 float64
    complex64 complex128 string
""")


# Layers whose activation is a call of its own in an analysis, so that it may be a placeholder.
FUSING = _names("""
    Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose Convolution1D
    Convolution1DTranspose Convolution2D Convolution2DTranspose Convolution3D Convolution3DTranspose
    Deconvolution2D Deconvolution3D Dense DepthwiseConv1D DepthwiseConv2D EinsumDense
    SeparableConv1D SeparableConv2D SeparableConvolution1D SeparableConvolution2D
""")

# Arguments that may be the path of a file to read, where they are a text.
FILE_ARGUMENTS = _names("vocabulary idf_weights")

# Arguments that count something, of which there is at least one.
COUNTS = _names("filters units")

# Integers that are no sizes, and may be as large as they like.
FREE_INTEGERS = _names("""
    inbound_nodes mask_token mask_value oov_token salt seed value vocabulary
""")


# Roles: what an object is used for, which is told by the argument that it stands in.
LAYER, MODEL, ACTIVATION, INITIALIZER = "layer", "model", "activation", "initializer"
REGULARIZER, CONSTRAINT, POLICY, SEED = "regularizer", "constraint", "policy", "seed"
# Of what a class of somebody's own is given: told by what it is.
ANY = "any"

# What this library itself leaves in models, by registered name: role, module and class.
OWN = {
    "autoinit>CenteredUnitNorm": (CONSTRAINT, "autoinit.constraints", "CenteredUnitNorm"),
    "autoinit>GaussianSampling": (LAYER, "autoinit.stand_ins", "GaussianSampling"),
    "autoinit>NamedFunction": (LAYER, "autoinit.stand_ins", "NamedFunction"),
    "autoinit>WeightedSum": (LAYER, "autoinit.weighted_sum", "WeightedSum"),
}

# Layers of Keras's own that it exports nowhere, by module and class, and those that do the same.
_FEATURES = "keras.src.layers.preprocessing.feature_space"
EQUALS = {
    (_FEATURES, "TFDConcat"): ("keras.layers", "Concatenate"),
    (_FEATURES, "TFDIdentity"): ("keras.layers", "Identity"),
}

_ROLES = {
    "layer": LAYER, "backward_layer": LAYER, "layers": LAYER, "cell": LAYER, "cells": LAYER,
    "activation": ACTIVATION, "dtype": POLICY, "seed": SEED,
}  # fmt: skip
_ROLE_ENDINGS = {
    "_activation": ACTIVATION,
    "initializer": INITIALIZER,
    "regularizer": REGULARIZER,
    "constraint": CONSTRAINT,
}


def role_of(argument: str) -> str:
    """What the value of an argument is used for; an empty string for numbers and texts."""
    for ending, role in _ROLE_ENDINGS.items():
        if argument.endswith(ending):
            return role
    return _ROLES.get(argument, "")


@dataclass(frozen=True)
class Vocabulary:
    """The names that one Keras's configurations may hold.

    Attributes:
        classes: of each role, the names of classes and the modules that they are looked up in; for
            Keras 2, whose older reader goes by the class's name alone, the modules are empty.
        strings: of each role, names that may stand for a class or function by themselves.
        values: names of classes that stand for a value which JSON has no form for.
        operations: names of operations that a layer's entry may stand for, and their modules.
        roots: first components of the modules that this Keras records for itself.
    """

    classes: Mapping[str, Mapping[str, str]]
    strings: Mapping[str, frozenset[str]]
    values: frozenset[str]
    operations: Mapping[str, str]
    roots: frozenset[str]


def _in(module: str, names: frozenset[str]) -> dict[str, str]:
    return dict.fromkeys(names, module)


KERAS3 = Vocabulary(
    classes={
        MODEL: {
            "Functional": "keras.src.models.functional", "Model": "keras", "Sequential": "keras",
        },
        LAYER: _in("keras.layers", _LAYERS)
        | {name: module for module, names in UNEXPORTED.items() for name in names},
        ACTIVATION: _in("keras.layers", _ACTIVATION_LAYERS),
        INITIALIZER: _in("keras.initializers", _INITIALIZERS),
        REGULARIZER: _in("keras.regularizers", _REGULARIZERS),
        CONSTRAINT: _in("keras.constraints", _CONSTRAINTS),
        POLICY: _in("keras.dtype_policies", _POLICIES),
        SEED: {"SeedGenerator": "keras.random"},
    },
    strings={
        ACTIVATION: _ACTIVATIONS,
        INITIALIZER: (_INITIALIZERS - {"Constant"}) | _INITIALIZER_NAMES,  # it needs its value
        REGULARIZER: _REGULARIZERS | _REGULARIZER_NAMES,
        CONSTRAINT: _CONSTRAINTS | _CONSTRAINT_NAMES,
    },
    values=_VALUES,
    operations={name: module for module, names in OPERATIONS.items() for name in names},
    roots=_names("keras"),
)  # fmt: skip

KERAS2 = Vocabulary(
    classes={
        MODEL: _in("", keras2.MODEL_CLASSES),
        LAYER: _in("", keras2.LAYER_CLASSES),
        ACTIVATION: _in("", keras2.ACTIVATION_LAYERS),
        INITIALIZER: _in("", keras2.INITIALIZERS),
        REGULARIZER: _in("", keras2.REGULARIZERS),
        CONSTRAINT: _in("", keras2.CONSTRAINTS),
        POLICY: _in("", keras2.POLICIES),
        SEED: {},
    },
    strings={
        ACTIVATION: keras2.ACTIVATIONS,
        INITIALIZER: keras2.INITIALIZERS,
        REGULARIZER: keras2.REGULARIZERS,
        CONSTRAINT: keras2.CONSTRAINTS,
    },
    values=keras2.VALUE_CLASSES,
    operations=_in("", keras2.OPERATION_CLASSES),
    roots=keras2.MODULE_ROOTS,
)
