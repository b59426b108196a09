"""One device: other arithmetic and layouts, and devices that cannot calculate so."""

from __future__ import annotations

import pytest
import torch
from tests.plugins.engines.stepping import batch, do_steps, make_network, open_cpu, training

from ddmkit import arithmetic
from ddmkit.configuration import Training

pytestmark = pytest.mark.usefixtures("bfloat16_is_trained")


@pytest.mark.parametrize(
    "settings", [{"precision": "bfloat16"}, {"channels_last": True}, {"precision": "bfloat16", "channels_last": True}]
)
def test_other_arithmetic_and_layout_give_nearly_the_same_from_float32_weights(
    settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arithmetic, "multiplies_bfloat16", lambda _: True)
    networks = make_network(), make_network()
    plain, other = open_cpu(networks[0], training()), open_cpu(networks[1], training(), **settings)
    tolerance = 0.03 if "precision" in settings else 1e-5
    assert do_steps(other, 1, 3) == pytest.approx(do_steps(plain, 1, 3), rel=tolerance)
    found, expected = (session.predict(batch(0).inputs, batch(0).times) for session in (other, plain))
    assert found.dtype == torch.float32
    assert torch.allclose(found, expected, atol=tolerance)
    assert not torch.equal(found, expected) or "precision" not in settings
    assert {weight.dtype for weight in networks[1].parameters()} == {torch.float32}


def test_a_device_without_bfloat16_calculates_in_float32_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(arithmetic, "multiplies_bfloat16", lambda _: False)
    lowered, plain = open_cpu(make_network(), precision="bfloat16"), open_cpu(make_network())
    assert caplog.messages == ["cpu does not calculate in bfloat16: float32 is used instead."]
    x, t, _ = batch(1)
    assert torch.equal(lowered.predict(x, t), plain.predict(x, t))


@pytest.mark.parametrize(("tiles", "training"), [(True, True), (True, False), (False, True)])
def test_bfloat16_is_not_trained_where_torchs_gradients_are_wrong(
    *, tiles: bool, training: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(arithmetic, "multiplies_bfloat16", lambda _: True)
    monkeypatch.setattr(arithmetic, "multiplies_tiles", lambda: tiles)
    session = open_cpu(make_network(), Training() if training else None, precision="bfloat16")
    told = [message for message in caplog.messages if message.endswith("(AMX): float32 is used instead.")]
    assert len(told) == (tiles and training)
    x, t, _ = batch(1)
    widened = torch.equal(session.predict(x, t), open_cpu(make_network()).predict(x, t))
    assert widened == (tiles and training)


def test_a_device_with_bfloat16_says_nothing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(arithmetic, "multiplies_bfloat16", lambda _: True)
    open_cpu(make_network(), precision="bfloat16")
    assert not caplog.messages
