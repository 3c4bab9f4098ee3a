"""Breadth-first search through every state of a small model: the shortest way to what must not be, or the proof that there is none."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

S = TypeVar("S", bound=Hashable)


class Step(NamedTuple, Generic[S]):
    """One thing that may happen in a state."""

    name: str
    after: S
    is_fault: bool = False
    """What nobody may rely on to happen: it is no part of a way to the end."""


StateRule = Callable[[S], bool]
StepRule = Callable[[S, str, S], bool]


class Finding(NamedTuple):
    """A rule that does not hold, and the shortest way to where it does not."""

    rule: str
    trace: tuple[str, ...]
    """The names of the steps, then the state."""

    def __str__(self) -> str:
        return f"{self.rule} does not hold after\n  " + "\n  ".join(self.trace)


class Explored(NamedTuple):
    """What a search has found."""

    states: int
    finding: Finding | None


class Explorer(Generic[S]):
    """Searches one model.

    1. Visits every state that can be reached, each once, by the fewest steps.
    2. Looks whether each rule holds in each state, or over each step.
    3. Looks at last whether from each state the end can be reached by steps that are no faults.
    """

    def __init__(
        self,
        steps: Callable[[S], Iterable[Step[S]]],
        *,
        state_rules: Sequence[StateRule[S]],
        step_rules: Sequence[StepRule[S]],
        can_end: tuple[str, Callable[[S], bool]],
        most_states: int,
    ) -> None:
        """`can_end`: the name of the third duty's rule, and what the end is. More than `most_states` is an error of the model."""
        self._steps = steps
        self._state_rules = state_rules
        self._step_rules = step_rules
        self._can_end = can_end
        self._most_states = most_states
        self._states: list[S] = []
        self._origins: list[tuple[int, str]] = []
        """Of each state, the number of the one before it, and the step in between."""

    def explore(self, initial: S) -> Explored:
        """Search from this state; may be called again."""
        states, origins = self._states, self._origins = [initial], [(-1, "")]
        numbers = {initial: 0}
        before: list[list[int]] = [[]]
        """Of each state, those from which a step that is no fault leads to it."""
        for number, state in enumerate(states):  # which grows meanwhile
            for state_rule in self._state_rules:
                if not state_rule(state):
                    return self._found(state_rule.__name__, number)
            for step in self._steps(state):
                for step_rule in self._step_rules:
                    if not step_rule(state, step.name, step.after):
                        return self._found(step_rule.__name__, number, step)
                then = numbers.setdefault(step.after, len(states))
                if then == len(states):
                    states.append(step.after)
                    origins.append((number, step.name))
                    before.append([])
                    if len(states) > self._most_states:
                        raise RuntimeError(f"the model has more than {self._most_states} states: bound it")
                if not step.is_fault:
                    before[then].append(number)
        return self._look_for_stuck(before)

    def _look_for_stuck(self, before: list[list[int]]) -> Explored:
        rule, is_end = self._can_end
        ends = [number for number, state in enumerate(self._states) if is_end(state)]
        leads_on = set(ends)
        while ends:
            for number in before[ends.pop()]:
                if number not in leads_on:
                    leads_on.add(number)
                    ends.append(number)
        stuck = next((number for number in range(len(self._states)) if number not in leads_on), None)
        return Explored(len(self._states), None) if stuck is None else self._found(rule, stuck)

    def _found(self, rule: str, number: int, step: Step[S] | None = None) -> Explored:
        """Tell of a rule that does not hold in a state, or over the step that follows it."""
        trace = [f"-> {self._states[number] if step is None else step.after}"]
        if step is not None:
            trace.append(step.name)
        while number > 0:
            number, name = self._origins[number]
            trace.append(name)
        return Explored(len(self._states), Finding(rule, tuple(reversed(trace))))
