"""What a step makes small."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch

from ddmkit import ConfigurationError, PluginError, Registry
from ddmkit.assembly import assemble, read_tree
from ddmkit.checked import Outputs
from ddmkit.diffusion import Diffusion
from ddmkit.objective import Objective
from ddmkit_plugins.backbones.unet3d_avg import UNet3dAverage
from ddmkit_plugins.tasks.brats import Brats

OUTPUTS = Outputs(UNet3dAverage(), "acme 1.0")
OUTPUT = torch.tensor([0.25, 0.5, 0.0]).reshape(1, 1, 3, 1, 1)
TARGET = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 1, 3, 1, 1)
SQUARED = (0.75**2 + 0.5**2) / 3
OVERLAP = 1 - (2 * 0.25 + 1) / (0.25**2 + 0.5**2 + 1 + 1)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_a_task_without_a_loss_of_its_own_leaves_the_squared_error(prediction: str) -> None:
    objective = Objective(Diffusion.model_validate({"prediction": prediction}), Brats(), OUTPUTS)
    assert float(objective(OUTPUT, TARGET)) == pytest.approx(SQUARED)


def test_a_task_s_own_loss_is_added_and_learned_from_in_another_process_too() -> None:
    made = Objective(Diffusion(prediction="x0"), Brats(overlap=2.0), OUTPUTS)
    objective = pickle.loads(pickle.dumps(made))  # noqa: S301 - made here
    output = OUTPUT.bfloat16().requires_grad_()
    loss: Any = objective(output, TARGET)
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(SQUARED + 2 * OVERLAP)
    loss.backward()
    assert output.grad is not None
    assert float(output.grad.flatten()[0]) < 0 < float(output.grad.flatten()[1])


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_a_task_s_own_loss_needs_estimates_of_x0(prediction: str) -> None:
    registry = Registry()
    options = ["task.overlap=1", f"diffusion.prediction={prediction}"]
    with pytest.raises(ConfigurationError, match=r"type -o diffusion.prediction=x0, or leave the task's loss out"):
        assemble(registry, base=[read_tree(registry.preset("quick"))], options=options)


def test_outputs_of_another_shape_are_the_backbone_s_fault_in_another_process_too() -> None:
    objective = pickle.loads(pickle.dumps(Objective(Diffusion(), Brats(), OUTPUTS)))  # noqa: S301 - made here
    said = r"^The backbone 'unet3d-avg' of acme 1.0 answers with shape \(1, 1, 2, 1, 1\), not \(1, 1, 3, 1, 1\): "
    with pytest.raises(PluginError, match=said):
        objective(OUTPUT[:, :, 1:], TARGET)
