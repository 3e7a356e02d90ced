"""What the structure shows, with nothing run."""

from app.analysis.diagnosis.kinds import FindingKind, Severity

KINDS = (
    FindingKind(
        "nothing_trainable",
        Severity.PROBLEM,
        "Nothing can be trained",
        cause="All layers with weights are frozen (trainable=False), or all but normalizations, "
        "and the weights have not been trained.",
        remedy="Set trainable=True for the layers that are to learn, and compile the model anew.",
        test="app.analysis.diagnosis.linter.structure",
    ),
    FindingKind(
        "output_activation_vs_loss",
        Severity.PROBLEM,
        "The last activation does not fit the loss",
        cause="The outputs cannot give what the compiled loss expects, or the loss takes "
        "logits and gets probabilities.",
        remedy="Change the last activation or the loss: a softmax for several classes, a "
        "sigmoid for yes or no, nothing for a regression or for logits.",
        test="app.analysis.diagnosis.linter.compiled.losses",
    ),
    FindingKind(
        "learning_rate",
        Severity.PROBLEM,
        "The learning rate does not fit the kernels",
        cause="The first step of the stored optimizer would change the kernels by several times "
        "their size, or by less than a millionth of it; or a schedule ends at once, clipping "
        "leaves nothing of gradients, a weight decay takes more than steps give. Classifiers of "
        "digits learnt best at 0.01 to 0.2 of the kernels' size.",
        remedy="Begin with the rate that is named; a callback that sets another one is not stored "
        "in the file.",
        test="app.analysis.diagnosis.linter.compiled.optimizers",
    ),
    FindingKind(
        "missing_nonlinearity",
        Severity.PROBLEM,
        "Two kernels with nothing nonlinear between",
        cause="A product of two matrices is one matrix: the second layer adds nothing but a "
        "bottleneck.",
        remedy="Put an activation between, or leave one of the layers out.",
        test="app.analysis.diagnosis.linter.structure",
    ),
    FindingKind(
        "misplaced_activation",
        Severity.PROBLEM,
        "A softmax in a hidden layer, or a sigmoid of what is bounded",
        cause="Outputs of a softmax add up to 1, so that each is small and hardly differs between "
        "inputs; a sigmoid of what is between -1 and 1 comes to 0.27 to 0.73, and as the state of "
        "a recurrence forgets within some steps.",
        remedy="Use ReLU or GELU there, tanh in a recurrence, or leave it out; a softmax belongs "
        "at the end, or where it weighs other signals.",
        test="app.analysis.diagnosis.linter.structure",
    ),
    FindingKind(
        "dropout_rate",
        Severity.PROBLEM,
        "Dropout of nearly everything",
        cause="A rate of 0.95 or more leaves hardly a unit in training: the share to keep, given "
        "as the share to drop. Or smaller rates do, layer upon layer: what is kept is multiplied.",
        remedy="Take a rate of 0.1 to 0.5.",
        test="app.analysis.diagnosis.linter.structure",
    ),
    FindingKind(
        "dropout_last",
        Severity.PROBLEM,
        "Dropout behind the last layer",
        cause="It sets answers to 0 in training, which no weights can foresee: the loss stays "
        "large, and numbers are learnt badly.",
        remedy="Put it before the last layer, or leave it out.",
        test="app.analysis.diagnosis.linter.structure",
    ),
    FindingKind(
        "regularizer",
        Severity.PROBLEM,
        "A penalty that outweighs the loss",
        cause="The penalty on two kernels or more is so strong (L2 from 0.3, L1 from 0.03) that it "
        "draws them to 0, whatever there is to learn; or that on what they give (L2 from 0.3, L1 "
        "from 0.1).",
        remedy="Take a weaker one: L2 of 1e-4 to 1e-2, L1 of 1e-5 to 1e-3.",
        test="app.analysis.diagnosis.linter.regularizers",
    ),
    FindingKind(
        "constraint",
        Severity.PROBLEM,
        "Kernels that a constraint holds",
        cause="What a constraint leaves of kernels that fit their inputs lets less than 0.0005 of "
        "the signal's mean square through, layer upon layer, or leaves weights of one sign alone: "
        "after the first step, whatever the weights are.",
        remedy="Leave the constraint out, or let norms reach 1 and more.",
        test="app.analysis.diagnosis.linter.constraints",
    ),
    FindingKind(
        "loss_without_targets",
        Severity.PROBLEM,
        "A loss that does not go by the targets",
        cause="With the arguments that are stored the loss has one value for all targets, or for "
        "all outputs: label_smoothing of 1, a weight of 0, alpha of 0.",
        remedy="Take the loss with its default arguments.",
        test="app.analysis.diagnosis.linter.compiled.targets",
    ),
    FindingKind(
        "bottleneck_rank",
        Severity.PROBLEM,
        "Layers so narrow, and so many, that rank is lost",
        cause="The logarithm of what is left in single draws scatters with the sum of 1/width "
        "along the path (Hanin 2018).",
        remedy="Draw the kernels orthogonal, make the layers wider, or go round them by "
        "residual connections.",
        test="app.analysis.diagnosis.linter.structure",
    ),
    FindingKind(
        "unscaled_input",
        Severity.PROBLEM,
        "The input is not scaled, or scaled twice",
        cause="By what the file says of its input (bytes), or by data that were given, the first "
        "kernel receives a signal that is far from a mean square of 1: functions are saturated, or "
        "steps of gradient descent are too large.",
        remedy="Scale once, with Rescaling(1/255) or Normalization, before the first kernel.",
        test="app.analysis.diagnosis.measured.inputs",
    ),
    FindingKind(
        "bias_before_normalization",
        Severity.FACT,
        "A bias before batch normalization",
        cause="Batch normalization takes the mean away, and the bias with it.",
        remedy="Set use_bias=False, which saves a variable.",
        test="app.analysis.diagnosis.linter.normalizations",
    ),
    FindingKind(
        "dropout_before_normalization",
        Severity.NOTE,
        "Dropout before batch normalization",
        cause="Dropout changes the variance in training only: the moving statistics do not "
        "fit inference (Li et al. 2019).",
        remedy="Put dropout behind the last normalization.",
        test="app.analysis.diagnosis.linter.normalizations",
    ),
)
