"""One evaluation or training step in a process of its own: `python -m benchmarks.resources_subjects JSON`.

What is measured is the second call: a first one, on a small volume, makes what a program makes once.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ddmkit.memory import peak

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ddmkit_plugins.backbones.unet3d_avg import UNet3dAverage

    Step = Callable[[Tensor], Tensor | None]
    """Evaluate inputs (1, channels, side, side, side), or learn from them."""

WIDTH, MULTIPLIERS, BLOCKS = 29, (1, 3, 4, 4, 4, 4, 4), 2
"""The paper's network."""
TIME = 500.0
SMALL = 64
"""Side of the first call's volume: the official network halves six times."""


class Job(NamedTuple):
    """What one process measures."""

    subject: str
    training: bool
    side: int
    channels: int
    weights: str
    """A safetensors file with a state dict under the official names."""
    official: str
    """A checkout of the official code; empty for none."""
    answer: str
    """Where to write what was answered; empty for nowhere."""


def make_weights(path: Path, channels: int) -> None:
    """Write weights under the official names, none of them zero, so that every layer takes part in the answer."""
    network = ours().build(channels, 1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator))
    save_file(_official_names(network), path)


def ours() -> UNet3dAverage:
    """Return the paper's network, before its weights exist."""
    from ddmkit_plugins.backbones.unet3d_avg import UNet3dAverage

    return UNet3dAverage(width=WIDTH, multipliers=MULTIPLIERS, blocks=BLOCKS)


def _official_names(network: nn.Module) -> dict[str, Tensor]:
    """Return a network's state under the official names, found by what the loader does with each."""
    from ddmkit_plugins.backbones.official_checkpoint import official_names

    names = official_names(network)
    return {names[name]: tensor.contiguous() for name, tensor in network.state_dict().items()}


def official(job: Job) -> Step:
    """Return the official code's network, trained as its training loop does (float32, AdamW, mean squared error)."""
    sys.path.insert(0, job.official)
    module = import_module("guided_diffusion.unet")
    network: nn.Module = module.UNetModel(
        image_size=job.side,
        in_channels=job.channels,
        model_channels=WIDTH,
        out_channels=1,
        num_res_blocks=BLOCKS,
        attention_resolutions=(),
        channel_mult=MULTIPLIERS,
        dims=3,
        num_groups=WIDTH,
        bottleneck_attention=False,
        resample_2d=False,
        additive_skips=True,
    )
    network.load_state_dict(load_file(job.weights))
    network.to(device())  # which returns nothing there
    return _plain(network, job, lambda x, t: network(x, timesteps=t - 1))


def monai(job: Job) -> Step:
    """Return MONAI's DiffusionModelUNet of the same widths, without attention but for the few voxels of its middle.

    Its skips are concatenated.
    """
    nets = import_module("monai.networks.nets")
    network: nn.Module = nets.DiffusionModelUNet(
        spatial_dims=3,
        in_channels=job.channels,
        out_channels=1,
        num_res_blocks=BLOCKS,
        channels=[WIDTH * multiplier for multiplier in MULTIPLIERS],
        attention_levels=[False] * len(MULTIPLIERS),
        norm_num_groups=WIDTH,
        num_head_channels=WIDTH,
    )
    return _plain(network.to(device()), job, network)


def ddmkit(job: Job) -> Step:
    """Return a session of the engine `single`; the subject's name says precision and way: ddmkit-bfloat16-slabs."""
    from ddmkit.configuration import Training
    from ddmkit.engine import Batch
    from ddmkit_plugins.engines.single import Single

    _, precision, way = job.subject.split("-")
    network: Any = ours().build(job.channels, 1)  # whose ways are replaced
    network.load_state_dict(ours().import_state(load_file(job.weights)))
    network.ways = lambda *_: (way,)
    engine = Single.model_validate({"precision": precision})
    session = engine.open(network, Training() if job.training else None)

    def evaluate(x: Tensor) -> Tensor:
        return session.predict(x.to(session.device), torch.full((1,), TIME, device=session.device))

    def learn(x: Tensor) -> None:
        batch = Batch(x, torch.full((1,), TIME), x[:, :1])
        session.step([batch], 1, lambda output, target: (output.float() - target).square().mean(), 1)

    return learn if job.training else evaluate


def _plain(network: nn.Module, job: Job, forward: Callable[[Tensor, Tensor], Tensor]) -> Step:
    """Evaluate or train a network as torch does."""
    place = device()
    times = torch.full((1,), TIME, device=place)

    @torch.no_grad()
    def evaluate(x: Tensor) -> Tensor:
        return forward(x.to(place), times)

    if not job.training:
        network.eval()
        return evaluate
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5)

    def learn(x: Tensor) -> None:
        optimizer.zero_grad()
        moved = x.to(place)
        loss = (forward(moved, times) - moved[:, :1]).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it so
        optimizer.step()

    return learn


def device() -> torch.device:
    """Return where everything is measured."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _volume(job: Job, side: int) -> Tensor:
    return torch.randn(1, job.channels, side, side, side, generator=torch.Generator().manual_seed(side))


def _synchronised() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    """Measure and print one JSON object."""
    job = Job(**json.loads(sys.argv[1]))
    if job.subject == "idle":
        import_module("ddmkit_plugins.engines.single_session")
        print(json.dumps({"seconds": 0.0, "peak": peak(device())}))
        return
    subjects: dict[str, Callable[[Job], Step]] = {"official": official, "monai": monai}
    step = subjects.get(job.subject, ddmkit)(job)
    step(_volume(job, SMALL))
    x = _volume(job, job.side)
    started = _synchronised()
    answer = step(x)
    seconds, most = _synchronised() - started, peak(device())
    if job.answer and answer is not None:
        save_file({"answer": answer.detach().float().cpu().contiguous()}, job.answer)
    print(json.dumps({"seconds": seconds, "peak": most}))


if __name__ == "__main__":
    main()
