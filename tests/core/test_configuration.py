"""A configuration: complete, assembled in an order of precedence, and refused in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import yaml
from pydantic import Field
from tests.core.conftest import Foreground, sentence
from typing_extensions import override

from ddmkit import (
    Backbone,
    Component,
    ConfigurationError,
    Registry,
    UnknownComponentError,
    Window,
    hookimpl,
)
from ddmkit.assembly import assemble, build, component, make, read_tree, write_tree
from ddmkit.configuration import INTERFACES, Configuration, Split, Training
from ddmkit.preprocessing import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from ddmkit import Shape

    Configured = Callable[..., Configuration]
    Tree = dict[str, Any]


class Wide(Backbone):
    """Another network, some of whose settings have the names of tiny's."""

    name: ClassVar[str] = "wide"
    width: int = Field(default=64, ge=1, description="Channels.")
    depth: int = Field(default=2, ge=1, description="Levels.")

    @override
    def build(self, in_channels: int, out_channels: int) -> nn.Module:
        raise NotImplementedError


class Needy(Wide):
    """A network that has to be told its depth."""

    name: ClassVar[str] = "needy"
    depth: int = Field(description="Levels.")


class Wordless(Foreground):
    """A task that answers with no class."""

    name: ClassVar[str] = "wordless"

    @property
    @override
    def answers(self) -> tuple[str, ...]:
        return ()


class _Backbones:
    @hookimpl
    def ddmkit_components(self) -> list[type[Component]]:
        return [Wide, Needy, Wordless]


@pytest.fixture
def registry(parts: object) -> Registry:
    return Registry(parts, _Backbones())


@pytest.fixture
def tree(configured: Configured) -> Tree:
    return configured().tree()


def backbone(configuration: Configuration) -> Wide:
    assert isinstance(configuration.backbone, Wide)
    return configuration.backbone


def test_a_configuration_written_as_yaml_is_read_back_the_same(configured: Configured, registry: Registry) -> None:
    configuration = configured(
        "training.learning_rate=1e-5",
        "training.betas=0.8,0.99",
        "preprocessing.frame=16,16,16",
        "preprocessing.spacing=1,1,1.5",
        "patch.sides=1,2,3",
    )
    assert build(registry, yaml.safe_load(write_tree(configuration.tree()))) == configuration


def test_a_path_and_numbers_of_any_size_survive_yaml(configured: Configured, registry: Registry, tree: Tree) -> None:
    tree |= {"data": "/somewhere/müller 1", "seed": 2**40, "training": {"learning_rate": 1.25e-300}}
    configuration = build(registry, tree)
    again = build(registry, yaml.safe_load(write_tree(configuration.tree())))
    assert again == configuration
    assert (again.data, again.seed, again.training.learning_rate) == (Path("/somewhere/müller 1"), 2**40, 1.25e-300)
    assert again != configured()


def test_a_configuration_names_every_kind_and_every_setting(tree: Tree) -> None:
    assert {interface.kind for interface in INTERFACES} <= tree.keys()
    assert {*Configuration.model_fields} == {*tree}
    for name, section in Configuration.SECTIONS.items():
        assert {*tree[name]} == {*section.model_fields}
    assert tree["backbone"] == {"name": "tiny", "width": 4}


def test_a_configuration_file_is_read(tmp_path: Path, configured: Configured, registry: Registry, tree: Tree) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(write_tree(tree), encoding="utf-8")
    assert build(registry, read_tree(path)) == configured()


def test_files_come_over_a_preset_names_over_files_and_options_over_all(registry: Registry, tree: Tree) -> None:
    tree |= {"training": {"steps": 1, "batch_size": 1, "warmup": 1}}
    file = {"training": {"batch_size": 2, "warmup": 2}, "backbone": {"name": "wide", "width": 2, "depth": 2}}
    configuration = assemble(
        registry, base=[tree, file], names={"backbone": "tiny"}, options=["training.warmup=3", "backbone.width=3"]
    )
    training = configuration.training
    assert (training.steps, training.batch_size, training.warmup) == (1, 2, 3)
    assert configuration.backbone.tree() == {"name": "tiny", "width": 3}


def test_the_trees_that_are_given_stay_as_they_are(registry: Registry, tree: Tree) -> None:
    before = write_tree(tree)
    assemble(
        registry, base=[tree, {"training": {"steps": 2}}], names={"backbone": "wide"}, options=["engine.micro_batch=1"]
    )
    assert write_tree(tree) == before


