"""Cases of layers at a model's entrance: images, sounds, categories."""

from keras import layers

from tests.contracts.case import SHIFTED, case

PREPROCESSING = [
    case(layers.Rescaling, "numbers", (40,), scale=0.3, offset=-1.0, moments=SHIFTED),
    case(layers.Rescaling, "for each channel", (20, 3), scale=[0.3, 2.0, 1.0],
         offset=[0.0, 1.0, -1.0], moments=SHIFTED),
    case(layers.Normalization, "for each channel", (20, 3), mean=[3.3, 5.0, 4.0],
         variance=[0.5, 4.0, 1.0], moments=SHIFTED),
    case(layers.Normalization, "one for all", (20, 3), axis=None, mean=0.4, variance=2.5,
         moments=SHIFTED),
    case(layers.Normalization, "inverted", (20, 3), mean=[0.3, 2.0, 1.0],
         variance=[0.5, 4.0, 1.0], invert=True, moments=SHIFTED),
]  # fmt: skip

RESIZING = [
    case(layers.Resizing, "bilinear, larger and smaller", (6, 5, 4), height=9, width=3,
         moments=SHIFTED),
    case(layers.Resizing, "nearest, channels first", (4, 6, 5), height=3, width=7,
         interpolation="nearest", data_format="channels_first", moments=SHIFTED),
    case(layers.Resizing, "antialiased", (9, 8, 4), height=4, width=3, antialias=True,
         moments=SHIFTED),
    case(layers.Resizing, "cropped to the aspect ratio", (9, 5, 4), height=4, width=4,
         crop_to_aspect_ratio=True, interpolation="bicubic", moments=SHIFTED),
    case(layers.Resizing, "padded to the aspect ratio", (6, 3, 4), height=8, width=8,
         pad_to_aspect_ratio=True, fill_value=2.0, moments=SHIFTED),
    case(layers.CenterCrop, "the middle", (7, 6, 4), height=4, width=3, moments=SHIFTED),
    case(layers.CenterCrop, "larger along one axis", (4, 9, 4), height=6, width=5,
         moments=SHIFTED),
    # In inference Keras leaves the image as it is, whatever shape the layer declares.
    case(layers.RandomCrop, "as large as the image", (6, 5, 4), height=6, width=5,
         moments=SHIFTED),
]  # fmt: skip

IMAGE = (8, 8, 3)
BRIGHT = ((0.5, 0.04),)
UNIT = {"value_range": (0.0, 1.0)}
# One for each way of sampling: what a value is mapped to, where it goes, and who it is mixed with.
QUICK = (layers.RandomBrightness, layers.RandomInvert, layers.RandomRotation, layers.MixUp)
AUGMENTATION = [
    case(layers.RandomFlip, "both ways", IMAGE, moments=BRIGHT),
    case(layers.MaxNumBoundingBoxes, "an image alone", IMAGE, max_number=3, moments=BRIGHT),
    case(layers.RandomPosterization, "bytes", IMAGE, factor=4, value_range=(0, 255),
         moments=((120.0, 900.0),)),
    case(layers.RandomElasticTransform, "one channel", (6, 6, 1), moments=BRIGHT, slow=True,
         **UNIT),
    case(layers.RandomShear, "a range", IMAGE, x_factor=(0.1, 0.3), moments=BRIGHT),
    case(layers.RandomTranslation, "zeros around", IMAGE, height_factor=0.2, width_factor=0.3,
         fill_mode="constant", moments=BRIGHT),
    case(layers.RandomRotation, "inference", IMAGE, factor=0.2, training=False, moments=BRIGHT),
    case(layers.AutoContrast, "inference", IMAGE, training=False, moments=BRIGHT, **UNIT),
    *(
        case(kind, "training", IMAGE, moments=BRIGHT, slow=kind not in QUICK, **arguments)
        for kind, arguments in {
            layers.AugMix: UNIT,
            layers.AutoContrast: UNIT,
            layers.ContrastLimitedAdaptiveHistogramEqualization: UNIT,
            layers.CutMix: {},
            layers.MixUp: {},
            layers.RandAugment: UNIT,
            layers.RandomBrightness: {"factor": 0.3, **UNIT},
            layers.RandomColorDegeneration: {"factor": 0.5, **UNIT},
            layers.RandomColorJitter: {"brightness_factor": 0.2, "contrast_factor": 0.2, **UNIT},
            layers.RandomContrast: {"factor": 0.5, **UNIT},
            layers.RandomErasing: UNIT,
            layers.RandomGaussianBlur: UNIT,
            layers.RandomGrayscale: {},
            layers.RandomHue: {"factor": 0.5, **UNIT},
            layers.RandomInvert: UNIT,
            layers.RandomPerspective: {},
            layers.RandomRotation: {"factor": 0.2},
            layers.RandomSaturation: {"factor": 0.5, **UNIT},
            layers.RandomSharpness: {"factor": 0.5, **UNIT},
            layers.RandomZoom: {"height_factor": 0.2},
            layers.Solarization: UNIT,
        }.items()
    ),
    case(layers.MelSpectrogram, "default scale", (256,), fft_length=64, sequence_stride=32,
         num_mel_bins=8, moments=SHIFTED, slow=True),
    case(layers.STFTSpectrogram, "logarithm", (128, 1), frame_length=32, frame_step=16,
         fft_length=32, moments=SHIFTED),
]  # fmt: skip

