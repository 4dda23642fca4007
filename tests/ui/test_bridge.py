import threading

import pytest

from casparian.domain.events import (
    CatalogChanged,
    EventBus,
    JobChanged,
    JobProgressed,
    RulesChanged,
    ScanProgressed,
    SourcesChanged,
    WorkspacesChanged,
)
from casparian.domain.jobs import JobState, Progress
from casparian.ui.bridge import EventBridge


@pytest.fixture
def bus(look):
    return EventBus()


@pytest.fixture
def bridge(bus):
    made = EventBridge(bus)
    yield made
    made.close()


def test_events_of_any_thread_come_home_to_the_gui_thread(qtbot, bus, bridge):
    heard = []
    bridge.workspaces_changed.connect(lambda event: heard.append(threading.current_thread()))
    thread = threading.Thread(target=bus.publish, args=(WorkspacesChanged(),))
    thread.start()
    thread.join()
    qtbot.waitUntil(lambda: bool(heard))
    assert heard == [threading.main_thread()]


def test_a_burst_becomes_the_newest_of_each_thing(qtbot, bus, bridge):
    changed, progressed = [], []
    bridge.job_changed.connect(changed.append)
    bridge.job_progressed.connect(progressed.append)
    for number in range(1_000):
        job = f"job {number % 2}"
        state = JobState.RUNNING if number < 998 else JobState.SUCCEEDED
        bus.publish(JobChanged("w", job, state))
        bus.publish(JobProgressed(job, Progress(number, 1_000, "rows")))
    qtbot.waitUntil(lambda: bool(changed))

    assert [(one.job_id, one.state) for one in changed] == [
        ("job 0", JobState.SUCCEEDED),
        ("job 1", JobState.SUCCEEDED),
    ]
    assert [one.progress.done for one in progressed] == [998, 999]


@pytest.mark.parametrize(
    ("event", "signal"),
    [
        (WorkspacesChanged(), "workspaces_changed"),
        (SourcesChanged("w"), "sources_changed"),
        (ScanProgressed("s", Progress(1, None, "files")), "scan_progressed"),
        (RulesChanged("w"), "rules_changed"),
        (JobChanged("w", "j", JobState.QUEUED), "job_changed"),
        (JobProgressed("j", Progress(1, 2, "rows")), "job_progressed"),
        (CatalogChanged("w", 1), "catalog_changed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_event_has_its_signal(qtbot, bus, bridge, event, signal):
    with qtbot.waitSignal(getattr(bridge, signal)) as heard:
        bus.publish(event)
    assert heard.args == [event]


def test_it_hears_nothing_once_it_is_closed(qtbot, bus, bridge):
    heard = []
    bridge.workspaces_changed.connect(heard.append)
    bridge.close()
    bus.publish(WorkspacesChanged())
    qtbot.wait(150)
    assert heard == []
