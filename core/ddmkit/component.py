"""What every plugin part is: frozen settings that know how to act."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Frozen options; an option that does not exist is an error, not a shrug."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Component(Settings):
    """One plugin part: its fields are its options, its docstring is its help.

    A component never changes after it is made, so the same one serves training,
    sampling and a saved run; state goes into its methods and comes out of them.
    """

    kind: ClassVar[str]
    """The family, set once by an interface such as `Schedule`."""
    name: ClassVar[str]
    """What a user types to select this component: small letters, digits and single hyphens, a letter first."""

    @classmethod
    def option_prefix(cls) -> str:
        """Return what stands before the names of its settings where a user types them."""
        return cls.kind

    def tree(self) -> dict[str, Any]:
        """Return the name and every setting as plain values, ready for YAML."""
        return {"name": self.name, **self.model_dump(mode="json")}
