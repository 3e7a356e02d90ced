"""`python -m app.analysis.diagnosis.documentation`: writes `docs/findings.md` from the table."""

from __future__ import annotations

from pathlib import Path

from app.analysis.diagnosis.table import FAMILIES

PAGE = Path(__file__).parents[3] / "docs" / "findings.md"
# Printed by `python -m benchmarks.trainings` and `python -m benchmarks.diagnosis`.
_HELD_AGAINST = """
Held against trainings on digits (300 steps of SGD with momentum, the best of three rates; the share
of what chance loses that training gained; `python -m benchmarks.trainings`):

| network | verdict | gained |
|---|---|---|
| one hidden layer after another of N(0, 0.05), ReLU before cross-entropy | cannot train | 10 % |
| three sigmoids of N(0, 0.05) | cannot train | 0 % |
| ReLU scores before categorical cross-entropy | cannot train | 2 % |
| sigmoids for three classes, cross-entropy of a softmax | will struggle | 37 % |
| kernels of zeros before ReLU | cannot train | 0 % |
| constant kernels | cannot train | 0 % |
| 34 ReLU layers by Glorot | cannot train | 0 % |
| 100 tanh layers of 16 and 4 units | cannot train | 0 % |
| nine layers of sigmoids | cannot train | 0 % |
| depthwise kernels by default | will struggle | 0 % |
| VGG16 by its default, 32 × 32 (150 steps) | cannot train | 0 % |
| a small ReLU classifier ending in a sigmoid | trains | 84 % |
| a small ReLU classifier ending in a softmax | trains | 95 % |
| Fixup: residual branches that begin at zero | trains | 35 % |
| ten tanh layers of five units, two inputs, rings for digits | trains | 30 % |
| SELU by LeCun | trains | 74 % |
| a hundred layers of SELU by LeCun, compiled with SGD at 0.001 | trains | 85 %, by that |
| an autoencoder with a narrow middle | trains | 68 % |
| AlexNet's like by Glorot, whose signal falls by 1,220 | trains | 87 % |
| a convolutional autoencoder by Glorot, whose signal falls by 13,000 | trains | 94 % |
| ten convolutions by Glorot under global pooling | struggles; Adam: trains | 0 %; 79 % by Adam |
| ten dense ReLU layers by Glorot, whose signal falls by 750 | trains | 88 % |
| ten dense ReLU layers of 512 units by Glorot | trains | 98 %; 95 % by Adam |
| twenty-four dense ReLU layers of 64 units by Glorot | will struggle | 0 %; 60 % by Adam |
| three tanh layers of U(-0.05, 0.05), 64 units | trains | 99 %; 95 % by Adam |
| four tanh layers of U(-0.05, 0.05), 32 units | trains | 88 %; 76 % by Adam |
| six tanh layers of U(-0.05, 0.05), 128 units | struggles; Adam: trains | 75 %; 84 % by Adam |
| three ReLU layers of N(0, 0.02), 64 units | trains | 92 %; 90 % by Adam |
| four ReLU layers of N(0, 0.02), 64 units | struggles; Adam: trains | 0 %; 84 % by Adam |
| six convolutions by Glorot under global pooling | trains | 64 %; 69 % by Adam |
| eight convolutions by Glorot under global pooling | struggles; Adam: trains | 4 %; 80 % by Adam |
| fourteen convolutions by Glorot under global pooling | will struggle | 0 %; 0 % by Adam |
| ten convolutions by Glorot before a dense layer | trains | 96 %; 97 % by Adam |
| a U-Net by Glorot, without normalization | trains | 97 % |
| logits of what is normalized, divided by 0.01 | trains | 96 % |
| ten sigmoids whose biases begin at -4.6, cross-entropy | trains | 77 %, as with -2 |
| one constant kernel of three; two in a row | trains; cannot train | 96 %; 16 % |
| eight residual layers by Glorot, grown by 532 | trains | 100 %; 99 % by Adam |
| 2 to 12 ReLU layers, grown by 80 to 930 | trains | from 74 %; from 82 % by Adam |
| 2 to 16 layers, grown by 900 and more, one number | will struggle | 0 %, unless clipped |
| six convolutions by Glorot, channels weighed by gates | struggles | 0 %; 98 % by Adam |
| twenty ReLU layers of 64 units, all by HeNormal(seed=42) | trains | 86 % |
| one layer of U(0, 0.05) after another, two with ReLU; four | trains; will struggle | 95 %; 30 % |
| a SimpleRNN, 16 steps, recurrent kernel N(0, 0.18); N(0, 1) | trains; will struggle | 73 %; 20 % |
| a root of what a ReLU gives | cannot train | 0 %: NaN |
| a SIREN, two inputs, rings for digits | trains | 0 %; 91 % by Adam at 0.0001 |
| a text classifier by an LSTM, pixels for words | trains | 9 %; 10 % by Adam at 0.001 |

"Adam" is a model that was compiled with it. Some verdicts these trainings do not bear out: 300
steps are few for the last one; and six tanh layers learn by SGD, too, with update ratios at which
others learn nothing.

Learning rates (`python -m benchmarks.rates`; classifiers of digits, six epochs): what the first
step changes of the kernels' size, and the share of unseen digits that is right then.

| network | SGD | Adam |
|---|---|---|
| 2 × 64 ReLU | 0.07: 98 %, 0.7: 78 %, 2: 11 % | 0.006: 98 %, 0.6: 77 %, 1.7: 11 % |
| 8 × 64 ReLU | 0.06: 96 %, 0.2: 42 %, 0.6: 11 % | 0.006: 97 %, 0.2: 79 %, 0.6: 8 % |
| 4 × 512 ReLU | 0.07: 99 %, 0.2: 98 %, 0.7: 11 % | 0.016: 99 %, 0.5: 62 %, 1.6: 8 % |
| 4 × 64 tanh | 0.05: 98 %, 0.2: 98 %, 0.5: 12 % | 0.008: 98 %, 0.2: 93 %, 0.8: 11 % |
| 4 × 64 ReLU, normalized | 0.2: 97 %, 0.8: 98 %, 2: 95 % | 0.006: 95 %, 1.7: 86 %, 5.7: 24 % |

Of the networks of `keras.applications` that normalize (smallest sizes, random weights: MobileNet,
V2 and V3, EfficientNet and V2, ResNet50 and V2, DenseNet121, Xception, InceptionV3,
InceptionResNetV2, NASNet, ConvNeXt) all are said to train; VGG16 and VGG19 are not, and AutoInit's
weights for them are.
"""
_OPENING = (
    """# Findings

What an analysis says about a model, by code. A **problem** and a **hint** are in sight on the page
and in the report, a **note** and a **fact** are folded away; hints and facts say that nothing is
wrong. This page is written from the table in `app/analysis/diagnosis/` by
`python -m app.analysis.diagnosis.documentation`.

## The verdict

One word for a model with a series' weights, and why. It **cannot train** with a fatal fault, **will
struggle** with a serious one, **trains** without; nothing can be told (**cannot tell**) where
layers with kernels could not be run and the others show nothing. Faults are looked for along paths
of the graph: a normalization ends a stretch and begins another, pooling and repeating change no
level, what an addition gives is compared with its larger operand, and so is what a product of
kernels' outputs gives, or what a gate lets pass with what it weighs; a fixed factor behind a kernel
counts with it.

Where kernels are too small and nothing else is wrong, gradients decide. If at a learning rate of 1
a sample would change the kernels' largest singular values by 0.3 of themselves in the median, and
by 0.003 at the least, or by 0.12 of all, the finding stays and the word is *trains*. The steps of
Adam and its like do not go by the size of gradients: for a model that was compiled with one, 0.02
and 0.001 will do, and from 0.000001 on it struggles. Without an optimizer, such a network can only
not train where it is less than 0.001, and with one, where it is less than 0.000001, where the steps
of Adam move kernels by far (VGG16, by Adam at 0.001), or where the model was compiled with SGD.
Kernels that only open gates, or make queries and keys, are left out.
So it is where nothing is wrong but what training bears: kernels of several layers that are equal by
one seed, one constant kernel among random ones, two kernels with nothing nonlinear between them in
a network that has nonlinearities elsewhere; and a signal that grows by up to 1,000 in a network
that tells classes.

Compile settings count: loss, penalties, and a learning rate far from what the kernels bear; so do
data that are given, and not scaled. Of several outputs those that a dead one leaves alone are
named.

Weights that were trained (biases or moving statistics that start fixed have moved) get a checkup:
dead and saturated units, collapse, statistics, figures that are not finite.
"""
    + _HELD_AGAINST
)


def page() -> str:
    """The page in Markdown."""
    parts = [_OPENING]
    for family in FAMILIES:
        parts.append(f"## {(family.__doc__ or '').strip().rstrip('.')}\n")
        parts += [
            f"### {kind.code}\n\n**{kind.title}** ({kind.severity}). {kind.cause}\n\n"
            f"*What to do:* {kind.remedy}\n"
            for kind in family.KINDS
        ]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
