"""What is typed after -o: read as a user means it, or refused in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest
from pydantic import Field
from tests.core.conftest import Tiny, sentence

from ddmkit import Backbone, Component, ConfigurationError, Registry, UnknownComponentError, hookimpl
from ddmkit.assembly import component

if TYPE_CHECKING:
    from collections.abc import Callable

    from ddmkit.configuration import Configuration

    Configured = Callable[..., Configuration]


class Listing(Tiny):
    """A network that is told several things."""

    name: ClassVar[str] = "listing"
    words: tuple[str, ...] = Field(default=(), description="Words.")
    pair: tuple[int, int] = Field(default=(1, 2), description="Two numbers.")
    levels: list[int] | None = Field(default=None, description="Numbers.")
    rows: tuple[tuple[int, ...], ...] = Field(default=(), description="Rows of numbers.")


class _Listing:
    @hookimpl
    def ddmkit_components(self) -> list[type[Component]]:
        return [Listing]


@pytest.fixture
def registry(parts: object) -> Registry:
    return Registry(parts, _Listing())


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (
            "backbone=tinny",
            (
                "-o backbone=tinny: No backbone is named 'tinny'. Did you mean 'tiny'? Installed: listing, tiny. "
                "Choose by --b"
            ),
        ),
        (
            "backbone=listing",
            (
                "-o backbone=listing sets nothing: choose listing by --backbone listing, and its settings by "
                "-o KIND.FIELD=VALUE"
            ),
        ),
        (" patch = box", "-o  patch = box sets nothing: choose box by --patch box, and "),
        ("tracker=tensorbord", "-o tracker=tensorbord: No tracker is named 'tensorbord'. Installed: none. "),
    ],
)
def test_a_name_given_for_a_setting_is_answered_with_how_components_are_chosen(
    configured: Configured, option: str, said: str
) -> None:
    with pytest.raises(ConfigurationError) as error:
        configured(option)
    assert str(error.value).startswith(said)


def test_a_name_that_nothing_has_is_an_unknown_component_wherever_it_is_typed(registry: Registry) -> None:
    with pytest.raises(UnknownComponentError, match="Did you mean 'listing'"):
        component(registry, Backbone, "tiny", ["backbone=listin"])


@pytest.mark.parametrize("option", ["training=5", "backbone=", "backbone", "=tiny"])
def test_what_names_no_component_is_answered_with_what_an_option_looks_like(
    configured: Configured, option: str
) -> None:
    with pytest.raises(ConfigurationError, match=r"^-o takes KIND\.FIELD=VALUE, such as "):
        configured(option)


@pytest.mark.parametrize(
    ("option", "field", "value"),
    [
        ("words=t1", "words", ("t1",)),
        ("words=t1,t2", "words", ("t1", "t2")),
        ("words=[]", "words", ()),
        ("levels=3", "levels", [3]),
        ("levels=null", "levels", None),
    ],
)
def test_one_word_stands_for_a_list_of_it(registry: Registry, option: str, field: str, value: object) -> None:
    made = component(registry, Backbone, "listing", [f"backbone.{option}"])
    assert getattr(made, field) == value


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("pair=3", r"backbone\.pair=3: it should be a list, which is typed a,b,c\."),
        ("words={a: 1}", r"backbone\.words=\{'a': 1\}: it should be a list"),
        ("levels=three", r"backbone\.levels='three': it should be a list"),
        ("rows=1,2", r"backbone\.rows=1: it should be a list"),
    ],
)
def test_what_makes_no_list_by_itself_is_refused_as_it_was_typed(registry: Registry, option: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{said}"):
        component(registry, Backbone, "listing", [f"backbone.{option}"])


def test_the_last_of_two_options_wins(configured: Configured) -> None:
    assert configured("training.steps=5", "training.steps=6").training.steps == 6


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("training.learning_rate=1e-4", 1e-4),  # a string in YAML 1.1, which wants 1.0e-4
        ("training.learning_rate=1E-4", 1e-4),
        ("training.learning_rate=0.0001", 1e-4),
        ("training.betas=0.9,1e-1", (0.9, 0.1)),
        ("training.betas=[0.9, 0.1]", (0.9, 0.1)),
        ("training.ema=null", None),
        ("training.ema=", None),
        ("training.decay=cosine", "cosine"),
        ("training.decay='cosine'", "cosine"),
        ("training.steps=12", 12),
        ("validation.test=true", True),
        ("preprocessing.frame=256,256,160", (256, 256, 160)),
        (" preprocessing.frame=1, 2, 3", (1, 2, 3)),
        ("preprocessing.frame=brain", "brain"),
        ("preprocessing.orientation=ras", "RAS"),
        ("preprocessing.orientation=null", None),
        ("preprocessing.spacing=1,1,1.5", (1, 1, 1.5)),
    ],
)
def test_an_option_is_read_as_a_user_means_it(configured: Configured, option: str, value: object) -> None:
    section, field = option.strip().partition("=")[0].split(".")
    assert getattr(getattr(configured(option), section), field) == value


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("training.stepz=3", "training.stepz is no setting. Did you mean 'steps'? Settings: steps, batch_size,"),
        ("backbone.wdith=3", "backbone.wdith is no setting of tiny. Did you mean 'width'? Settings: width."),
        ("trainin.steps=3", "there is no 'trainin' to set. Did you mean 'training'? Known: task, dataset,"),
        ("steps=3", "-o takes KIND.FIELD=VALUE, such as -o training.steps=500; you gave 'steps=3'."),
        ("training.steps", "-o takes KIND.FIELD=VALUE"),
        ("training.=3", "-o takes KIND.FIELD=VALUE"),
        ("training.steps=0", "training.steps=0: Input should be greater than or equal to 1. (Optimizer steps.)"),
        ("training.steps=many", "training.steps='many': Input should be a valid integer"),
        ("training.betas=0.9,1", "training.betas=1: Input should be less than 1"),
        ("training.betas=0.9", "training.betas=0.9: it should be a list, which is typed a,b,c."),
        ("training.betas=[0.9]", "training.betas=[0.9]: a value is missing."),
        ("training.decay=linear", "training.decay='linear': Input should be 'constant' or 'cosine'."),
        ("training.steps=[1", "the value is not YAML"),
        ("training.steps=2020-13-45", "the value is not YAML"),
        ("backbone.name=", "The backbone must have a name"),
        ("preprocessing.frame=big", "preprocessing.frame='big': Input should be 'paper', 'brain' or 'native'. ("),
        ("preprocessing.frame=0,1,2", "preprocessing.frame=[0, 1, 2]: Input should be"),
        ("preprocessing.orientation=LPX", "orientation 'LPX' does not say where three axes run to: give one letter of"),
        ("preprocessing.orientation=LRS", "orientation 'LRS' does not say"),
        ("preprocessing.spacing=0,1,1", "preprocessing.spacing=0: Input should be greater than 0."),
        ("preprocessing.spacing=.inf,1,1", "preprocessing.spacing=inf: Input should be a finite number."),
        ("loading.threads=0", "loading.threads=0: Input should be greater than or equal to 1."),
        ("split.method=random", "split.method='random': Input should be 'seeded' or 'official'."),
        ("preprocessing.percentiles=99,1", "preprocessing: percentiles 99 and 1 leave nothing between them"),
        ("preprocessing.percentiles=0,101", "preprocessing.percentiles=101: Input should be less than or equal to 100"),
        ("sampler.steps=51", "sampler.steps=51 is more than schedule.timesteps=50, and each step needs a time"),
    ],
)
def test_a_wrong_option_is_one_sentence(configured: Configured, option: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        configured(option)
    assert said in sentence(error)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("preprocessing.frame=64", (64, 64, 64)),
        ("preprocessing.frame=64,32,16", (64, 32, 16)),
        ("preprocessing.frame=paper", "paper"),
        ("preprocessing.spacing=1.5", (1.5, 1.5, 1.5)),
        ("preprocessing.spacing=null", None),
    ],
)
def test_one_number_stands_for_all_three_axes(configured: Configured, option: str, value: object) -> None:
    field = option.partition("=")[0].partition(".")[2]
    assert getattr(configured(option).preprocessing, field) == value


@pytest.mark.parametrize("option", ["preprocessing.frame=true", "preprocessing.frame=0", "preprocessing.spacing=-1"])
def test_what_is_no_length_is_none_for_three_axes_either(configured: Configured, option: str) -> None:
    with pytest.raises(ConfigurationError, match=option.partition("=")[0]):
        configured(option)
