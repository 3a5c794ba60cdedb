"""Float32 errors of DAU layers where b_j almost cancels A_j B x, as a function of |u_j| / |b_j|.

python scripts/cancelling_norms.py
"""

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


def main():
    print(f"{keras.backend.backend()}, float32, d = {SIZE}, r = {RANK}: error of an output relative to |w| |x|")
    print("| |u| / |b| | form | L2, median | L2, largest | SQ, median | SQ, largest |")
    print("| --- | --- | --- | --- | --- | --- |")
    for ratio in RATIOS:
        for form in ("direct", "blocked"):
            row = [*errors(ratio, form, "l2"), *errors(ratio, form, "sq")]
            print(f"| {ratio} | {form} | " + " | ".join(f"{value:.0e}" for value in row) + " |")


if __name__ == "__main__":
    main()
