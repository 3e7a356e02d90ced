"""What was fed, and what could not be measured."""

from app.analysis.diagnosis.kinds import FindingKind, Severity

KINDS = (
    FindingKind(
        "input_scaling",
        Severity.HINT,
        "The network expects another input",
        cause="The network begins with Rescaling or Normalization, which is made for other data:"
        " the weights that AutoInit gives are for an input that the network will not get.",
        remedy="Leave mean and variance of the input out, or set them to those that are named.",
        test="app.analysis.diagnosis.linter.input_scaling",
    ),
    FindingKind(
        "input_rounded",
        Severity.PROBLEM,
        "The input is lost in rounding",
        cause="Its mean is so large beside its standard deviation that samples are nearly the same"
        " number in single precision.",
        remedy="Take the mean off the data, or give mean and variance of what the network gets.",
        test="app.analysis.comparison.conditions",
    ),
    FindingKind(
        "what_if",
        Severity.FACT,
        "What was changed of the model",
        cause="The model was analysed with another activation, or with normalizations put in.",
        remedy="Leave --what-if out, or choose 'as it is' on the page, for the model of the file.",
        test="app.jobs.execution",
    ),
    FindingKind(
        "input_taken",
        Severity.FACT,
        "What the inputs were taken to be",
        cause="The first layers say what they take: a Rescaling its range, a Normalization its"
        " statistics.",
        remedy="Give mean and variance, or data, where the network is fed something else.",
        test="app.analysis.comparison.inputs",
    ),
    FindingKind(
        "input_from_data",
        Severity.FACT,
        "What the data say of the inputs",
        cause="Mean and variance of the inputs are those of the data that were given.",
        remedy="Nothing need be done.",
        test="app.analysis.comparison.inputs",
    ),
    FindingKind(
        "gradients_not_measured",
        Severity.NOTE,
        "Gradients that could not be measured",
        cause="The pass back needs more memory than there is.",
        remedy="Take fewer samples.",
        test="app.analysis.comparison.measurements",
    ),
    FindingKind(
        "no_jacobian",
        Severity.NOTE,
        "The Jacobian could not be measured",
        cause="The network has no path from a floating-point input to its outputs that can be"
        " run, or it is too large.",
        remedy="Look at the reason in the message; fewer inputs need less memory.",
        test="app.analysis.comparison.measurements",
    ),
    FindingKind(
        "no_fisher",
        Severity.NOTE,
        "The Fisher information could not be measured",
        cause="The network has no trainable parameters, parts that cannot be run, or operations"
        " without second derivatives.",
        remedy="Look at the reason in the message.",
        test="app.analysis.comparison.measurements",
    ),
    FindingKind(
        "no_formats",
        Severity.NOTE,
        "What number formats do could not be told",
        cause="The network has parts that cannot be run, or no output of a floating type.",
        remedy="Look at the reason in the message.",
        test="app.analysis.comparison.measurements",
    ),
    FindingKind(
        "assumed_size",
        Severity.NOTE,
        "Unknown sizes that had to be assumed",
        cause="The model leaves sizes of its input open.",
        remedy="Choose the size for unknown dimensions (--input-size).",
        test="app.analysis.comparison.conditions",
    ),
    FindingKind(
        "batch_reduced",
        Severity.NOTE,
        "The batch was made smaller to fit into memory",
        cause="All samples together did not fit into memory.",
        remedy="Take fewer samples where batch normalisation should see all at once.",
        test="app.analysis.comparison.conditions",
    ),
    FindingKind(
        "imprecise",
        Severity.FACT,
        "Variances that few samples do not tell well",
        cause="Samples of a layer with few entries, or behind a pooling of all positions, differ"
        " much from each other: its measured variance would be another one for other inputs.",
        remedy="Where a figure has to be exact, allow automatic samples more seconds, or take a"
        " number of them: under Input; --budget, --samples.",
        test="app.analysis.comparison.conditions",
    ),
)
