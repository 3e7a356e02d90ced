"""Text classifiers: whole numbers in, one per token."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

LENGTH = 64
VOCABULARY = 5000


def lstm_text() -> "keras.Model":
    """Build a text classifier: an Embedding, a Bidirectional LSTM and an LSTM on top of it."""
    import keras
    from keras import layers

    inputs = keras.Input((LENGTH,), dtype="int32", name="tokens")
    x = layers.Embedding(VOCABULARY, 64, name="embedding")(inputs)
    x = layers.Bidirectional(layers.LSTM(32, return_sequences=True), name="both_ways")(x)
    x = layers.LSTM(32, name="lstm")(x)
    x = layers.Dense(32, activation="relu", name="hidden")(x)
    x = layers.Dropout(0.5, name="dropout")(x)
    outputs = layers.Dense(4, activation="softmax", name="classes")(x)
    return keras.Model(inputs, outputs, name="lstm_text")


def transformer_encoder() -> "keras.Model":
    """Build a text classifier of two pre-normalised encoder blocks, 64 wide with four heads.

    Positions are an input of their own (0, 1, 2, ...), as token types are in BERT: so the position
    embedding is an ordinary Embedding layer.

    Reference: Vaswani et al. 2017, "Attention Is All You Need"; Xiong et al. 2020, "On Layer
    Normalization in the Transformer Architecture".
    """
    import keras
    from keras import layers

    width, heads = 64, 4
    tokens = keras.Input((LENGTH,), dtype="int32", name="tokens")
    positions = keras.Input((LENGTH,), dtype="int32", name="positions")
    x = layers.Add(name="embeddings")(
        [
            layers.Embedding(VOCABULARY, width, name="token_embedding")(tokens),
            layers.Embedding(LENGTH, width, name="position_embedding")(positions),
        ]
    )
    for block in ("block1", "block2"):
        y = layers.LayerNormalization(name=f"{block}_norm1")(x)
        attention = layers.MultiHeadAttention(heads, width // heads, name=f"{block}_attention")
        x = layers.Add(name=f"{block}_add1")([x, attention(y, y)])
        y = layers.LayerNormalization(name=f"{block}_norm2")(x)
        y = layers.Dense(4 * width, activation="gelu", name=f"{block}_mlp1")(y)
        y = layers.Dense(width, name=f"{block}_mlp2")(y)
        x = layers.Add(name=f"{block}_add2")([x, y])
    x = layers.LayerNormalization(name="final_norm")(x)
    x = layers.GlobalAveragePooling1D(name="average")(x)
    outputs = layers.Dense(4, activation="softmax", name="classes")(x)
    return keras.Model([tokens, positions], outputs, name="transformer_encoder")
