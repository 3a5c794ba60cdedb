"""Float32 errors of DAU layers where b_j almost cancels A_j B x, as a function of |u_j| / |b_j|.

python scripts/studies/cancelling_norms.py         # the layers as they are
python scripts/studies/cancelling_norms.py --qr    # |u_j| by R_j z' with [A_j, b_j] = Q_j R_j, and its cost (NumPy)
"""

import argparse
import time

import keras
import numpy as np

import keras_coda
from keras_coda.layers import DAUDense

SIZE, RANK, UNITS, INPUTS = 54, 16, 8, 40
RATIOS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)


def errors(ratio, form, rescaling):
    """The median and the largest relative error of a layer's outputs over all inputs."""
    rng = np.random.default_rng(0)
    a = rng.uniform(-0.25, 0.25, (SIZE, RANK, UNITS)).astype("float32")
    b = rng.uniform(-0.14, 0.14, (SIZE, RANK)).astype("float32")
    found = []
    layer = DAUDense(UNITS, RANK, rescaling=rescaling, dtype="float32")
    layer.build((None, SIZE))
    for x in rng.random((INPUTS, SIZE)).astype("float32"):
        product = np.einsum("drn,r->dn", a.astype("float64"), x.astype("float64") @ b)
        direction = rng.standard_normal(product.shape)
        direction *= np.linalg.norm(product, axis=0) / np.linalg.norm(direction, axis=0)
        bias = (-product + ratio * direction).astype("float32")
        u = product + bias
        norm = np.linalg.norm(u, axis=0)
        alpha = 1 / norm if rescaling == "l2" else norm / (1 + norm**2)
        want = alpha * (x @ u)
        layer.set_weights([a, b, bias])
        with keras_coda.contractions.using(form):
            got = keras.ops.convert_to_numpy(layer(x[None]))[0]
        # Relative to the largest possible output |w| |x| of such weights, as the outputs themselves may be near 0.
        found.append(np.abs(got - want) / (alpha * norm * np.linalg.norm(x)))
    return np.median(found), np.max(found)


def norms_by_qr():
    """Errors of |u_j| in float32 from Gram matrices and from R_j, and the CPU time of the decompositions for S."""
    rng = np.random.default_rng(0)
    print("| |u| / |b| | Gram matrices, largest | QR, largest |\n| --- | --- | --- |")
    for ratio in RATIOS:
        found = []
        for _ in range(INPUTS * UNITS):
            a, z = rng.uniform(-0.25, 0.25, (SIZE, RANK)).astype("float32"), rng.standard_normal(RANK).astype("float32")
            product, direction = a.astype("float64") @ z, rng.standard_normal(SIZE)
            direction *= np.linalg.norm(product) / np.linalg.norm(direction)
            bias = (-product + ratio * direction).astype("float32")
            both, extended = np.concatenate([a, bias[:, None]], axis=1), np.append(z, np.float32(1))
            norm = np.linalg.norm(both.astype("float64") @ extended)
            by_gram = np.sqrt(abs(extended @ (both.T @ both @ extended)))
            found.append([abs(by_gram / norm - 1), abs(np.linalg.norm(np.linalg.qr(both, "r") @ extended) / norm - 1)])
        print(f"| {ratio} | {np.max(found, axis=0)[0]:.0e} | {np.max(found, axis=0)[1]:.0e} |")
    layers = [layer for layer in keras_coda.CoDANet.from_size("s").layers if hasattr(layer, "a_kernel")]
    arrays = [keras.ops.convert_to_numpy(layer.a_kernel) for layer in layers]
    kernels = [array.reshape(-1, *array.shape[-2:]).transpose(2, 0, 1) for array in arrays]
    began = time.process_time()
    for kernel in kernels:
        np.linalg.qr(kernel, "r")
    print(f"S: {time.process_time() - began:.2f} s of CPU time for the decompositions of all units, once a step")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qr", action="store_true")
    if parser.parse_args().qr:
        norms_by_qr()
        return
    print(f"{keras.backend.backend()}, float32, d = {SIZE}, r = {RANK}: error of an output relative to |w| |x|")
    print("| |u| / |b| | form | L2, median | L2, largest | SQ, median | SQ, largest |")
    print("| --- | --- | --- | --- | --- | --- |")
    for ratio in RATIOS:
        for form in ("direct", "blocked"):
            row = [*errors(ratio, form, "l2"), *errors(ratio, form, "sq")]
            print(f"| {ratio} | {form} | " + " | ".join(f"{value:.0e}" for value in row) + " |")


if __name__ == "__main__":
    main()
