#!/bin/sh
# First the packaged predictor: writes fresh checkpoints, known and unknown ones, and predicts them. Then from nothing to
# a predictor of one's own: trains networks on scikit-learn's digits, trains a predictor on a part of them, and predicts
# the others. Run it from the root of the repository (`make demo`); it writes to ./demo. When it is run again, it uses
# the zoo that is there.
set -eu

run() {
    echo
    echo "\$ $*"
    "$@"
}

run python examples/fresh_files.py demo/fresh
run sne predict demo/fresh
run sne predict demo/fresh/cnn-step-600.pt

run sne zoo make demo/zoo --family small_cnn,mlp --networks 80 --steps 300
run sne train demo/zoo --target test_accuracy --out demo/predictor --overwrite
run sne evaluate demo/predictor demo/zoo --split test --table --plot demo/scatter.html
