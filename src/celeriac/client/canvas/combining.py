"""`|`: what two signatures make together. Neither is changed; what they make holds their parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celeriac.client.canvas.signature import Signature, SignatureLike, part

if TYPE_CHECKING:
    from celeriac.client.canvas.workflow import Workflow


def combine(left: Signature, right: SignatureLike) -> Workflow:
    """Return the chain of two signatures, or the chord that a group and what follows it are. Raises `TypeError`."""
    from celeriac.client.canvas.chain import chain
    from celeriac.client.canvas.workflow import Workflow

    steps = list(steps_of(left))
    add_step(steps, part(right, left._app))
    if len(steps) == 1 and isinstance(steps[0], Workflow):
        return steps[0]
    return chain.of(steps, left._app)


def steps_of(signature: Signature) -> list[Signature]:
    """Return the steps of a chain that says nothing besides them; anything else is one step."""
    from celeriac.client.canvas.chain import chain

    return signature.tasks if isinstance(signature, chain) and signature._is_bare() else [signature]


def add_step(steps: list[Signature], step: Signature) -> None:
    """Add a step to others: after a group it becomes the body of a chord, and after a chord a part of its body."""
    from celeriac.client.canvas.chain import chain
    from celeriac.client.canvas.chord import chord
    from celeriac.client.canvas.group import group

    last = steps[-1] if steps else None
    more = steps_of(step)
    if isinstance(last, group) and more:
        steps[-1] = chord(last, step, app=last._app)
    elif isinstance(last, chord) and last.body is not None and last._is_bare() and not isinstance(step, group | chain):
        steps[-1] = last.followed_by(step)
    else:
        steps += more
