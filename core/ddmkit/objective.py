"""What a step makes small: the diffusion's loss, and whatever else the task asks of the estimate of x_0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from ddmkit.checked import Outputs
    from ddmkit.diffusion import Diffusion
    from ddmkit.task import Task


@dataclass(frozen=True)
class Objective:
    """The loss of a run, as engines take it: (output, target) -> a scalar, the mean over the examples.

    It can be sent to other processes.
    """

    diffusion: Diffusion
    task: Task
    outputs: Outputs

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the loss of the network's outputs, shape (N, C, X, Y, Z), a float32 scalar.

        Raises:
            PluginError: the outputs have another shape than the target.
        """
        self.outputs.check(output, target.shape)
        loss = self.diffusion.loss(output, target)
        return loss + self.task.loss(output.float(), target) if self.task.adds_loss else loss