def test_another_name_keeps_the_settings_that_both_have(registry: Registry, tree: Tree) -> None:
    to_wide = backbone(assemble(registry, base=[tree], names={"backbone": "wide"}))
    assert (to_wide.width, to_wide.depth) == (4, 2)
    wide = {**tree, "backbone": {"name": "wide", "width": 8, "depth": 5}}
    to_tiny = assemble(registry, base=[wide], names={"backbone": "tiny"})
    assert to_tiny.backbone.tree() == {"name": "tiny", "width": 8}
    in_a_file = backbone(assemble(registry, base=[tree, {"backbone": "wide"}]))
    assert (in_a_file.width, in_a_file.depth) == (4, 2)


def test_the_same_name_again_keeps_every_setting(registry: Registry, tree: Tree) -> None:
    wide = {**tree, "backbone": {"name": "wide", "width": 8, "depth": 5}}
    same = backbone(assemble(registry, base=[wide], names={"backbone": "wide"}))
    assert (same.width, same.depth) == (8, 5)


def test_settings_may_come_before_the_name_they_belong_to(registry: Registry, tree: Tree) -> None:
    del tree["backbone"]
    chosen = backbone(assemble(registry, base=[tree, {"backbone": {"depth": 7}}], names={"backbone": "wide"}))
    assert chosen.depth == 7
    with pytest.raises(ConfigurationError, match="dept is no setting"):
        assemble(registry, base=[tree, {"backbone": {"dept": 7}}], names={"backbone": "wide"})


def test_an_option_may_name_a_component(configured: Configured) -> None:
    assert backbone(configured("backbone.name=wide", "backbone.depth=3")).depth == 3


def test_members_that_say_no_class_are_only_averaged(registry: Registry, tree: Tree) -> None:
    names = {"task": "wordless"}
    assert assemble(registry, base=[tree], names=names).sampling.combine == "mean"
    with pytest.raises(ConfigurationError) as error:
        assemble(registry, base=[tree], names=names, options=["sampling.combine=vote"])
    assert "the task 'wordless' answers with none: type -o sampling.combine=mean" in sentence(error)


def test_an_ensemble_that_decides_its_size_is_written_and_read_again(configured: Configured) -> None:
    sampling = configured("sampling.ensemble=auto", "sampling.most=9").sampling
    assert (sampling.ensemble, sampling.members) == ("auto", 9)
    assert type(sampling).model_validate(sampling.model_dump(mode="json")) == sampling
    assert configured("sampling.ensemble=4", "sampling.most=9").sampling.members == 4


def test_an_unknown_component_is_answered_with_the_nearest_and_the_list(registry: Registry, tree: Tree) -> None:
    with pytest.raises(UnknownComponentError) as error:
        assemble(registry, base=[tree], names={"backbone": "wied"})
    assert sentence(error) == "No backbone is named 'wied'. Did you mean 'wide'? Installed: needy, tiny, wide."


def test_a_kind_that_nothing_names_is_asked_for(registry: Registry, tree: Tree) -> None:
    del tree["encoding"]
    with pytest.raises(ConfigurationError) as error:
        build(registry, tree)
    assert sentence(error) == "The configuration names no encoding: add --encoding NAME, or start from a --preset."
    with pytest.raises(ConfigurationError) as error:
        assemble(registry, base=[tree], options=["encoding.width=3"])
    assert "no encoding is chosen; add --encoding NAME." in sentence(error)


def test_a_setting_without_default_is_asked_for(registry: Registry, tree: Tree) -> None:
    with pytest.raises(ConfigurationError) as error:
        assemble(registry, base=[tree], names={"backbone": "needy"})
    assert sentence(error) == "backbone.depth has no default: add -o backbone.depth=VALUE."


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ({"trainning": {"steps": 3}}, "trainning is no setting. Did you mean 'training'?"),
        ({"training": None}, "training must be a mapping of settings to values, not None."),
        ({"training": {1: 2}}, "training.1 is no setting."),
        ({1: 2}, "1 is no setting."),
        ({"backbone": {"name": 5}}, "The backbone must have a name"),
        ({"backbone": [1]}, "The backbone must have a name"),
        ({"seed": -1}, "seed=-1: Input should be greater than or equal to 0."),
        ({"seed": "x"}, "seed='x': Input should be a valid integer"),
    ],
)
def test_a_wrong_file_is_one_sentence(registry: Registry, tree: Tree, layer: Tree, said: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        assemble(registry, base=[tree, layer])
    assert said in sentence(error)


@pytest.mark.parametrize("content", ["a: [1", "- a\n- b\n", "", "\x00", "when: 2020-13-45"])
def test_a_file_that_is_no_configuration_is_one_sentence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError) as error:
        read_tree(path)
    assert str(path) in sentence(error)


