from casparian.domain.addresses import parse

ADDRESS = parse("postgres://me@db.example/cases", schemes=("postgres",))


def routed(services):
    workspace = services.workspaces.default()
    return {
        f"{one.parser}.{one.output}": (one.is_own, one.is_parsers)
        for one in services.routes.list(workspace.id)
    }


def test_a_route_says_whether_it_is_the_outputs_or_the_parsers(services):
    workspace = services.workspaces.default()
    assert routed(services)["evtx.evtx_events"] == (False, False)
    services.routes.set(workspace.id, "evtx", "", ADDRESS, "replace")
    assert routed(services)["evtx.evtx_events"] == (True, True)
    assert routed(services)["delimited.delimited"] == (False, False)
    services.routes.set(workspace.id, "evtx", "evtx_events", ADDRESS, "append")
    assert routed(services)["evtx.evtx_events"] == (True, False)
