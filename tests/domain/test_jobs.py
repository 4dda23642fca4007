"""The table of moves that a job may make."""

from __future__ import annotations

import itertools

import pytest

from casparian.domain.jobs import MOVES, JobState, check_move


@pytest.mark.parametrize(("old", "new"), list(itertools.product(JobState, JobState)))
def test_only_the_moves_of_the_table_are_legal(old, new):
    if new in MOVES[old]:
        check_move(old, new)
    else:
        with pytest.raises(AssertionError, match=f"cannot go from {old} to {new}"):
            check_move(old, new)


def test_the_ends_are_ends_and_every_other_state_can_reach_one():
    ends = {one for one in JobState if one.is_terminal}
    assert ends == {JobState.SUCCEEDED, JobState.PARTIAL, JobState.FAILED, JobState.CANCELLED}
    for state in set(JobState) - ends:
        reached, frontier = set(), {state}
        while frontier:
            reached |= frontier
            frontier = {new for one in frontier for new in MOVES[one]} - reached
        assert reached & ends


def test_a_job_may_be_cancelled_until_it_is_at_its_end():
    for state, moves in MOVES.items():
        assert (JobState.CANCELLED in moves) is not state.is_terminal
