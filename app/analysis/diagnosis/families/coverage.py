"""How the calls are predicted: what is not run, what has no rule, what is estimated."""

from app.analysis.diagnosis.kinds import FindingKind, Severity

KINDS = (
    FindingKind(
        "opaque_layer",
        Severity.PROBLEM,
        "Layers that are not run",
        cause="The layer's code is not at hand, or it may not be run, such as a Lambda's.",
        remedy="Say which layer of Keras it is to be treated as: under Initialisation, or "
        "--treat-as NAME=KERAS_NAME. In a terminal, --custom-objects names a module of yours that "
        "has it.",
        test="autoinit.model_files.check.config_tree",
    ),
    FindingKind(
        "opaque_activation",
        Severity.PROBLEM,
        "Activations that are not run",
        cause="The activation function is not known here, and code of files is not run.",
        remedy="Say which of Keras's it is to be treated as: under Initialisation, or --treat-as "
        "NAME=KERAS_NAME. In a terminal, --custom-objects names a module of yours that has it.",
        test="autoinit.model_files.check.checking",
    ),
    FindingKind(
        "ran_code",
        Severity.NOTE,
        "Code that came with the model was run",
        cause="Whoever brought the file said that its code is their own (--trust).",
        remedy="Nothing need be done.",
        test="autoinit.model_files.trusted",
    ),
    FindingKind(
        "code_not_run",
        Severity.PROBLEM,
        "Code that came with the model could not be run",
        cause="It was compiled by another version of Python, or uses names that are not at hand.",
        remedy="Give the file of Python that defines them, or a module with --custom-objects.",
        test="autoinit.model_files.trusted",
    ),
    FindingKind(
        "looked_through",
        Severity.NOTE,
        "Wrappers of pruning and quantisation",
        cause="The layers are wrapped by TensorFlow's model optimization toolkit.",
        remedy="Nothing need be done; AutoInit draws kernels for the fan-in that masks leave.",
        test="autoinit.model_files.check.substitutes",
    ),
    FindingKind(
        "unpacked_weights",
        Severity.NOTE,
        "Weights that were packed into fewer bits",
        cause="The model was quantised after training: its kernels are integers with a scale.",
        remedy="Nothing need be done; what is taken home has floats, and can be quantised again.",
        test="autoinit.model_files.weights.loading",
    ),
    FindingKind(
        "treated_as",
        Severity.NOTE,
        "Parts that are run as Keras's own",
        cause="Whoever brought the file said which of Keras's parts stand in for some of its own.",
        remedy="Nothing need be done; what is taken home in the file's own format names its own "
        "parts, as before.",
        test="autoinit.model_files.check.substitutes",
    ),
    FindingKind(
        "custom_objects_unused",
        Severity.PROBLEM,
        "Custom objects that are made for the other Keras",
        cause="A layer of Keras 3 cannot run in a model of Keras 2, nor one of Keras 2 in one of "
        "Keras 3.",
        remedy="Name a module that has the layers for the file's Keras (tf_keras for Keras 2).",
        test="autoinit.model_files.opening",
    ),
    FindingKind(
        "unsupported_layer",
        Severity.PROBLEM,
        "Layers without a rule",
        cause="There is no rule for the layer's class, and the settings let its signal pass "
        "through.",
        remedy="Let layers without a rule be sampled (--unsupported sample), or give a rule "
        "for the class.",
        test="autoinit.rules.fallbacks",
    ),
    FindingKind(
        "not_integrable",
        Severity.PROBLEM,
        "Functions whose output has no finite variance",
        cause="The function grows so fast, or has such a pole, that its variance for Gaussian"
        " input is infinite.",
        remedy="Bound the function's input, or use another one.",
        test="autoinit.rules.functions",
    ),
    FindingKind(
        "undefined_values",
        Severity.PROBLEM,
        "Functions that have no value for some of their input",
        cause="A function such as a square root or a logarithm gets input for which it has no"
        " value.",
        remedy="Bound the function's input.",
        test="autoinit.rules.functions",
    ),
    FindingKind(
        "sampled_layer",
        Severity.NOTE,
        "Layers without a rule, estimated by sampling",
        cause="There is no rule for the layer's class: its output was estimated by Monte Carlo.",
        remedy="Nothing need be done; a rule would be exact, and quicker.",
        test="autoinit.rules.fallbacks",
    ),
    FindingKind(
        "bias_exceeds_target",
        Severity.NOTE,
        "Biases alone exceed the target variance",
        cause="The bias varies more over channels than the output should.",
        remedy="Start the bias at zero.",
        test="autoinit.rules.kernel_sources",
    ),
    FindingKind(
        "keeps_initializer",
        Severity.NOTE,
        "Layers that keep their own initialiser",
        cause="No scale of the kernel can give the output the target variance.",
        remedy="Look at what reaches the layer: a signal of zero, or one that is not finite.",
        test="autoinit.rules.kernel_sources",
    ),
    FindingKind(
        "keeps_weights",
        Severity.NOTE,
        "Layers whose weights could not be drawn afresh",
        cause="The layer's initialiser could not be called again.",
        remedy="Nothing need be done: the weights stay as they are in every series.",
        test="autoinit.initializers.drawing",
    ),
    FindingKind(
        "shared_layer",
        Severity.NOTE,
        "Layers that are used more than once",
        cause="One kernel serves several uses, and can give only one of them the target variance: "
        "in a loop the last, else the first.",
        remedy="Nothing need be done; look at the variance of the other uses.",
        test="autoinit.rules.kernel_sources",
    ),
    FindingKind(
        "not_self_averaging",
        Severity.NOTE,
        "Layers that need several draws",
        cause="Layers are narrow, or much of what they carry is the same for all inputs.",
        remedy="Average over several draws before judging a single figure: Draws, under "
        "Measurement; --seeds.",
        test="app.analysis.comparison.conditions",
    ),
    FindingKind(
        "other_model_failed",
        Severity.NOTE,
        "The other signal model's prediction is left out",
        cause="The signal model that was not chosen failed on this network.",
        remedy="Nothing need be done: the chosen model's predictions are whole.",
        test="app.analysis.comparison.steps",
    ),
)
