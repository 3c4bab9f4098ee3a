"""What type checkers know of signatures: what one takes from the step before, what it gives, and what sending it returns.

`In` is what it takes, `Never` for a call that is complete; `Out` its value; `Sent` what `apply_async` returns.  At run time nothing
of it is there but the names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    from typing_extensions import TypeVar as DefaultedTypeVar  # type checkers have it, programs need it not

    # Covariant, so that the type of a list of signatures is found; what may follow what is asked of a `Step`.
    In = DefaultedTypeVar("In", covariant=True, default=Any)
    Out = DefaultedTypeVar("Out", covariant=True, default=Any)
    Sent = DefaultedTypeVar("Sent", covariant=True, default=Any)
    V_co = TypeVar("V_co", covariant=True)

    Taken_contra = TypeVar("Taken_contra", contravariant=True)
    Given_co = TypeVar("Given_co", covariant=True)
    Sent_co = TypeVar("Sent_co", covariant=True)

    class Step(Protocol[Taken_contra, Given_co, Sent_co]):
        """A signature that can stand behind one that gives `Taken`."""

        def _takes(self, value: Taken_contra, /) -> None: ...
        def _gives(self) -> Given_co: ...
        def _sends(self) -> Sent_co: ...

    class Member(Protocol[Taken_contra, Given_co]):
        """A signature as a member of a group or a header: a group in it gives way to its members."""

        def _takes(self, value: Taken_contra, /) -> None: ...
        def _adds(self) -> Given_co: ...

    class Values(list[V_co]):  # type: ignore[type-var]  # a list that nobody else holds can be one of wider items
        """The list of a group's values: fits where a list of wider items is taken."""

    class Bodiless(list[V_co]):  # type: ignore[type-var]  # see above
        """What a chord without a body has to send: nothing, yet; its body takes these values."""

    class Plain(Protocol):
        """A dict that came from JSON: one that is no signature, which has no `__reversed__` to type checkers."""

        def __reversed__(self) -> Iterator[str]: ...
        def __getitem__(self, key: str, /) -> Any: ...

else:
    In, Out, Sent = TypeVar("In"), TypeVar("Out"), TypeVar("Sent")
