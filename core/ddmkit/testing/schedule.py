"""What a noise schedule owes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ddmkit.testing.promises import changed, in_a_sentence, require

if TYPE_CHECKING:
    from torch import Tensor

    from ddmkit.schedule import Schedule


@in_a_sentence
def check_schedule(schedule: Schedule) -> None:
    """Check that alpha-bar falls strictly from 1 and stays positive, in float64, whatever T.

    Raises:
        AssertionError: it breaks a promise.
    """
    title = type(schedule).__qualname__
    for timesteps in (schedule.timesteps, 1, 10):
        alphas_bar = changed(schedule, timesteps=timesteps).alphas_bar()
        shape = tuple(alphas_bar.shape)
        require(shape == (timesteps + 1,), f"{title} with T = {timesteps} has shape {shape}, not ({timesteps + 1},).")
        require(alphas_bar.dtype == torch.float64, f"{title} computes in {alphas_bar.dtype}, not in float64.")
        require(alphas_bar.device.type == "cpu", f"{title} computes on {alphas_bar.device}, not on the CPU.")
        require(alphas_bar.isfinite().all(), f"{title} with T = {timesteps} holds numbers that are not finite.")
        require(alphas_bar[0] == 1, f"{title} starts at alpha-bar {alphas_bar[0]}, not at exactly 1.")
        _require_falling(alphas_bar, f"{title} with T = {timesteps}")
        require(alphas_bar[-1] > 0, f"{title} with T = {timesteps} ends at {alphas_bar[-1]}; leave some signal.")
    first = schedule.alphas_bar()
    before = first.clone()
    first.zero_()
    require(torch.equal(schedule.alphas_bar(), before), f"{title} hands out one tensor twice; make a fresh one.")


def _require_falling(alphas_bar: Tensor, title: str) -> None:
    if flat := (alphas_bar.diff() >= 0).nonzero().flatten().tolist():
        before, after = (f"{alphas_bar[time]:.6g} at t = {time}" for time in (flat[0], flat[0] + 1))
        more = f", and so on {len(flat)} times" if len(flat) > 1 else ""
        msg = f"{title} does not fall strictly: {before}, {after}{more}."
        raise AssertionError(msg)
