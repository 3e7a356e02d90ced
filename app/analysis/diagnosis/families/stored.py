"""What came with the file: weights, frozen layers, and parts that are not known."""

from app.analysis.diagnosis.kinds import FindingKind, Severity

KINDS = (
    FindingKind(
        "weights_not_finite",
        Severity.PROBLEM,
        "Weights in the file that are NaN or infinite",
        cause="Training diverged, or the file is damaged.",
        remedy="Take the re-initialised model, or an earlier checkpoint.",
        test="app.analysis.diagnosis.linter.weights",
    ),
    FindingKind(
        "frozen_kept",
        Severity.HINT,
        "Frozen layers keep their weights",
        cause="Layers with trainable=False were to be kept.",
        remedy="Nothing need be done.",
        test="app.analysis.diagnosis.linter.weights",
    ),
    FindingKind(
        "frozen_redrawn",
        Severity.HINT,
        "Frozen layers are drawn anew",
        cause="The file has layers with trainable=False, which were not to be kept.",
        remedy="If they are pretrained, keep frozen layers' weights (--keep-frozen).",
        test="app.analysis.diagnosis.linter.weights",
    ),
    FindingKind(
        "nothing_to_keep",
        Severity.HINT,
        "There are no frozen weights to keep",
        cause="Frozen layers' weights were to be kept, and there are none.",
        remedy="Freeze layers (trainable=False) and save the model with its weights, or leave "
        "the setting out.",
        test="app.analysis.diagnosis.linter.weights",
    ),
    FindingKind(
        "replaced_initializer",
        Severity.NOTE,
        "Initialisers that are not known here",
        cause="The file names an initialiser that is not one of Keras.",
        remedy="Name a module of yours that has it with --custom-objects.",
        test="autoinit.model_files.check.checking",
    ),
    FindingKind(
        "dropped_part",
        Severity.NOTE,
        "Regularisers and constraints that are not known here",
        cause="The file names a part that is not one of Keras; it does not change the signal.",
        remedy="Name a module of yours that has it with --custom-objects.",
        test="autoinit.model_files.check.checking",
    ),
)
