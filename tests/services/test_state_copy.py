"""The state store of a home taken elsewhere and back, and reset: the case goes on where it was."""

from __future__ import annotations

import dataclasses

import pytest

from casparian.bootstrap import open_services
from casparian.domain.addresses import STATE_SCHEMES, parse
from casparian.domain.cancel import CancelToken
from casparian.domain.errors import UserProblem
from casparian.services.state_copy import copy_state, reset_state


def test_a_case_goes_on_after_its_state_was_taken_elsewhere(settings, postgres, case, run):
    folder = case(one__csv="a,b\n1,2\n")
    services = open_services(settings)
    run(services, folder)
    services.close()

    copied = copy_state(settings, postgres, cancel=CancelToken())
    moved = dataclasses.replace(settings, profile="enterprise", state_store=postgres.text)
    services = open_services(moved)
    try:
        report = run(services, folder)
        [table] = services.results.tables(services.workspaces.default().id)
    finally:
        services.close()

    assert copied.target == postgres.key
    assert report.plan.jobs == ()
    assert table.rows == 1
    aside = reset_state(settings)
    assert not settings.state_path.exists()
    copy_state(moved, parse("sqlite", schemes=STATE_SCHEMES), cancel=CancelToken())
    assert settings.state_path.exists()
    assert aside.startswith(str(settings.home / "state-"))


def test_a_store_is_not_copied_onto_itself(settings):
    open_services(settings).close()

    with pytest.raises(UserProblem, match="is there already"):
        copy_state(settings, settings.state, cancel=CancelToken())
