"""All benchmarks but the browser's, one after the other: `make bench`."""

from benchmarks import accuracy, against_eager, depth, gpu, gradients, transformers

if __name__ == "__main__":
    against_eager.main()
    gradients.main()
    depth.main()
    accuracy.main()
    transformers.main()
    gpu.main()