def test_where_a_file_is_no_yaml_is_said(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("seed: 3\ntraining: {steps: 1\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"it is not YAML from line 3, column 1 on \(expected ',' or '}'"):
        read_tree(path)


def test_a_file_of_another_program_is_named_with_what_gives_it_away(tmp_path: Path) -> None:
    path = tmp_path / "ds.json"
    path.write_text('{"zero_optimization": {"stage": 2}}', encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"In the configuration .*ds\.json, zero_optimization is no setting\."):
        read_tree(path)


def test_a_setting_of_another_component_is_answered_with_its_name(registry: Registry, tree: Tree) -> None:
    with pytest.raises(ConfigurationError) as error:
        assemble(registry, base=[tree], options=["backbone.depth=2"])
    said = "backbone.depth is no setting of tiny. It is one of needy, wide: add --backbone needy. Settings: width."
    assert sentence(error) == said


def test_a_missing_or_binary_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    for name in ("a.yaml", "b.yaml"):
        with pytest.raises(ConfigurationError) as error:
            read_tree(tmp_path / name)
        assert name in sentence(error)


def test_a_runs_folder_stands_for_its_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"config\.yaml: No such file or directory\.$"):
        read_tree(tmp_path)
    (tmp_path / "config.yaml").write_text("seed: 3\n", encoding="utf-8")
    assert read_tree(tmp_path) == {"seed": 3}


def test_yaml_builds_nothing_but_plain_values(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("data: !!python/object/apply:os.getcwd []\n", encoding="utf-8")
    with pytest.raises(ConfigurationError):
        read_tree(path)


def test_settings_are_frozen(configured: Configured) -> None:
    with pytest.raises(ValueError, match="frozen"):
        configured().training.steps = 3  # type: ignore[misc]  # that is what is tested


@pytest.mark.parametrize(
    ("frame", "sides", "start", "size", "whole"),
    [
        ("native", "6,5,4", (0, 0, 0), (10, 12, 9), (10, 12, 9)),
        ("native", "6,20,4", (0, 0, 0), (10, 20, 9), (10, 20, 9)),
        ("16,8,9", "6,5,4", (0, 0, 0), (16, 12, 9), (16, 12, 9)),
        ("16,8,9", "3,20,3", (0, 0, 0), (16, 20, 9), (16, 20, 9)),
        ("paper", "6,5,4", (0, 0, 0), (256, 256, 256), (256, 256, 256)),
        # The volume begins behind 123, 122 and 123 voxels, the brain behind 2, 3 and 1 more.
        ("brain", "6,5,4", (125, 125, 124), (7, 6, 5), (256, 256, 256)),
        ("brain", "10,5,5", (124, 125, 124), (10, 6, 5), (256, 256, 256)),
        ("brain", "300,5,4", (0, 125, 124), (300, 6, 5), (300, 256, 256)),
    ],
)
def test_windows_are_taken_from_the_frame_asked_for_which_grows_with_a_window(
    configured: Configured, frame: str, sides: str, start: Shape, size: Shape, whole: Shape
) -> None:
    configuration = configured(f"preprocessing.frame={frame}", f"patch.sides={sides}")
    assert configuration.region_of(Window((2, 3, 1), (7, 6, 5), (10, 12, 9))) == Window(start, size, whole)


def test_the_networks_channels_are_those_of_condition_encoding_and_x0(configured: Configured) -> None:
    assert (configured().in_channels, configured().out_channels) == (2 + 1 + 1, 1)


def test_a_component_is_built_from_a_name_and_options_over_it(registry: Registry) -> None:
    made = component(registry, Backbone, {"name": "wide", "width": 8, "depth": 5}, ["backbone.depth=7"])
    assert made.tree() == {"name": "wide", "width": 8, "depth": 7}
    with pytest.raises(ConfigurationError, match="dept is no setting"):
        component(registry, Backbone, "wide", ["backbone.dept=7"])


def test_defaults_are_the_papers() -> None:
    training = make(Training, "training", {})
    assert (training.learning_rate, training.batch_size, training.betas) == (1e-5, 1, (0.9, 0.999))
    preprocessing = make(Preprocessing, "preprocessing", {})
    assert (preprocessing.percentiles, preprocessing.spacing) == ((1, 99), None)
    assert preprocessing.padded((240, 240, 155)) == (256, 256, 256)
    assert preprocessing.orientation == "LPS"  # of BraTS's files, which are thus left as they are
    split = make(Split, "split", {})
    assert [round(369 * share) for share in (split.validation, split.test)] == [37, 37]