TOKENS = {"input_dtype": "int32"}
VOCABULARY = {"vocabulary": [1, 5, 7]}
WORDS = {"vocabulary": ["a", "the", "of"], "input_dtype": "string"}
BINS = {"bin_boundaries": [-1.0, 0.0, 0.7], "moments": SHIFTED}
ENCODING = [
    *(
        case(layers.CategoryEncoding, mode, (4,), num_tokens=6, output_mode=mode, **TOKENS)
        for mode in ("one_hot", "multi_hot", "count")
    ),
    case(layers.CategoryEncoding, "weights", (4,), (4,), moments=((2.5, 35 / 12), (0.5, 1.5)),
         build=lambda x, y: layers.CategoryEncoding(6, "count")(
             x, count_weights=layers.Rescaling(1.0)(y))),
    case(layers.Hashing, "int", (4,), num_bins=3, **TOKENS),
    case(layers.Hashing, "count", (4,), num_bins=3, output_mode="count", salt=3, **TOKENS),
    case(layers.HashedCrossing, "int", (1,), (1,), num_bins=5, **TOKENS),
    case(layers.HashedCrossing, "one_hot", (1,), (1,), num_bins=5, output_mode="one_hot",
         **TOKENS),
    case(layers.IntegerLookup, "int", (4,), **VOCABULARY, **TOKENS),
    case(layers.IntegerLookup, "tf_idf", (4,), output_mode="tf_idf", idf_weights=[0.5, 0.3, 0.2],
         **VOCABULARY, **TOKENS),
    case(layers.StringLookup, "int", (4,), **WORDS),
    case(layers.StringLookup, "one_hot", (1,), output_mode="one_hot", **WORDS),
    case(layers.StringLookup, "tf_idf", (4,), output_mode="tf_idf", idf_weights=[0.5, 0.3, 0.2],
         **WORDS),
    case(layers.Hashing, "words", (4,), num_bins=3, input_dtype="string"),
    case(layers.TextVectorization, "int", (1,), output_sequence_length=40, **WORDS),
    case(layers.TextVectorization, "pairs", (), output_mode="multi_hot", ngrams=2, **WORDS),
    case(layers.TextVectorization, "tf_idf", (), output_mode="tf_idf", idf_weights=[0.5, 0.3, 0.2],
         **WORDS),
    *(
        case(layers.Discretization, mode, (4,), output_mode=mode, samples=4000, **BINS)
        for mode in ("int", "one_hot", "multi_hot", "count")
    ),
]  # fmt: skip
