"""Noise schedules: how much signal is left at each time.

A complete schedule::

    class Geometric(Schedule):
        '''Every step keeps the same share of the signal.'''

        name: ClassVar[str] = "geometric"
        keep: float = Field(default=0.99, gt=0, lt=1, description="Share of the signal's power that a step keeps.")

        def alphas_bar(self) -> Tensor:
            return self.keep ** torch.arange(self.timesteps + 1, dtype=torch.float64)
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from ddmkit.component import Component

if TYPE_CHECKING:
    from torch import Tensor


class Schedule(Component):
    """A noise schedule in discrete time (Ho et al. 2020, section 2)."""

    kind: ClassVar[str] = "schedule"
    timesteps: int = Field(default=1000, ge=1, description="T, the number of noising steps.")

    @abstractmethod
    def alphas_bar(self) -> Tensor:
        """Return alpha-bar_t for t = 0 ... T.

        Returns:
            Shape (T + 1,), float64, strictly falling, alpha-bar_0 = 1 and all of it in (0, 1].
        """
