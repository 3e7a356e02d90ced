"""Operations of `keras.ops`: tried out, or told apart by name."""
