"""All goals in one table, in passes of the same run, then the page in a browser: `make bench`.

What takes long and has no goal in that table follows: gradients, accuracy, a GPU.
"""

from benchmarks import accuracy, against_eager, dashboard, gpu, gradients, jobs

if __name__ == "__main__":
    jobs.main()
    against_eager.main()
    dashboard.main()
    gradients.main()
    accuracy.main()
    gpu.main()
