#!/bin/sh
# From nothing to a predictor: networks trained on scikit-learn's digits, a part of them to learn from, the rest to predict.
# Run it from the repository's root (`make demo`); it writes ./demo. Run again, it takes the zoo that is there.
set -eu

run() {
    echo
    echo "\$ $*"
    "$@"
}

run sne zoo make demo/zoo --family small_cnn,mlp --networks 80 --steps 300
run sne train demo/zoo --target test_accuracy --out demo/predictor --overwrite
run sne evaluate demo/predictor demo/zoo --split test --table --plot demo/scatter.html
