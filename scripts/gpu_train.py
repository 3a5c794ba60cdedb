"""Train a CoDA-Net by a recipe on one GPU within a time limit. JAX, all images on the GPU, several steps per call.

    python scripts/gpu_train.py s_coda_cifar10_fast --data arrays --minutes 9 --out s
    python scripts/gpu_train.py xl_coda_tinyimagenet_fast --data arrays --minutes 11 --out xl --half \
        --fall 1 --chunk 12 --grids 0 --rates 0.005
    python scripts/gpu_train.py xl_coda_tinyimagenet_fast --data arrays --minutes 10 --out xl_2 --half \
        --start xl/preset --stages 64:1 --fall 1 --chunk 12 --grids 0 --rates 0.003

It checks the GPU kernels, tries a few learning rates, trains with the best one until time or epochs are over, and
measures the result. The folder of --out gets

    log.jsonl    a line per epoch, and all measurements, with versions and device
    preset/      the network as a preset, its weights in parts of 15 MiB, written every two minutes

The data are a folder of arrays from `gpu_unpack.py`. docs/gpu.md says how to run
this on a machine that is lent for minutes.
"""

import argparse
import contextlib
import importlib.metadata
import os
import pathlib
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

# Imported first, since it starts the clock.
from gpu import log

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import keras
import numpy as np
from gpu import arrays, feeds, kernels, measure, plan, programs

import keras_coda
from keras_coda import attributions, metrics, presets, recipes
from keras_coda.training import fitting
from keras_coda.training.resizing import ResizingCoDANet

PART_BYTES = 15 * 2**20
# Seconds between two saves, and between two tests while training.
SAVE_EVERY, TEST_EVERY = 120, 10
# Methods to compare with if there is time, the paper's best first.
OTHERS = ("occlusion_9", "grad_cam", "occlusion_5", "integrated_gradients", "input_x_gradient")


def parse(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="name or JSON file")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder of arrays")
    parser.add_argument("--minutes", type=float, required=True, help="of the whole job, from its start to its end")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder")
    parser.add_argument(
        "--wait", type=float, default=0, help="seconds to wait for images that are still to be unpacked (default: 0)"
    )
    parser.add_argument("--start", help="preset whose weights to start from; default: random ones")
    parser.add_argument("--epochs", type=float, help="at most; default: the recipe's")
    parser.add_argument(
        "--rates", type=numbers, help="learning rates to try, or one to take; default: about the recipe's"
    )
    parser.add_argument("--trial", type=float, default=25, help="seconds that each is tried (default: %(default)s)")
    parser.add_argument("--stages", default="", help="SIZE:SHARE of the time,...; default: the recipe's")
    parser.add_argument(
        "--fall", type=float, help="part of the last stage in which the rate falls; default: the recipe's"
    )
    parser.add_argument("--chunk", type=int, default=97, help="most steps in a call to the GPU (default: %(default)s)")
    parser.add_argument("--measuring", type=float, default=60, help="seconds kept to measure (default: %(default)s)")
    parser.add_argument("--grids", type=int, default=500, help="for localisation; 0 for none (default: %(default)s)")
    parser.add_argument("--removed", type=int, default=1024, help="images for pixel removal (default: %(default)s)")
    parser.add_argument("--half", action="store_true", help="keep weights in float16, not in float32")
    return parser.parse_args(arguments)


def numbers(text):
    """Numbers separated by commas."""
    return [float(part) for part in text.split(",")]


class Prepared(NamedTuple):
    """What a stage needs: the compiled programs of its steps and of a test, and how long they took."""

    steps: Any
    test: Any
    seconds: float


