"""Where one stage of a network meets the next: states go onward, gradients come back.

Nothing that is sent is kept for its gradient, and a gradient is fetched when the way back comes to it, see
`ddmkit.stages`: of a U-Net all skips pass a cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddmkit_plugins.engines.distributed.channel import Channel, Form, Pending, receive_forms, send_forms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ddmkit.stages import State
    from ddmkit_plugins.engines.distributed.world import World


class Boundary:
    """What a stage exchanges with those before and after it.

    Args:
        world: all processes.
        rows: how many there are; the stages of a row are so many processes apart.
    """

    def __init__(self, world: World, rows: int) -> None:
        self._before, self._after, self._world = world.rank - rows, world.rank + rows, world
        direct = world.device.type == "cpu" or world.speaks_nccl
        self._onward, self._backward = (
            Channel(group, world.device, direct=direct) for group in (world.onward, world.backward)
        )
        self._owed = Pending()

    def send(self, state: State) -> Pending:
        """Begin to send a state to the stage after."""
        pending = Pending()
        send_forms(state, self._after, pending, self._world.control)
        for tensor in state:
            self._onward.send(tensor, self._after, pending)
        return pending

    def receive(self) -> list[Tensor]:
        """Return the state that the stage before sends."""
        forms = receive_forms(self._before, self._world.control)
        return [self._onward.receive(form, self._before) for form in forms]

    def fetching(self, forms: Sequence[Form]) -> Fetching:
        """Return what fetches the gradients in a state, of such forms, from the stage after."""
        return Fetching(self._backward, self._after, forms)

    def send_gradients(self, gradients: dict[int, Tensor], forms: Sequence[Form]) -> None:
        """Begin to send the gradients in a state to the stage before, in the order in which it will fetch them."""
        self._owed.wait()  # which is done as soon as the stage before has been through its way back
        for index in reversed(range(len(forms))):
            gradient = gradients.pop(index, None)
            form = forms[index]
            found = form.empty(self._world.device).zero_() if gradient is None else form.laid_out(gradient)
            self._backward.send(found, self._before, self._owed)

    def settle(self) -> None:
        """Wait until all has arrived."""
        self._owed.wait()


class Fetching:
    """Fetches the gradients in a state that was sent: they come from the last tensor to the first."""

    def __init__(self, channel: Channel, sender: int, forms: Sequence[Form]) -> None:
        self._channel, self._sender, self._forms = channel, sender, forms
        self._coming = list(range(len(forms)))
        self._came: dict[int, Tensor] = {}

    def __call__(self, index: int) -> Tensor:
        """Return the gradient in the tensor at a place of the state."""
        while index not in self._came:
            self._receive()
        return self._came.pop(index)

    def finish(self) -> None:
        """Receive what no one fetched."""
        while self._coming:
            self._receive()
        self._came.clear()

    def _receive(self) -> None:
        index = self._coming.pop()
        self._came[index] = self._channel.receive(self._forms[index], self._sender)
