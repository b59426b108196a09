"""Draw with matplotlib, without a screen.

Margins are given, not found: matplotlib's `constrained` layout measures every word twice, and takes as long as the
drawing, while a run waits.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from ddmkit.figures import save
from ddmkit_plugins.trackers.curves import running_mean, thin
from ddmkit_plugins.trackers.slices import Slice

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from matplotlib.axes import Axes

    from ddmkit.events import Picture, Samples
    from ddmkit_plugins.trackers.curves import Curves

_REFERENCE = "#ffb000"
_ANSWER = "#00a5ff"
_POINTS = 2000
"""A line of more points than a picture has columns takes long and shows no more."""
_ABREAST = 5
"""Volumes that stand beside each other; more begin a row."""


def draw_curves(curves: Curves, path: Path) -> None:
    """Draw loss over steps and, where there are validations, the figure that chooses the best checkpoint.

    Args:
        curves: of a run so far.
        path: of the PNG.
    """
    figure = Figure(figsize=(9, 3.6))
    figure.subplots_adjust(left=0.12, right=0.985, bottom=0.14, top=0.91, wspace=0.3)
    loss, judged = figure.subplots(1, 2)
    _draw_loss(loss, curves.steps, curves.losses)
    for region, values in curves.values.items():
        judged.plot(curves.validated, values, "o-", label=region)
    judged.set(xlabel="step", title="validation")
    if curves.figure is not None:
        judged.set_ylabel(f"{curves.figure.heading} of whole volumes")
        if curves.figure.largest is not None:
            judged.set_ylim(0, curves.figure.largest)
    if curves.values:
        judged.legend(loc="lower right")
    save(figure, path)


def draw_case(picture: Picture, path: Path) -> None:
    """Draw the slice with most of the reference: image, contours of reference and answer, variance.

    Args:
        picture: one case as it was answered.
        path: of the PNG.
    """
    shown_slice = Slice.with_most(picture.reference, picture.affine)
    volumes = (picture.image, picture.reference, picture.answer, picture.variance)
    image, reference, answer, variance = map(shown_slice.of, volumes)
    aspect = shown_slice.aspect
    figure = Figure(figsize=(11, 3.9))
    figure.subplots_adjust(left=0.005, right=0.935, bottom=0.03, top=0.91, wspace=0.02)
    panels = figure.subplots(1, 4, width_ratios=(1, 1, 1, 0.04))
    plain, contours, spread, scale = panels
    for axes in (plain, contours, spread):
        axes.set_axis_off()
    plain.imshow(image, cmap="gray", aspect=aspect, vmin=0, vmax=1)
    plain.set_title(f"{picture.case}: {picture.modality}, slice {shown_slice.level}", loc="left")  # it may be long
    contours.imshow(image, cmap="gray", aspect=aspect, vmin=0, vmax=1)
    for mask, colour in ((reference, _REFERENCE), (answer, _ANSWER)):
        if mask.any() and not mask.all() and min(mask.shape) > 1:  # else there is no contour
            contours.contour(mask, levels=[0.5], colors=[colour], linewidths=1.5)
    for label, colour in (("reference", _REFERENCE), ("answer", _ANSWER)):
        contours.plot([], [], color=colour, label=label)
    contours.legend(loc="lower right", fontsize="small")
    contours.set_title(f"answer of {picture.members} samples")
    shown = spread.imshow(variance, cmap="magma", aspect=aspect, vmin=0, vmax=variance.max() or 1)
    figure.colorbar(shown, cax=scale)
    spread.set_title("variance over the samples")
    save(figure, path)


def draw_samples(samples: Samples, path: Path) -> None:
    """Draw the slice of a real volume with most in it, and that of each generated one beside it.

    Args:
        samples: a real volume and generated ones.
        path: of the PNG.
    """
    shown_slice = Slice.with_most(samples.image > 0, samples.affine)
    volumes = {"real": samples.image}
    volumes |= {f"sample {number}": volume for number, volume in enumerate(samples.samples, start=1)}
    columns = min(len(volumes), _ABREAST)
    rows = math.ceil(len(volumes) / columns)
    height, margin = 0.6 + 3.1 * rows, 0.02 / columns
    figure = Figure(figsize=(2.8 * columns, height))
    figure.subplots_adjust(left=margin, right=1 - margin, bottom=0.05 / height, top=1 - 0.65 / height)
    figure.subplots_adjust(wspace=0.04, hspace=0.12)
    low, high = float(samples.image.min()), float(samples.image.max())
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    for axes, (title, volume) in zip(panels, volumes.items(), strict=False):  # the last row may not be full
        axes.imshow(shown_slice.of(volume), cmap="gray", aspect=shown_slice.aspect, vmin=low, vmax=high)
        axes.set_title(title)
    figure.suptitle(f"{samples.case}, slice {shown_slice.level}")
    save(figure, path)


def _draw_loss(axes: Axes, steps: np.ndarray, losses: np.ndarray) -> None:
    axes.set(xlabel="step", ylabel="loss", title="training")
    if not len(losses):
        return
    block = math.ceil(len(losses) / _POINTS)
    label = "each step" if block == 1 else f"mean of {block} steps"
    axes.plot(thin(steps, block), thin(losses, block), color="0.8", linewidth=0.8, label=label)
    width = max(len(losses) // 20, 1)
    if len(losses) > width:
        means = running_mean(losses, width)[::block]
        axes.plot(steps[width - 1 :: block], means, label=f"mean of the last {width}")
    if (losses > 0).any():  # else there is nothing that a logarithm could show
        axes.set_yscale("log", nonpositive="mask")
    axes.legend()