class Job:
    """A training from start to end.

    Args:
        arguments: of the command line.
    """

    def __init__(self, arguments):
        if keras.backend.backend() != "jax":
            raise ValueError(f"Expected: KERAS_BACKEND=jax. Received: {keras.backend.backend()}")
        self.arguments = arguments
        self.recipe = recipes.load(arguments.recipe)
        self.rates = arguments.rates or [self.recipe.learning_rate * factor for factor in (0.6, 1.0, 1.7)]
        self.warm_up, self.fall = plan.schedule(self.recipe, arguments.fall)
        self.epochs = self.recipe.epochs if arguments.epochs is None else arguments.epochs
        # Checked before anything takes time.
        left = 60 * arguments.minutes - log.seconds()
        plan.check_time(left, len(self.rates), arguments.trial, arguments.measuring)
        self.end = time.monotonic() + left
        self.train_until = self.end - arguments.measuring - plan.SAVING

        self.data = arrays.load(arguments.data, complete=not arguments.wait)
        self.native = self.data.x_train.shape[1]
        self.stages = plan.stages(arguments.stages, self.recipe, self.native)
        self.augmentation = fitting.augmentation(self.recipe)
        self.set_batch(self.recipe.batch_size)
        if self.recipe.freeze:
            raise ValueError(f"This program trains all layers. Received: a recipe that freezes {self.recipe.freeze}")
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "pid").write_text(str(os.getpid()))  # to wait for its end
        self.say = log.Log(arguments.out / "log.jsonl")
        self.seen = 0  # images
        self.results, self.saved_results = {}, None  # of the weights now, and of those saved last

    def run(self):
        """All of it."""
        self.introduce()
        keras.utils.set_random_seed(self.recipe.seed)
        self.model = fitting.network(ResizingCoDANet, self.recipe, self.data)
        self.exact = fitting.network(keras_coda.CoDANet, self.recipe, self.data, "float32")
        self.check_kernels()
        self.data = arrays.wait(self.arguments.data, self.arguments.wait)
        self.start()
        with contextlib.closing(self.feed()) as feed, ThreadPoolExecutor(1) as self.compiler:
            prepared = self.compiler.submit(self.prepare, 0, feed)
            for number, stage in enumerate(self.stages):
                prepared = self.train(number, stage, prepared, feed)
        self.save()
        self.test_at_native_size()
        self.measure()
        self.say(ended=True)

    def introduce(self):
        """Log the plan and the machine."""
        packages = ("jax", "keras", "numpy")
        self.say(
            recipe=self.recipe.name,
            arguments=sys.argv[1:],
            device=jax.devices()[0].device_kind,
            versions={name: importlib.metadata.version(name) for name in packages},
            keras_coda=keras_coda.__version__,
            images=len(self.data.x_train),
            seconds_left=round(self.end - time.monotonic()),
        )

    def check_kernels(self):
        """Choose the reference if the results of the form that "auto" chooses are wrong."""
        form = keras_coda.contraction(self.model.dtype_policy.compute_dtype)
        reference = kernels.reference(form)
        try:
            excess, error = kernels.excess(self.model, self.native, reference)
        except kernels.NoReference as problem:
            keras_coda.set_contraction("auto")
            self.say(kernels=form, unchecked=str(problem)[:500], trains_with=form)
            return
        except Exception as problem:  # A kernel that does not compile raises errors of many types.
            excess = error = float("inf")
            self.say(kernels=form, problem=f"{type(problem).__name__}: {problem}"[:500])
        passes = excess < kernels.TOLERANCE
        keras_coda.set_contraction("auto" if passes else reference)
        if not passes:
            # The reference needs more memory.
            self.set_batch(max(1, self.batch // 2))
        facts = {f"times_that_of_{reference}": repr(excess), "trains_with": form if passes else reference}
        self.say(kernels=form, error=repr(error), **facts, batch=self.batch)

    def set_batch(self, batch):
        """Set the number of images in a step, and with it the number of steps in an epoch and in a call."""
        self.batch, self.epoch_steps = batch, len(self.data.x_train) // batch
        if self.epoch_steps < 1 or self.arguments.chunk < 1:
            raise ValueError(
                f"Expected at least a batch of {batch} images, and --chunk of at least 1. "
                f"Received: {len(self.data.x_train)} images, --chunk {self.arguments.chunk}"
            )
        self.chunk = plan.chunk(self.epoch_steps, self.arguments.chunk)

    def start(self):
        """The initial state: weights, the variables of a new optimizer, and the test images on the device."""
        if self.arguments.start:
            self.model.set_weights(presets.load(self.arguments.start).get_weights())
            self.say(start=self.arguments.start, sha256=presets.metadata(self.arguments.start)["weights_sha256"])
        options = dict(self.recipe.optimizer)
        self.optimizer = type(keras.optimizers.get(options.pop("name")))(self.rates[0], **options)
        self.optimizer.build(self.model.trainable_variables)
        self.weights, self.variables = (
            programs.strongly_typed(variable.value for variable in variables)
            for variables in (self.model.trainable_variables, self.optimizer.variables)
        )
        self.rate = self.rates[0]
        self.test_data = jax.numpy.asarray(self.data.x_test), jax.numpy.asarray(self.data.y_test)

    def feed(self):
        """The source of the images."""
        labels = self.data.y_train
        if self.augmentation.rand_augment:
            shape = self.chunk, self.batch
            return feeds.Augmented(self.arguments.data, labels, self.augmentation, shape, self.recipe.seed)
        return feeds.OnDevice(self.data.x_train, labels, self.augmentation)

    def prepare(self, number, feed):
        """The compiled programs of a stage."""
        began = time.monotonic()
        self.model.scale = self.stages[number].size / self.native
        program = programs.steps(self.model, self.optimizer, feed, (self.chunk, self.batch))
        return Prepared(program, programs.test(self.model, *self.test_data), time.monotonic() - began)

    def train(self, number, stage, prepared, feed):
        """Run one stage: measure the speed, try learning rates (in the first stage), and train.

        Returns a future of the next stage's `Prepared`, which is compiled in the meantime; of the last stage, `None`.
        """
        (program, test, compiled), a_step = self.within_memory(number, prepared, feed)
        batch, chunk, a_epoch = self.batch, self.chunk, self.epoch_steps
        is_last = number == len(self.stages) - 1
        following = None if is_last else self.compiler.submit(self.prepare, number + 1, feed)
        speed = {"compiled_in": round(compiled, 1), "images_a_second": round(batch / a_step)}
        if feed.seconds_an_image:
            speed["augmented_a_second"] = round(1 / feed.seconds_an_image)
        self.say(stage=number + 1, size=stage.size, steps_a_call=chunk, **speed)
        if number == 0 and len(self.rates) > 1:
            self.rate = self.best_rate(program, a_step, feed)

        rest = sum(other.share for other in self.stages[number:])
        images = [other.share / other.size**2 for other in self.stages]
        at_most = max(chunk, int(self.epochs * a_epoch * images[number] / sum(images)) // chunk * chunk)
        left = self.train_until - time.monotonic()
        seconds = plan.PLANNED * left * stage.share / rest
        steps = plan.steps_in(left, stage.share, rest, a_step, at_most, chunk)
        warm_up, fall = self.warm_up if number == 0 else 0, self.fall if is_last else 0
        schedule = plan.Schedule(self.rate, at_most, chunk, warm_up, fall)
        self.say(stage=number + 1, rate=self.rate, steps=steps, epochs=round(steps / a_epoch, 2), fall=fall)
        order = plan.batches(len(self.data.y_train), (chunk, batch), self.recipe.seed + number)
        losses, hits = [], []
        self.saved = self.tested = began = time.monotonic()
        for call, taken in enumerate(feed.calls(order), start=1):
            spent = time.monotonic() - began
            of_call = schedule.rates(seconds - spent, plan.seconds_a_step(a_step, spent, (call - 1) * chunk))
            key = jax.random.fold_in(jax.random.key(self.recipe.seed + number), call)
            weights, variables, loss, hit = program(self.weights, self.variables, *taken, key, of_call)
            losses.append(float(loss.mean()))
            hits.append(float(hit))
            if not np.isfinite(losses[-1]):
                raise FloatingPointError(f"The loss is not finite. Saved last: {self.saved_results or 'nothing'}")
            self.weights, self.variables = weights, variables
            self.seen += chunk * batch
            self.results = {"epochs": round(self.seen / len(self.data.y_train), 2)}
            late = time.monotonic() > self.train_until
            last = late or schedule.progress == 1
            if call % (a_epoch // chunk) == 0 or last:
                facts = {"loss": np.mean(losses), "training_accuracy": np.mean(hits), "rate": of_call[-1]}
                if last or time.monotonic() > self.tested + TEST_EVERY:
                    facts["test_accuracy"] = test(self.weights)
                    if stage.size == self.native:  # A preset is for images of full size.
                        self.results["test_accuracy"] = facts["test_accuracy"]
                    self.tested = time.monotonic()
                facts = {key: round(float(value), 6) for key, value in facts.items()}
                self.say(size=stage.size, epochs=self.results["epochs"], images=self.seen, **facts)
                losses, hits = [], []
            if time.monotonic() > self.saved + SAVE_EVERY:
                self.save()
            if last:
                self.say(stage=number + 1, steps_done=call * chunk, of=steps, late=late)
                break
        if not is_last:
            self.save()  # The next stage may not fit into the GPU's memory.
        return following

    def within_memory(self, number, prepared, feed):
        """The `Prepared` of a future, and the seconds of a step. If it does not fit the memory, batches are halved."""
        try:
            return prepared.result(), self.seconds_a_step(prepared.result().steps, feed)
        except jax.errors.JaxRuntimeError as problem:
            if "RESOURCE_EXHAUSTED" not in str(problem) or self.batch == 1:
                raise
            self.set_batch(self.batch // 2)
            self.say(problem=str(problem)[:500], batch=self.batch)
        return self.within_memory(number, self.compiler.submit(self.prepare, number, feed), feed)

    def seconds_a_step(self, program, feed):
        """Seconds of a step: those of the second of two calls, whose results are discarded, or of its images."""
        rates = np.zeros(self.chunk, "float32")
        arguments = self.weights, self.variables, *self.few_steps(feed, 0), rates
        jax.block_until_ready(program(*arguments))
        began = time.monotonic()
        jax.block_until_ready(program(*arguments))
        return max((time.monotonic() - began) / self.chunk, self.batch * feed.seconds_an_image)

    def best_rate(self, program, a_step, feed):
        """The learning rate with the lowest loss after a short training from the start, in which it falls to 0."""
        chunk = self.chunk
        calls = max(1, int(self.arguments.trial / a_step / chunk))
        found = {}
        for rate in self.rates:
            weights, variables = self.weights, self.variables
            schedule = plan.Schedule(rate, calls * chunk, chunk, warm_up=0.05, fall=1.0)
            for call in range(calls):
                given = self.few_steps(feed, call)
                weights, variables, losses, hits = program(weights, variables, *given, schedule.rates(np.inf, 1.0))
            found[rate] = float(losses[-max(1, chunk // 4) :].mean())
            self.say(tried=rate, steps=calls * chunk, loss=repr(found[rate]), training_accuracy=float(hits))
        return plan.best(found)

    def few_steps(self, feed, number):
        """Images, labels, places and a key for steps whose results are discarded."""
        rng = np.random.default_rng((self.recipe.seed, number))
        indices = rng.integers(len(self.data.x_train), size=(self.chunk, self.batch)).astype("int32")
        return *next(feed.calls([indices])), jax.random.key(number)

    def save(self):
        """Save the weights as a preset, with the results so far."""
        self.exact.set_weights([np.asarray(array) for array in self.weights])
        folder = presets.save(
            self.exact,
            self.arguments.out / "preset",
            name=self.recipe.name,
            description=self.recipe.description,
            dataset=self.recipe.dataset,
            classes=self.data.classes,
            image_shape=self.data.x_train.shape[1:],
            results=self.results,
            license="Apache-2.0",
            overwrite=True,
            weights_dtype="float16" if self.arguments.half else "float32",
            part_bytes=PART_BYTES,
        )
        self.saved, self.saved_results = time.monotonic(), self.results
        facts = presets.metadata(folder)
        self.say(saved=str(folder), parts=facts["weights_parts"], sha256=facts["weights_sha256"])

    def test_at_native_size(self):
        """Accuracy in the training dtype on images of full size, if the last stage had smaller ones."""
        if self.stages[-1].size != self.native:
            self.model.scale = 1.0
            self.note(test_accuracy=programs.test(self.model, *self.test_data)(self.weights))

    def measure(self):
        """Measure in float32, while there is time: accuracy, and localisation and removal of all methods."""
        x_test, y_test = np.asarray(self.data.x_test), self.data.y_test
        self.note(test_images=len(x_test))
        if self.arguments.grids and self.is_time():
            logits = self.exact.predict(x_test, batch_size=programs.TESTED_AT_ONCE, verbose=0)
            self.note(test_accuracy=float(np.mean(logits.argmax(-1) == y_test)))
        if self.arguments.grids and self.is_time():
            try:
                grids = metrics.make_grids(
                    self.exact, x_test, y_test, measure.SIZE, self.arguments.grids, batch_size=programs.TESTED_AT_ONCE
                )
            except ValueError as error:
                self.say(no_grids=str(error))
                return
            score, count = measure.localisation(attributions.Contributions(self.exact), grids, self.end)
            cells = measure.SIZE**2
            self.note(localisation=score, localisation_grids=count, localisation_images_a_grid=cells)
        if self.arguments.removed and self.arguments.grids and self.is_time():
            chosen = slice(self.arguments.removed)
            score, count = measure.removal(self.exact, x_test[chosen], y_test[chosen], self.end)
            self.note(removal=score, removal_images=count, removal_percent_of_pixels=round(100 * measure.REMOVED))
        methods = attributions.published("tinyimagenet" if self.recipe.dataset == "tiny_imagenet" else "cifar10")
        for name in OTHERS:
            if name in methods and self.arguments.grids and self.is_time():
                method = methods[name](self.exact, batch_size=measure.VARIANTS_AT_ONCE)
                score, count = measure.localisation(method, grids, self.end)
                self.say(method=name, localisation=score, grids=count)

    def is_time(self):
        """Whether there is time for another measurement, which includes compilation."""
        return time.monotonic() < self.end - plan.SAVING

    def note(self, **results):
        """Put results into the preset and the log."""
        self.results |= results
        presets.add_results(self.arguments.out / "preset", results)
        self.say(**results)


def main(arguments=None):
    """Run the job. Returns 2 if its arguments do not fit."""
    try:
        Job(parse(arguments)).run()
    except (ValueError, OSError) as error:
        print(f"gpu_train.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
