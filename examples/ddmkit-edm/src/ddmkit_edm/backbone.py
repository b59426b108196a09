"""The settings of a preconditioned network; torch is only imported once it is built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field
from typing_extensions import override

from ddmkit import Backbone, ConfigurationError, Registry
from ddmkit_edm.advice import as_typed_here

if TYPE_CHECKING:
    from torch import nn


class EdmUNet3d(Backbone):
    """Another backbone between scales of input and output, so that both are of unit size at every noise level.

    The preconditioning of Karras et al. (2022), table 1. The whole answers with x_0 (diffusion.prediction=x0), over any
    schedule.
    """

    name: ClassVar[str] = "edm-unet3d"
    inner: str = Field(default="unet3d-avg", min_length=1, description="The backbone that learns, by its name.")
    settings: dict[str, Any] = Field(
        default={}, description="Settings of the inner backbone, as in -o 'backbone.settings={width: 16, blocks: 1}'."
    )
    sigma_data: float = Field(
        default=0.5,
        gt=0,
        le=100,
        description="Root mean square of x_0, about 0 and not about its mean, over voxels and cases together: 1 for "
        "labels of -1 and 1.",
    )
    time_scale: float = Field(
        default=100.0,
        gt=0,
        le=1e5,
        description="What c_noise = ln(sigma) / 4 is multiplied by before the inner backbone embeds it as a time.",
    )

    def wrapped(self) -> Backbone:
        """Return the inner backbone.

        Raises:
            ConfigurationError: it is unknown, one of its settings is, or it is such a one itself.
        """
        from ddmkit.assembly import component

        if self.inner == self.name:
            msg = (
                f"backbone.inner={self.inner} would stand in itself: name another, as in -o backbone.inner=unet3d-avg."
            )
            raise ConfigurationError(msg)
        with as_typed_here(self.settings):
            return component(Registry(), Backbone, {**self.settings, "name": self.inner})

    @override
    def build(self, in_channels: int, out_channels: int) -> nn.Module:
        from ddmkit_edm.network import Preconditioned

        inner = self.wrapped()
        with as_typed_here(self.settings):
            network = inner.build(in_channels, out_channels)
        return Preconditioned(self, network, out_channels)
