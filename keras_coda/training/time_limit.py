"""Trainings with a time limit: how many steps to plan, and when to stop."""

import time

import keras
import numpy as np

# Share of the remaining time that is planned. The rest is a reserve, as steps may take longer than the measured ones.
PLANNED = 0.9
# Number of steps, and of batches of a prediction, that are timed.
MEASURED, BATCHES = 5, 4


def seconds_of_steps(model, batches):
    """`(compilation, step)`: seconds that training takes longer at its start, and seconds of a later step.

    A smaller last batch is compiled once more, so a step is the median of several. The model is trained by these steps.
    """
    times = [time.monotonic()]
    for number in range(MEASURED):
        images, labels, weights = batches[number % len(batches)]
        logs = model.train_on_batch(images, labels, sample_weight=weights, return_dict=True)
        float(logs["loss"])  # waits until the step is done
        times.append(time.monotonic())
    seconds = np.diff(times)
    step = float(np.median(seconds[1:]))
    return max(0.0, float(seconds.sum()) - MEASURED * step), step


def seconds_of_prediction(model, images, batch_size):
    """An estimate of the seconds of a prediction for all images, from a few batches."""
    few = images[: BATCHES * batch_size]
    model.predict(few, batch_size=batch_size, verbose=0)
    began = time.monotonic()
    model.predict(few, batch_size=batch_size, verbose=0)
    return (time.monotonic() - began) * len(images) / len(few)


class StopAfter(keras.callbacks.Callback):
    """Stops a training after a number of steps, or when time is up.

    Args:
        steps: integer, total number of steps.
        done: integer, number of steps that were done before.
        deadline: when to stop, by `time.monotonic()`; `None` for no limit.
    """

    def __init__(self, steps, done=0, deadline=None):
        super().__init__()
        self.steps, self.done, self.deadline = steps, done, deadline

    def on_train_batch_end(self, batch, logs=None):
        self.done += 1
        late = self.deadline is not None and time.monotonic() > self.deadline
        # After the last step of an epoch, `fit` ends by itself.
        if late or (self.done >= self.steps and batch + 1 < self.params["steps"]):
            self.model.stop_training = True
