"""All benchmarks, one after the other: `make bench`."""

from benchmarks import accuracy, against_eager, transformers

if __name__ == "__main__":
    against_eager.main()
    accuracy.main()
    transformers.main()
