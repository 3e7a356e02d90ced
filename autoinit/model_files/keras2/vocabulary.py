"""Which names a Keras 2 configuration may hold: data only, so that checking needs no TensorFlow.

Everything here names code that computes tensors from tensors. Nothing here takes a callable, opens
a file, keeps state, prints, or decodes a foreign format.
"""

from __future__ import annotations


def _named(prefix: str, names: str) -> frozenset[str]:
    return frozenset(prefix + name for name in names.split())


# What `TFOpLambda` and `SlicingOpLambda` record as their `function`.
TF_SYMBOLS: frozenset[str] = (
    _named("__operators__.", "add eq getitem ne")
    | _named(
        "",
        """
        argsort batch_to_space boolean_mask broadcast_to cast clip_by_norm clip_by_value concat
        constant convert_to_tensor einsum ensure_shape expand_dims extract_volume_patches eye fill
        gather gather_nd identity identity_n linspace meshgrid norm one_hot ones ones_like pad range
        rank realdiv repeat reshape reverse reverse_sequence roll scatter_nd searchsorted
        sequence_mask shape shape_n size slice sort space_to_batch space_to_batch_nd split squeeze
        stack stop_gradient strided_slice tensor_scatter_nd_add tensor_scatter_nd_max
        tensor_scatter_nd_min tensor_scatter_nd_sub tensor_scatter_nd_update tensordot tile
        transpose truncatediv truncatemod unstack where zeros zeros_like
    """,
    )
    | _named("dtypes.", "complex saturate_cast")
    | _named(
        "math.",
        """
        abs accumulate_n acos acosh add add_n angle argmax argmin asin asinh atan atan2 atanh
        bessel_i0 bessel_i0e bessel_i1 bessel_i1e ceil conj cos cosh count_nonzero cumprod cumsum
        cumulative_logsumexp digamma divide divide_no_nan equal erf erfc erfcinv erfinv exp expm1
        floor floordiv floormod greater greater_equal igamma igammac imag invert_permutation
        is_finite is_inf is_nan l2_normalize less less_equal lgamma log log1p log_sigmoid
        logical_and logical_not logical_or logical_xor maximum minimum mod multiply multiply_no_nan
        ndtri negative nextafter not_equal polyval pow real reciprocal reciprocal_no_nan reduce_all
        reduce_any reduce_euclidean_norm reduce_logsumexp reduce_max reduce_mean reduce_min
        reduce_prod reduce_std reduce_sum reduce_variance rint round rsqrt scalar_mul segment_max
        segment_mean segment_min segment_prod segment_sum sigmoid sign sin sinh softplus sqrt square
        squared_difference subtract tan tanh top_k truediv unsorted_segment_max
        unsorted_segment_mean unsorted_segment_min unsorted_segment_prod unsorted_segment_sum xdivy
        xlog1py xlogy zero_fraction
    """,
    )
    | _named(
        "nn.",
        """
        avg_pool avg_pool1d avg_pool2d avg_pool3d batch_normalization bias_add conv1d
        conv1d_transpose conv2d conv2d_transpose conv3d conv3d_transpose convolution crelu
        depth_to_space depthwise_conv2d dilation2d dropout elu embedding_lookup erosion2d gelu
        l2_loss leaky_relu local_response_normalization log_softmax max_pool max_pool1d max_pool2d
        max_pool3d moments pool relu relu6 selu separable_conv2d sigmoid silu softmax softplus
        softsign space_to_depth swish tanh sigmoid_cross_entropy_with_logits
        softmax_cross_entropy_with_logits sparse_softmax_cross_entropy_with_logits
    """,
    )
    | _named(
        "linalg.",
        """
        adjoint band_part cholesky cross det diag diag_part einsum eye inv l2_normalize matmul
        matrix_transpose matvec norm normalize set_diag tensor_diag tensor_diag_part tensordot trace
    """,
    )
    | _named(
        "image.",
        """
        adjust_brightness adjust_contrast adjust_gamma adjust_hue adjust_saturation central_crop
        convert_image_dtype crop_and_resize crop_to_bounding_box extract_patches flip_left_right
        flip_up_down grayscale_to_rgb hsv_to_rgb image_gradients pad_to_bounding_box
        per_image_standardization resize resize_with_crop_or_pad resize_with_pad rgb_to_grayscale
        rgb_to_hsv rgb_to_yiq rgb_to_yuv rot90 sobel_edges total_variation transpose yiq_to_rgb
        yuv_to_rgb
    """,
    )
    | _named(
        "signal.",
        """
        dct fft fft2d fft3d fftshift frame hamming_window hann_window idct ifft ifft2d ifft3d
        ifftshift irfft irfft2d irfft3d linear_to_mel_weight_matrix mfccs_from_log_mel_spectrograms
        overlap_and_add rfft rfft2d rfft3d stft
    """,
    )
    | _named("random.", "normal truncated_normal uniform")
    | _named("bitwise.", "bitwise_and bitwise_or bitwise_xor invert left_shift right_shift")
    | _named("debugging.", "check_numerics")
    | _named(
        "keras.backend.",
        """
        batch_flatten bias_add binary_crossentropy cast_to_floatx categorical_crossentropy
        resize_images resize_volumes spatial_2d_padding spatial_3d_padding temporal_padding
    """,
    )
    | _named(
        "keras.activations.",
        """
        elu exponential gelu hard_sigmoid linear relu selu sigmoid softmax softplus softsign swish
        tanh
    """,
    )
    | _named(
        "compat.v1.",
        """
        arg_max arg_min batch_gather batch_to_space batch_to_space_nd boolean_mask constant
        convert_to_tensor div expand_dims floor_div gather gather_nd norm ones_like pad
        reverse_sequence shape size squeeze to_bfloat16 to_double to_float to_int32 to_int64
        transpose where zeros_like
    """,
    )
    | _named(
        "compat.v1.math.",
        """
        argmax argmin count_nonzero log_softmax reduce_all reduce_any reduce_logsumexp reduce_max
        reduce_mean reduce_min reduce_prod reduce_sum scalar_mul softmax
    """,
    )
    | _named(
        "compat.v1.nn.",
        """
        avg_pool conv1d conv2d conv2d_transpose conv3d conv3d_transpose convolution crelu
        depth_to_space depthwise_conv2d dilation2d dropout embedding_lookup erosion2d log_softmax
        max_pool moments pool relu_layer separable_conv2d sigmoid_cross_entropy_with_logits softmax
        softmax_cross_entropy_with_logits softmax_cross_entropy_with_logits_v2 space_to_batch
        space_to_depth sparse_softmax_cross_entropy_with_logits xw_plus_b
    """,
    )
    | _named(
        "compat.v1.image.",
        """
        crop_and_resize extract_image_patches resize_area resize_bicubic resize_bilinear
        resize_image_with_pad resize_images resize_nearest_neighbor
    """,
    )
)

