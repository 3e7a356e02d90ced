"""What stands below the options in the help: examples, and what the exit status means."""

EXAMPLES = """\
examples:
  %(prog)s samples
      list the networks that are built in
  %(prog)s inspect my_model.keras
      tell what a file holds, without running any of it
  %(prog)s analyze my_model.keras
      print how the variance develops, as configured and under AutoInit
  %(prog)s analyze my_model.keras --save reinitialized.keras --report report.html
      keep the re-initialised model, and a page with the charts to show around
  %(prog)s batch networks/ --output results.parquet
      analyse thousands of models, a row for each
  %(prog)s try my_model.keras --data train.npz
      train it for a minute: which initialisation to take, and which learning rate
  %(prog)s serve
      open the dashboard on http://localhost:8501

Tab completes commands, options and sample networks of `autoinit` after
  source <(autoinit completion bash)        in ~/.bashrc
  source <(autoinit completion zsh)         in ~/.zshrc, after compinit
  autoinit completion fish | source         in ~/.config/fish/config.fish
"""

ANALYZE_EXAMPLES = """\
examples:
  %(prog)s sample:resnet-56-nobn
  %(prog)s "sample:all-cnn-c?activation=elu&dropout=0.25" --output result.json
  %(prog)s my_model.h5 --input-mean 127.5 --input-var 5418 --save better.h5
      a network that takes pixels from 0 to 255, and rescales them itself
  %(prog)s my_model.keras --input-data train.npz
      feed real samples, and predict from their mean and variance
  %(prog)s two_inputs.keras --input-mean image=0.5 --input-var image=0.1
      moments of one input of several
  %(prog)s models/*.keras --fail-on cannot-train
      in continuous integration: fail when a model cannot train with the weights that it has
  %(prog)s pretrained.h5 --keep-frozen --save started.h5
      transfer learning: what is frozen stays, and the rest is drawn to go with it
  %(prog)s my_model.keras --custom-objects my_package.layers
      import the module that registers the model's own layer classes; it runs its code
  %(prog)s my_model.keras my_layers.py --trust
      layers and functions from a file of Python that came with the model; it is run
  %(prog)s my_model.h5 --treat-as FixedDropout=Dropout
      Keras's own layer in place of one that is not at hand; nothing is run
  %(prog)s model.json model.weights.h5
      an architecture, and its weights

exit status:
  0   done
  1   the analysis failed, or a file could not be written
  2   the model is refused; one line on standard error says why: CODE: SENTENCE
  3   the verdict is one of --fail-on; or a weighted call's variance lies outside the band of
      --fail-outside, or is not known, as where the model has layers that are not run
  64  wrong usage
  130 interrupted
"""

BATCH_EXAMPLES = """\
examples:
  %(prog)s networks/ --output results.parquet
  %(prog)s 'runs/**/*.keras' --output results.parquet --trust --workers 4
      files of your own: Keras is imported once for many of them
  %(prog)s list.txt --output results.parquet --scheme he --save-dir started/
  %(prog)s networks/ --output results.parquet --try --try-data train.npz --try-steps 50
      each is trained, too: which initialisation, at which rate
  %(prog)s networks/ --output results.parquet --again
      what failed or was refused is tried once more, the rest stays

exit status:
  0   every model has its figures
  1   the analysis of a model failed, or the rows could not be written
  2   a model was refused; its row says why
  3   the verdict on a model is one of --fail-on
  64  wrong usage
  130 interrupted; the rows that were there are kept
"""

TRY_EXAMPLES = """\
examples:
  %(prog)s my_model.keras --data train.npz --save better.keras
      train.npz has the arrays x and y: numpy.savez("train.npz", x=x, y=y)
  %(prog)s sample:all-cnn-c --schemes default,orthogonal,centred --rates 0.003,0.01,0.03
  %(prog)s my_model.keras --optimizer adam --steps 300 --budget 600

exit status:
  0   done
  1   the trial failed, or a file could not be written
  2   the model or the data are refused; one line on standard error says why: CODE: SENTENCE
  64  wrong usage
  130 interrupted; what was known by then is printed
"""

SAMPLES_EXAMPLES = """\
examples:
  python -m app analyze sample:all-cnn-c
  python -m app analyze "sample:all-cnn-c?activation=elu&dropout=0.25"
"""

INSPECT_EXAMPLES = """\
examples:
  %(prog)s my_model.keras
  %(prog)s my_model.h5 --json | jq .layers.classes

Nothing in the file is run, no model is rebuilt and no weights are loaded. The file is read in a
confined worker and checked as `analyze` checks it. What only rebuilding shows is left to `analyze`:
weights of wrong shapes, layers that Keras refuses, more parameters than are allowed.

exit status:
  0   done
  1   the inspection failed
  2   the file is refused, or `analyze` would refuse it after reading; one line on standard error
      says why: CODE: SENTENCE
  64  wrong usage
"""

REPORT_EXAMPLES = """\
examples:
  %(prog)s result.json                       print the summary
  %(prog)s result.json --output report.html --csv table.csv

exit status:
  0   done
  1   a file could not be written
  2   RESULT is not a result that this version reads; one line on standard error says why
  64  wrong usage
"""

SERVE_EXAMPLES = """\
examples:
  %(prog)s
  %(prog)s --port 8600 --address 0.0.0.0     for others, too; see docs/security.md first
  %(prog)s -- --theme.base=dark              what follows -- goes to streamlit run

Its limits are environment variables, AUTOINIT_DATA and AUTOINIT_MAX_... among them;
docs/server.md lists them.
"""

COMPLETION_EXAMPLES = """\
The script completes the command `autoinit`, which pip install provides. To have it in each shell:
  source <(autoinit completion bash)        in ~/.bashrc
  source <(autoinit completion zsh)         in ~/.zshrc, after compinit
  autoinit completion fish | source         in ~/.config/fish/config.fish
"""
