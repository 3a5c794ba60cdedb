"""Time an update by Muon and by Adam of all parameters of S and XL: a Markdown table.

    KERAS_BACKEND=torch OMP_NUM_THREADS=1 python scripts/studies/muon_cost.py

Times are CPU times of the process, without the gradients, as the best of --rounds updates after a first one.
"""

import argparse
import time

import keras
import numpy as np

import keras_coda
from keras_coda.optimizers import Adam, Muon


def seconds(optimizer, variables, rounds):
    """CPU time of an update, the least of `rounds`."""
    rng = np.random.default_rng(0)
    gradients = [
        keras.ops.convert_to_tensor(1e-6 * rng.standard_normal(variable.shape), "float32") for variable in variables
    ]
    measured = []
    for _ in range(rounds + 1):
        began = time.process_time()
        optimizer.apply(gradients, variables)
        np.asarray(keras.ops.convert_to_numpy(variables[0]))
        measured.append(time.process_time() - began)
    return min(measured[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["s", "xl"])
    parser.add_argument("--rounds", type=int, default=2, help="(default: %(default)s)")
    arguments = parser.parse_args()
    print(f"Keras {keras.__version__} on {keras.backend.backend()}\n")
    print("| network | parameters | Muon, s | Adam, s |\n| --- | --- | --- | --- |")
    for size in arguments.sizes:
        model = keras_coda.CoDANet.from_size(size)
        times = [seconds(kind(), model.trainable_variables, arguments.rounds) for kind in (Muon, Adam)]
        print("| {} | {:,} | {:.2f} | {:.3f} |".format(size, model.count_params(), *times), flush=True)


if __name__ == "__main__":
    main()
