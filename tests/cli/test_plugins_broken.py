"""Commands go on beside broken plugins, and tell of them."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from ddmkit.spelling import nearest
from ddmkit_cli.blaming import blame
from tests.cli.program import TINY, Run, refused, tiny_job
from tests.installing import install

BENT = '''
from typing import ClassVar

from ddmkit import Backbone, Component, hookimpl


class Bent(Backbone):
    """Answers with one plane less once it is trained, or once it is asked."""

    name: ClassVar[str] = "bent"
    in_training: ClassVar[bool] = {in_training}

    def build(self, in_channels: int, out_channels: int):
        return network(in_channels, out_channels, self.in_training)


class Straight(Bent):
    """Answers as it should."""

    name: ClassVar[str] = "straight"
    in_training: ClassVar[bool] = None


def network(in_channels, out_channels, in_training):
    from torch import nn

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv3d(in_channels, out_channels, 1)

        def forward(self, x, t):
            answer = self.layer(x)
            return answer[:, :, 1:] if self.training == in_training else answer

    return Network()


@hookimpl
def ddmkit_components() -> list[type[Component]]:
    return [Bent, Straight]
'''
TAKEN = '''
from typing import ClassVar

from ddmkit import hookimpl
from ddmkit_plugins.samplers.ddim import Ddim


class Other(Ddim):
    """Another one of the same name."""


@hookimpl
def ddmkit_components():
    return [Other]
'''


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that commands find packages in."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    return tmp_path / "site"


def test_training_goes_on_beside_packages_that_are_broken_and_each_is_named_once(
    site: Path, tmp_path: Path, ddmkit: Run
) -> None:
    install(site, "acme", TAKEN)
    install(site, "zenith", "import tensorpipe_that_nobody_has")
    result = ddmkit(*tiny_job("run", "-otraining.steps=1"))
    assert result.returncode == 0, result.stderr
    for package in ("acme", "zenith"):
        assert result.stderr.count(f"The plugin {package} (") == 1
    said = "has that name already; choose another name for it, or uninstall acme if it is not yours."
    assert said in " ".join(result.stderr.split())
    assert (tmp_path / "run/checkpoints/step-00000001").is_dir()


def _job(backbone: str) -> list[str]:
    keep = [option for option in TINY if "backbone." not in option and "picture" not in option]
    return ["train", "--backbone", backbone, "--patch", "center", "--run", "run", *keep]


@pytest.mark.parametrize("in_training", ["True", "False"], ids=["trained", "sampled"])
def test_a_backbone_of_a_wrong_shape_is_named_with_its_package(in_training: str, site: Path, ddmkit: Run) -> None:
    install(site, "acme", BENT.format(in_training=in_training))
    said = "The backbone 'bent' of acme 1.0 answers with shape"
    refused(ddmkit(*_job("bent")), 2, said, ", not (", "choose another --backbone")


def test_the_other_backbone_of_that_package_works(site: Path, ddmkit: Run) -> None:
    install(site, "acme", BENT.format(in_training="True"))
    result = ddmkit(*_job("straight"))
    assert result.returncode == 0, result.stderr


LOSING = """
from typing import ClassVar

from ddmkit import Sampler, hookimpl


class Losing(Sampler):
    '''Looks for what nobody put there, or gives back less than it was given.'''

    name: ClassVar[str] = "losing"

    def sample(self, denoise, noise, alphas_bar, draw):
        if noise.numel() > {most}:
            return {answer}
        return noise


@hookimpl
def ddmkit_components():
    return [Losing]