# Types of the operation in a `TensorFlowOpLayer`'s node_def (tf.keras 1.14 to 2.3).
NODE_OPERATIONS: frozenset[str] = _named(
    "",
    """
    Abs Acos Acosh Add AddN AddV2 All Any ArgMax ArgMin Asin Asinh Atan Atan2 Atanh AvgPool
    BatchMatMul BatchMatMulV2 BatchToSpaceND BiasAdd BroadcastTo Cast Ceil ClipByValue Concat
    ConcatV2 Conv2D Cos Cosh Cumprod Cumsum DepthToSpace DepthwiseConv2dNative Div DivNoNan Einsum
    Elu Equal Erf Erfc Exp ExpandDims Expm1 Fill Floor FloorDiv FloorMod Gather GatherNd GatherV2
    Greater GreaterEqual Identity Inv IsFinite IsInf IsNan L2Loss LeakyRelu Less LessEqual Log Log1p
    LogSoftmax LogicalAnd LogicalNot LogicalOr MatMul Max MaxPool Maximum Mean Min Minimum MirrorPad
    Mod Mul MulNoNan Neg NotEqual OneHot OnesLike Pack Pad PadV2 Pow Prod Range Rank RealDiv
    Reciprocal Relu Relu6 Reshape ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor
    ReverseSequence ReverseV2 Rint Roll Round Rsqrt Select SelectV2 Selu Shape Sigmoid Sign Sin Sinh
    Size Slice Softmax Softplus Softsign SpaceToBatchND SpaceToDepth Split SplitV Sqrt Square
    SquaredDifference Squeeze StopGradient StridedSlice Sub Sum Tan Tanh Tile TopKV2 Transpose
    TruncateDiv TruncateMod Unpack Where Xdivy Xlogy ZerosLike
""",
)

# Layers that hold a TensorFlow operation. `ClassMethod`, `InstanceMethod` and `InstanceProperty`
# only ever stand for ragged and sparse tensors, which have no part in an analysis.
OPERATION_CLASSES: frozenset[str] = _named("", "SlicingOpLambda TFOpLambda TensorFlowOpLayer")

MODEL_CLASSES: frozenset[str] = _named("", "Functional Model Network Sequential")

