"""What is compared by `benchmarks.recipe`: ways to train, as they are typed."""

from __future__ import annotations

from typing import NamedTuple

PLUS = "patchddm-plus"
PAPER = "patchddm"
SUPERVISED = "supervised"
"""A network of MONAI's, without diffusion, which is no command of ddmkit's."""


class Arm(NamedTuple):
    """One way to train."""

    words: tuple[str, ...]
    """After `ddmkit train`."""
    about: str


def _changed(about: str, *words: str) -> Arm:
    return Arm(("--preset", PLUS, *words), about)


MAIN: dict[str, Arm] = {
    PLUS: _changed("the preset"),
    SUPERVISED: Arm((), "MONAI's DynUNet, Dice + cross-entropy, the same windows, no diffusion"),
    PAPER: Arm(
        ("--preset", PAPER, "-o", "preprocessing.frame=native"),
        "the paper's preset, but volumes are not padded to 256³, which would be 64 times the work, and are sampled in "
        "as few steps as the others'",
    ),
}
ABLATION: dict[str, Arm] = {
    "group normalization": _changed("the paper's", "-o", "backbone.normalization=group"),
    "predict eps": _changed(
        "the paper's, and no Dice loss, which needs x_0", "-o", "diffusion.prediction=eps", "-o", "task.overlap=0"
    ),
    "predict v": _changed(
        "Salimans & Ho 2022, and no Dice loss", "-o", "diffusion.prediction=v", "-o", "task.overlap=0"
    ),
    "no Dice loss": _changed("squared error alone", "-o", "task.overlap=0"),
    "mask values 0 and 1": _changed("the paper's", "-o", "task.background=0"),
    "no averaged weights": _changed("the paper has none", "-o", "training.ema=null"),
    "constant rate": _changed(
        "the paper's, without warm-up", "-o", "training.decay=constant", "-o", "training.warmup=0"
    ),
    "no coordinates": _changed("windows do not know where they are", "--encoding", "none"),
    "uniform windows": _changed("not more often from the centre", "--patch", "uniform"),
    "foreground windows": _changed("as nnU-Net's, a third around the tumour", "--patch", "foreground"),
    "concatenated skips": _changed("the usual U-Net", "--backbone", "unet3d-concat"),
    "min-SNR weighting": _changed("Hang et al. 2023", "-o", "diffusion.weighting=min-snr"),
    "cosine schedule": _changed("Nichol & Dhariwal 2021", "--schedule", "cosine"),
}
"""One change at a time against the preset, and what cannot go without it."""
ARMS: dict[str, Arm] = {**MAIN, **ABLATION}