"""


NEEDING = '"needy"\n    keep: float'
"""Another name, and a setting without a default."""


def losing(answer: str, most: int = 0) -> str:
    """Return a package whose sampler loses its way over more numbers than so many."""
    return LOSING.replace("{answer}", answer).replace("{most}", str(most))


def test_a_sampler_that_fails_wherever_it_is_used_is_refused_before_a_run_begins(
    site: Path, ddmkit: Run, tmp_path: Path
) -> None:
    install(site, "acme", losing("noise[1:]"))
    refused(ddmkit(*tiny_job("run", "--sampler", "losing")), 2, "The sampler 'losing' of acme 1.0 answers sample()")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("answer", "status", "said", "gone"),
    [
        ("{}['x']", 1, "The code of acme 1.0 ends the command by KeyError: 'x' (in ", False),
        ("noise[1:]", 2, "The sampler 'losing' of acme 1.0 answers sample() with shape (0, 1, ", True),
    ],
    ids=["raises", "answers wrongly, then uninstalled"],
)
def test_a_sampler_that_fails_in_validation_is_named_and_the_run_goes_on_with_another(
    answer: str, status: int, said: str, *, gone: bool, site: Path, ddmkit: Run
) -> None:
    install(site, "acme", losing(answer, most=1000))
    result = ddmkit(*tiny_job("run", "--sampler", "losing"))
    assert result.returncode == status, result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"error: {said}")
    assert ("Traceback" in result.stderr) == (status == 1)  # which its author wants
    assert last.endswith("What was saved is whole; once this is mended, go on with: ddmkit train --resume run")
    if gone:
        shutil.rmtree(site)
        alone = ddmkit("train", "--resume", "run")
        refused(alone, 2, "it came with acme 1.0: pip install acme==1.0; or name another one, --sampler NAME")
    resumed = ddmkit("train", "--resume", "run", "--sampler", "ddim", "-osampler.steps=2")
    assert resumed.returncode == 0, resumed.stderr


def test_a_run_whose_sampler_is_gone_samples_and_goes_on_with_another_as_it_is_typed(
    site: Path, ddmkit: Run, tmp_path: Path
) -> None:
    install(site, "acme", losing("noise"))
    trained = ddmkit(*tiny_job("run", "--sampler", "losing", "-otraining.steps=1", "-ovalidation.test=false"))
    assert trained.returncode == 0, trained.stderr
    shutil.rmtree(site)
    sampling = ["sample", "run", "--input", next((tmp_path / "phantom").iterdir()), "--split", "test", "--out", "out"]
    refused(ddmkit(*sampling), 2, "pip install acme==1.0; or name another one, --sampler NAME")
    sampled = ddmkit(*sampling, "--sampler", "ddim", "--steps", "2")
    assert sampled.returncode == 0, sampled.stderr
    assert list((tmp_path / "out").glob("*_seg.nii.gz"))
    install(site, "zenith", losing("noise").replace('"losing"', NEEDING))
    resumed = ddmkit("train", "--resume", "run", "--sampler", "needy", "-osampler.keep=0.5", "-otraining.steps=2")
    assert resumed.returncode == 0, resumed.stderr


ASKING = """
from ddmkit.spelling import nearest


def fail():
    return {}["x"]


def ask():
    return nearest(None, ["x"])
"""


@pytest.fixture
def imported(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Import what is installed in the test's own folder, and forget it afterwards."""
    monkeypatch.syspath_prepend(site)
    yield import_module
    for name in [name for name in sys.modules if name.partition(".")[0] in {"acme", "zenith"}]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("fail", r"^The code of acme 1\.0 ends the command by KeyError: 'x' \(in \S+/acme\.py, line 6\): go on "),
        (
            "ask",
            r"^The code of acme 1\.0 asked ddmkit for what ends the command by \w+: .* \(in \S+/acme\.py, line 10\): ",
        ),
    ],
)
def test_what_a_plugin_gets_wrong_is_told_from_what_goes_wrong_below_it(
    function: str, said: str, site: Path, imported: Callable[[str], ModuleType]
) -> None:
    install(site, "acme", ASKING)
    with pytest.raises((KeyError, TypeError)) as raised:
        getattr(imported("acme"), function)()
    assert re.match(said, blame(raised.value))


def test_of_packages_that_share_a_namespace_the_one_whose_code_it_is_is_named(
    site: Path, imported: Callable[[str], ModuleType]
) -> None:
    for part in ("one", "two"):
        (site / "zenith" / part).mkdir(parents=True)
        install(site, f"zenith-{part}", ASKING, module=f"zenith/{part}/hooks", value=f"zenith.{part}.hooks")
    for part in ("one", "two"):
        with pytest.raises(KeyError) as raised:
            imported(f"zenith.{part}.hooks").fail()
        said = blame(raised.value)
        assert said.startswith(f"The code of zenith-{part} 1.0 ends the command by KeyError: 'x' (in ")
        assert said.endswith(f" ddmkit plugins check zenith-{part}.")


def test_a_mistake_of_ddmkit_s_own_is_no_plugin_s(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(site, "acme", ASKING)
    monkeypatch.syspath_prepend(site)
    with pytest.raises(TypeError) as raised:
        nearest(None, ["x"])  # type: ignore[arg-type]  # which is the mistake
    assert not blame(raised.value)
