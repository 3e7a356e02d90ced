"""What to know about the re-initialised model before loading it."""

from app.analysis.diagnosis.kinds import FindingKind, Severity

KINDS = (
    FindingKind(
        "not_patched",
        Severity.PROBLEM,
        "The re-initialised model is not offered",
        cause="The new weights could not be put into a copy of the file, or it does not hold them "
        "when it is read again.",
        remedy="Save the model anew with a current Keras, and analyse that file.",
        test="autoinit.model_files.write.patching",
    ),
    FindingKind(
        "not_convertible",
        Severity.HINT,
        "The model cannot be converted to Keras 3",
        cause="Keras 3 cannot express what the file of Keras 2 says.",
        remedy="Use the copy in the file's own format.",
        test="autoinit.model_files.write.saving",
    ),
    FindingKind(
        "translation_differs",
        Severity.NOTE,
        "The translation to Keras 3 differs from the model",
        cause="Keras 3 computes something of the Keras 2 model otherwise.",
        remedy="Take the figures for those of a slightly different model.",
        test="autoinit.model_files.keras2.translation",
    ),
    FindingKind(
        "compile_dropped",
        Severity.PROBLEM,
        "The compile settings could not be kept",
        cause="Optimizer, loss or metrics of the file could not be restored.",
        remedy="Compile the model again after loading it.",
        test="autoinit.model_files.write.compiling",
    ),
    FindingKind(
        "constraint_needs_import",
        Severity.HINT,
        "Loading the re-initialised model needs an import",
        cause="The model carries AutoInit's weight constraint.",
        remedy="Write `import autoinit` before loading it.",
        test="app.analysis.comparison.conditions",
    ),
    FindingKind(
        "constraint_dropped",
        Severity.NOTE,
        "The copy for Keras 2 has no weight constraint",
        cause="AutoInit's constraint is for Keras 3 only.",
        remedy="Train the .keras file where the constraint is wanted.",
        test="autoinit.model_files.write.patching",
    ),
    FindingKind(
        "deep_model",
        Severity.HINT,
        "Loading the re-initialised model needs a higher recursion limit",
        cause="Keras recurses deeper than a plain Python process allows.",
        remedy="Call sys.setrecursionlimit as the message says before loading the model.",
        test="app.analysis.comparison.conditions",
    ),
    FindingKind(
        "initializer_not_recorded",
        Severity.NOTE,
        "Initialisers that the configuration has no place for",
        cause="The kernels lie inside composite layers whose configuration does not name "
        "their initialisers.",
        remedy="Nothing need be done: the weights are in the file all the same.",
        test="autoinit.model_files.write.patching",
    ),
)
