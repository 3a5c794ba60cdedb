"""A training that must end in time: how many steps to plan, and when to stop at the latest."""

import time

import keras

# Of the time that is left for steps, what is planned; the rest is for steps that take longer than those measured.
PLANNED = 0.9
# How many steps, and how many batches of a prediction, are measured.
MEASURED, BATCHES = 5, 4


def seconds_of_steps(model, batches):
    """`(first, other)`: what the first training step takes, which compiles it, and any other. Changes the model."""
    times = [time.monotonic()]
    for number in range(MEASURED):
        images, labels, weights = batches[number % len(batches)]
        logs = model.train_on_batch(images, labels, sample_weight=weights, return_dict=True)
        float(logs["loss"])  # which waits for it
        times.append(time.monotonic())
    return times[1] - times[0], (times[-1] - times[1]) / (MEASURED - 1)


def seconds_of_prediction(model, images, batch_size):
    """What a prediction for all images takes, from a few batches of them, in seconds."""
    few = images[: BATCHES * batch_size]
    model.predict(few, batch_size=batch_size, verbose=0)
    began = time.monotonic()
    model.predict(few, batch_size=batch_size, verbose=0)
    return (time.monotonic() - began) * len(images) / len(few)


class StopAfter(keras.callbacks.Callback):
    """Ends a training after a number of steps, or when the time is up.

    Args:
        steps: integer, how many there are in all.
        done: integer, how many there were before.
        deadline: by `time.monotonic()`; `None` for no limit.
    """

    def __init__(self, steps, done=0, deadline=None):
        super().__init__()
        self.steps, self.done, self.deadline = steps, done, deadline

    def on_train_batch_end(self, batch, logs=None):
        self.done += 1
        late = self.deadline is not None and time.monotonic() > self.deadline
        # At the end of an epoch nothing has to be stopped in its middle.
        if late or (self.done >= self.steps and batch + 1 < self.params["steps"]):
            self.model.stop_training = True