# Layers that tf_keras may make from a configuration. Left out, for what they hold: Lambda,
# DropoutWrapper and ResidualWrapper (code), DenseFeatures and SequenceFeatures (feature columns),
# DeviceWrapper, and the abstract or canned ones (Wrapper, LinearModel, WideDeepModel).
LAYER_CLASSES: frozenset[str] = _named(
    "",
    """
    Activation ActivityRegularization Add AddLoss AddMetric AdditiveAttention AlphaDropout Attention
    Average AveragePooling1D AveragePooling2D AveragePooling3D AvgPool1D AvgPool2D AvgPool3D
    BatchNormalization BatchNormalizationV1 BatchNormalizationV2 Bidirectional CategoryEncoding
    CenterCrop Concatenate Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose
    ConvLSTM1D ConvLSTM2D ConvLSTM3D Convolution1D Convolution1DTranspose Convolution2D
    Convolution2DTranspose Convolution3D Convolution3DTranspose Cropping1D Cropping2D Cropping3D
    CuDNNGRU CuDNNLSTM CustomScaleLayer Deconvolution2D Deconvolution3D Dense DepthwiseConv1D
    DepthwiseConv2D Discretization Dot Dropout ELU EinsumDense Embedding Flatten GRU GRUCell
    GRUCellV1 GRUCellV2 GRUV1 GRUV2 GaussianDropout GaussianNoise GlobalAveragePooling1D
    GlobalAveragePooling2D GlobalAveragePooling3D GlobalAvgPool1D GlobalAvgPool2D GlobalAvgPool3D
    GlobalMaxPool1D GlobalMaxPool2D GlobalMaxPool3D GlobalMaxPooling1D GlobalMaxPooling2D
    GlobalMaxPooling3D GroupNormalization HashedCrossing Hashing Identity InputLayer IntegerLookup
    LSTM LSTMCell LSTMCellV1 LSTMCellV2 LSTMV1 LSTMV2 Layer LayerNormalization LayerScale LeakyReLU
    LocallyConnected1D LocallyConnected2D Masking MaxPool1D MaxPool2D MaxPool3D MaxPooling1D
    MaxPooling2D MaxPooling3D Maximum Minimum MultiHeadAttention Multiply Normalization PReLU
    Permute RNN RandomBrightness RandomContrast RandomCrop RandomFlip RandomFourierFeatures
    RandomHeight RandomRotation RandomTranslation RandomWidth RandomZoom ReLU RepeatVector Rescaling
    Reshape Resizing SeparableConv1D SeparableConv2D SeparableConvolution1D SeparableConvolution2D
    SimpleRNN SimpleRNNCell Softmax SpatialDropout1D SpatialDropout2D SpatialDropout3D
    SpectralNormalization StackedRNNCells StochasticDepth StringLookup Subtract
    SyncBatchNormalization TextVectorization ThresholdedReLU TimeDistributed UnitNormalization
    UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D
""",
)

# Of TensorFlow Addons, what `own_layers` and `functions` do in its place, as it registers them.
ADDONS: frozenset[str] = _named(
    "Addons>",
    """
    AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D AdaptiveMaxPooling1D
    AdaptiveMaxPooling2D AdaptiveMaxPooling3D GELU GroupNormalization InstanceNormalization
    Sparsemax SpectralNormalization WeightNormalization gelu hardshrink lisht mish rrelu snake
    softshrink sparsemax tanhshrink
""",
)

KERAS2_CLASSES: frozenset[str] = LAYER_CLASSES | MODEL_CLASSES | OPERATION_CLASSES

# Names that an `activation`, `recurrent_activation`, … may have.
ACTIVATIONS: frozenset[str] = _named(
    "",
    """
    elu exponential gelu hard_sigmoid leaky_relu linear log_softmax mish relu relu6 selu sigmoid
    silu softmax softmax_v2 softplus softsign swish tanh
""",
)
# Activations given as layers: {"class_name": "LeakyReLU", "config": {…}}.
ACTIVATION_LAYERS: frozenset[str] = _named(
    "",
    """
    Activation ELU LeakyReLU PReLU ReLU Softmax ThresholdedReLU
""",
)

INITIALIZERS: frozenset[str] = _named(
    "",
    """
    Constant ConstantV2 GlorotNormal GlorotNormalV2 GlorotUniform GlorotUniformV2 HeNormal
    HeNormalV2 HeUniform HeUniformV2 Identity IdentityV2 LecunNormal LecunNormalV2 LecunUniform
    LecunUniformV2 Ones OnesV2 Orthogonal OrthogonalV2 RandomNormal RandomNormalV2 RandomUniform
    RandomUniformV2 TruncatedNormal TruncatedNormalV2 VarianceScaling VarianceScalingV2 Zeros
    ZerosV2 constant glorot_normal glorot_normalV2 glorot_uniform glorot_uniformV2 he_normal
    he_normalV2 he_uniform he_uniformV2 identity lecun_normal lecun_normalV2 lecun_uniform
    lecun_uniformV2 normal one ones orthogonal random_normal random_uniform truncated_normal uniform
    variance_scaling zero zeros
""",
)
REGULARIZERS: frozenset[str] = _named(
    "",
    """
    L1 L1L2 L2 OrthogonalRegularizer l1 l1_l2 l2 orthogonal_regularizer
""",
)
CONSTRAINTS: frozenset[str] = _named(
    "",
    """
    MaxNorm MinMaxNorm NonNeg RadialConstraint UnitNorm max_norm maxnorm min_max_norm non_neg nonneg
    radial_constraint unit_norm unitnorm
""",
)
POLICIES: frozenset[str] = _named("", "DTypePolicy Policy PolicyV1")

# Values that JSON has no form for, written with a `class_name` by Keras 2's two serialisers.
VALUE_CLASSES: frozenset[str] = _named(
    "",
    """
    TensorShape __bytes__ __ellipsis__ __numpy__ __tensor__ __tuple__ ListWrapper
""",
)

# First components of the `module` that Keras 2.12 to 2.15 records.
MODULE_ROOTS: frozenset[str] = _named("", "builtins keras tensorflow tf_keras")
