"""Train ResNet-56 on CIFAR-10 with plain Keras, to explain it by post-hoc methods (paper, supplement).

    KERAS_BACKEND=tensorflow python scripts/train_resnet56.py --epochs 18 --dtype mixed_bfloat16 --out resnet56.keras
    keras-coda evaluate resnet56.keras --dataset cifar10 --methods grad_cam occlusion_9 --out evaluation

Images are taken as they are, 0 to 255: batch normalisation undoes their scale. They are flipped, and cropped with 4
pixels of padding. SGD with momentum has a learning rate that rises for a sixth of the steps and falls by a cosine. This
is shorter than the published 64,000 steps. The file has float32 weights. After an interruption the same command goes on
after the last whole epoch.
"""

import argparse
import pathlib
import shutil
import sys

import keras
import numpy as np

from keras_coda import data, models
from keras_coda.training.state import State, alone

BATCH = 128
MOMENTUM = 0.9
# Keras subtracts rate * decay * weight beside the momentum, so that this is the usual 5e-4 of a loss's penalty.
DECAY = 5e-4 / (1 - MOMENTUM)


def main(arguments=None):
    """Train, and write the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="cifar10", help="name or .npz file (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--rate", type=float, default=0.15, help="largest learning rate (default: %(default)s)")
    parser.add_argument("--blocks", type=int, default=9, help="of each width (default: %(default)s)")
    parser.add_argument("--dtype", default="float32", help="Keras' dtype policy of the training (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("resnet56.keras"))
    parsed = parser.parse_args(arguments)
    if parsed.out.suffix != ".keras":
        parser.error(f"--out must end in .keras. Received: {parsed.out}")
    folder = parsed.out.with_name(f"{parsed.out.name}.state")
    try:
        with alone(folder):
            train(parsed, folder)
    except (ValueError, OSError) as error:
        print(f"train_resnet56.py: {error}", file=sys.stderr)
        return 2
    return 0


def train(parsed, folder):
    """Train by the arguments, and write the model. `folder` has the state, and is removed at the end."""
    state = State(folder, {name: str(value) for name, value in vars(parsed).items()})
    keras.utils.set_random_seed(parsed.seed)
    dataset = data.load(parsed.dataset)
    batches = data.Batches(
        dataset.x_train, dataset.y_train, BATCH, 1, seed=parsed.seed, augmentation=data.Augmentation(True, 4)
    )
    network = {"classes": len(dataset.classes), "blocks": parsed.blocks, "data_format": "channels_last"}
    model = models.ResNet56(**network, dtype=parsed.dtype)
    steps = parsed.epochs * len(batches)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps - steps // 6, warmup_target=parsed.rate, warmup_steps=steps // 6
    )
    optimizer = keras.optimizers.SGD(rate, momentum=MOMENTUM, nesterov=True, weight_decay=DECAY)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    state.restore(model)
    model.fit(
        batches,
        initial_epoch=state.epoch,
        epochs=parsed.epochs,
        shuffle=False,
        verbose=2,
        validation_data=(dataset.x_test, dataset.y_test),
        callbacks=[
            keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: batches.shuffle(epoch)),
            state,
        ],
    )
    released = models.ResNet56(**network, dtype="float32", name=parsed.out.stem)
    released.set_weights(model.get_weights())
    released.save(parsed.out)
    shutil.rmtree(folder)
    predicted = released.predict(dataset.x_test, verbose=0).argmax(axis=-1)
    print(f"{parsed.out}: accuracy {np.mean(predicted == dataset.y_test):.4f} of {len(predicted)} test images")


if __name__ == "__main__":
    sys.exit(main())
