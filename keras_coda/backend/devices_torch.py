"""Several devices on PyTorch: `DistributedDataParallel`, with a process a device, started by torchrun or here."""

import contextlib
import os
import signal
import uuid

import torch
from torch import distributed, multiprocessing
from torch.distributed.launcher.api import LaunchConfig, elastic_launch


def _is_launched():
    return "WORLD_SIZE" in os.environ


def device_count():
    """The number of devices to train on: torchrun's processes; or else GPUs; or else CPU cores."""
    if _is_launched():
        return process()[1]
    return torch.cuda.device_count() or os.cpu_count()


def process():
    """`(index, count)`: the index of this process, and how many train together, each on its part of the data."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def run_on(devices, function, *arguments):
    """Call `function(*arguments)`. The models that it builds train on `devices` devices.

    Outside of torchrun the function runs in new processes: it and its arguments are pickled, and so is what it returns.
    """
    if _is_launched():
        _join_group()  # and stay in it, as torchrun's processes cannot meet a second time
        return function(*arguments)
    if devices == 1:
        return function(*arguments)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=devices,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        signals_to_handle="SIGTERM",  # Ctrl-C stays a KeyboardInterrupt.
    )
    former = signal.getsignal(signal.SIGTERM)
    try:
        return elastic_launch(config, _first_in_group)(function, *arguments)[0]
    finally:
        # PyTorch leaves its own handler, which only raises an exception.
        if signal.getsignal(signal.SIGTERM) != former:
            signal.signal(signal.SIGTERM, former)


def _join_group():
    if distributed.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group()


def _first_in_group(function, *arguments):
    """Pickle the first process' result only. Nobody reads the others."""
    # If its parent is killed, PyTorch ends this process by SIGINT, which is ignored after a `&` in a shell script.
    multiprocessing._prctl_pr_set_pdeathsig(9)  # SIGKILL, for which Windows has no name, and this call no effect
    _join_group()
    result = function(*arguments)
    distributed.destroy_process_group()
    return result if process()[0] == 0 else None


class _Watched(torch.nn.Module):
    """The module for DDP: it has the parameters, and its forward pass comes just before the backward pass.

    Keras' `fit` calls the model itself, and not what DDP makes of it.
    """

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, loss):
        return loss


def average_gradients(model):
    """Return a function that passes a loss through. Its gradients in `model` become means over all processes."""
    if not distributed.is_initialized():
        return lambda loss: loss
    parallel = torch.nn.parallel.DistributedDataParallel(_Watched(model))
    # A function, not the module: the model would track the module, which contains the model.
    return lambda loss: parallel(loss)


@contextlib.contextmanager
def summed(variables):
    """Context in which `variables` hold sums over all processes."""
    if not distributed.is_initialized():
        yield
        return
    own = [variable.value.detach().clone() for variable in variables]
    sums = torch.cat([value.flatten() for value in own])
    distributed.all_reduce(sums)
    for variable, value in zip(variables, sums.split([value.numel() for value in own]), strict=True):
        variable.assign(value.reshape(variable.shape))
    yield
    for variable, value in zip(variables, own, strict=True):
        variable.assign(value)
