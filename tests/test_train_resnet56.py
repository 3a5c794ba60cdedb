"""`scripts/train_resnet56.py`: an interrupted training ends with the weights of one that was not."""

import keras
import numpy as np
import pytest


@pytest.fixture
def script(load):
    return load("train_resnet56")


@pytest.fixture
def arguments(tmp_path, rng):
    """Of a training of two epochs, with three steps each."""
    x, y = rng.integers(0, 256, (400, 8, 8, 3), "uint8"), rng.integers(0, 3, 400)
    np.savez(tmp_path / "small.npz", x_train=x, y_train=y, x_test=x[:16], y_test=y[:16])
    return ["--dataset", str(tmp_path / "small.npz"), "--epochs", "2", "--blocks", "1"]


@pytest.mark.one_backend
def test_a_resumed_training_has_the_same_weights(script, arguments, tmp_path, monkeypatch, capsys):
    whole, resumed = tmp_path / "whole.keras", tmp_path / "resumed.keras"
    assert script.main([*arguments, "--out", str(whole)]) == 0

    class Interrupted(script.State):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(script, "State", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            script.main([*arguments, "--out", str(resumed)])
    assert script.main([*arguments, "--rate", "0.1", "--out", str(resumed)]) == 2
    assert "the state of another training" in capsys.readouterr().err
    assert script.main([*arguments, "--out", str(resumed)]) == 0
    assert not resumed.with_name("resumed.keras.state").exists()
    pairs = zip(*(keras.saving.load_model(path).get_weights() for path in (whole, resumed)), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
