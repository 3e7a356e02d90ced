"""What kernels and initializers show by themselves."""

from app.analysis.diagnosis.kinds import FindingKind, Severity

KINDS = (
    FindingKind(
        "init_vs_activation",
        Severity.PROBLEM,
        "An initializer that does not fit",
        cause="The scale of the kernels is not one for this activation and this number of "
        "inputs: a fixed deviation such as 0.05, Glorot before many ReLUs, the default "
        "of depthwise kernels, which counts the inputs of all channels, or anything but "
        "LeCun before SELU.",
        remedy="He before ReLU, LeCun before SELU, Glorot before tanh; or take AutoInit's weights.",
        test="app.analysis.diagnosis.linter.scales",
    ),
    FindingKind(
        "kernel_mean",
        Severity.PROBLEM,
        "Kernels of one sign, layer after layer",
        cause="Kernels are drawn about a mean that is not 0, such as U(0, 0.05): each layer gives "
        "all its units nearly the same sum of all inputs.",
        remedy="Draw the kernels about 0.",
        test="app.analysis.diagnosis.linter.scales",
    ),
    FindingKind(
        "zero_kernel",
        Severity.PROBLEM,
        "Kernels of zeros that nothing can change",
        cause="A zero kernel that receives zeros gets no gradient, and lets none through.",
        remedy="Draw the kernels at random.",
        test="app.analysis.diagnosis.linter.zeros",
    ),
    FindingKind(
        "zero_gamma",
        Severity.PROBLEM,
        "Normalizations that give nothing",
        cause="Gamma starts at 0, with no branch beside it and an activation such as ReLU behind: "
        "nothing passes, and no gradient ever changes it.",
        remedy="Start gamma at 1; zeros belong at the end of a residual branch only.",
        test="app.analysis.diagnosis.linter.zeros",
    ),
    FindingKind(
        "zero_on_purpose",
        Severity.FACT,
        "Kernels of zeros that a gradient reaches",
        cause="The last kernel of a residual branch, or of the network, starts at zero on "
        "purpose (Fixup, LoRA).",
        remedy="Keep them.",
        test="app.analysis.diagnosis.linter.zeros",
    ),
    FindingKind(
        "symmetric_kernel",
        Severity.PROBLEM,
        "All units of a layer start alike",
        cause="They begin as one unit; where the kernels behind are constant, too, they get the "
        "same gradient and stay one for ever.",
        remedy="Draw the kernels at random.",
        test="app.analysis.diagnosis.linter.copies",
    ),
    FindingKind(
        "shared_seed",
        Severity.PROBLEM,
        "Kernels of several layers are equal",
        cause="One seed, or one initializer object, draws them all.",
        remedy="Leave the seed out, or give each layer one of its own.",
        test="app.analysis.diagnosis.linter.copies",
    ),
    FindingKind(
        "train_inference_mismatch",
        Severity.PROBLEM,
        "Stored statistics make inference another network",
        cause="The moving mean and variance of a batch normalization are far from those of "
        "what it receives, or never move (momentum=1).",
        remedy="Train on with training=True, or set them anew; take a momentum below 1.",
        test="app.analysis.diagnosis.linter.training",
    ),
)
