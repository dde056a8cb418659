"""Every route to device memory, through every door: what the trace holds is what the program took."""

import pytest
from harness import MIB

DOORS = ("dlsym", "first_abi", "second_abi0", "second_abi1", "second_abi2")
ROUTES = ("memory", "pooled", "host", "arrays", "shared", "graph")


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("route", ROUTES)
def test_driver(recorded, door, route):
    ran = recorded("driver_client", door, route)
    assert (ran.status, ran.err) == (0, "")
    assert ran.expected()
    for kind, size in ran.expected().items():
        assert ran.held(kind) == size, kind
    assert ran.libraries() == {"driver_client"}
    assert not ran.trace.facts["unknown_route"]


def test_what_a_context_held_goes_with_it(recorded, analyze):
    ran = recorded("driver_client", "dlsym", "context")
    assert analyze(ran.path).report["device"]["other"] == 12 * MIB  # at the peak
    (end,) = [event for event in ran.trace.of("device_free") if event.get("kind") == 15]
    (inside,) = [event for event in ran.trace.of("device_alloc") if event.get("kind", 0) == 0]
    assert inside["cuda_context"] == end["address"]


@pytest.mark.parametrize("door", DOORS)
def test_the_last_release_ends_the_primary_context(recorded, analyze, door):
    ran = recorded("driver_client", door, "primary")
    assert (ran.status, ran.err) == (0, "")
    assert ran.held("device") == 0
    assert analyze(ran.path).report["peak"]["bytes"] == 17 * MIB  # before the last release


@pytest.mark.parametrize("door", DOORS)
def test_physical_memory_counts_once(recorded, analyze, door):
    ran = recorded("driver_client", door, "virtual")
    assert ran.status == 0, ran.err
    report = analyze(ran.path).report
    # 4 MiB mapped twice and released; 12 MiB held and imported again; what was retained is gone; multicast holds none.
    assert report["device"]["other"] == 16 * MIB


def test_the_stream_is_recorded(recorded):
    ran = recorded("driver_client", "dlsym", "pooled")
    pooled = [event for event in ran.trace.of("device_alloc") if event.get("kind") == 8]
    assert {event["stream"] for event in pooled} == {2}
    (pool,) = [event["address"] for event in ran.trace.of("device_alloc") if event.get("kind") == 9]
    assert [event["handle"] for event in pooled if "handle" in event] == [pool]


def test_runtime(recorded, analyze):
    ran = recorded("runtime_client")
    assert (ran.status, ran.err) == (0, "")
    for kind, size in ran.expected().items():
        assert ran.held(kind) == size, kind
    # The simulated driver's functions call the runtime's: nothing is there twice.
    assert all(api.startswith("cuda") for api in ran.apis())
    assert ran.libraries() == {"runtime_client"}
    graphs = [event["bytes"] for event in ran.trace.of("device_alloc") if event.get("kind") == 5]
    assert graphs == [48 * MIB, 32 * MIB]  # after the launch, after the trim
    counted = graphs[0] + sum(ran.expected()[kind] for kind in ("device", "array", "pooled"))
    assert analyze(ran.path).report["device"]["other"] == counted


def test_a_graph_that_does_not_fit_is_a_death_of_unknown_size(recorded, analyze):
    ran = recorded("runtime_client", "graphs")
    assert ran.status == 1, ran.err
    report = analyze(ran.path).report
    assert report["out_of_memory"]["happened"] and report["out_of_memory"]["api"] == "cudaGraphLaunch"
    assert report["pattern"] == "at_start" and report["confidence"] == 0.5
    assert report["summary"].endswith("cudaGraphLaunch needed more than was free.")
    assert report["device"]["other"] == 0 and not report["causes"] and not report["fixes"]


def test_a_reset_frees_everything(recorded, analyze):
    ran = recorded("runtime_client", "reset")
    assert ran.status == 0, ran.err
    for kind in ("device", "host"):
        assert ran.held(kind) == 0


@pytest.mark.parametrize("door", DOORS)
def test_what_hosts_do_wrong_is_answered_by_the_driver(recorded, analyze, door):
    ran = recorded("driver_client", door, "wrong")
    bare = recorded("driver_client", door, "wrong", recorder=False)
    assert (ran.status, ran.out) == (0, bare.out)
    assert ran.held("device") == 0
    refusals = [event["result"] for event in ran.trace.of("device_alloc") if event.get("result")]
    assert refusals == [1, 2]
    (refusal,) = ran.trace.of("out_of_memory")
    assert refusal["bytes"] == (1 << 63) - 1
    report = analyze(ran.path).report
    assert report["trace"]["damage"] == []
    assert not ran.trace.of("device_free")


def test_private_tables_are_named(recorded, analyze):
    ran = recorded("driver_client", "dlsym", "table")
    assert ran.status == 0, ran.err
    (route,) = ran.trace.facts["unknown_route"]
    assert route["name"] == "195bcbf4-d67d-024a-acc5-1d29cea631ae (heap)"
    assert (route["kind"], route["may_allocate"]) == (1, True)
    assert ran.trace.by_id["library"][route["library"]]["path"].endswith("driver_client")
    assert ran.trace.unknown_calls == 3


def test_each_version_gets_its_own_function(recorded):
    ran = recorded("driver_client", "dlsym", "versions")
    assert ran.status == 0, ran.err
    assert ran.out.splitlines() == ["per thread 1 1 1", "narrow 0 wide 1", "questions 1 1"]
    (route,) = ran.trace.facts["unknown_route"]
    assert (route["kind"], route["name"]) == (3, "cuMemAlloc")
    assert ran.trace.unknown_calls == 1


def test_without_the_dlsym_hook_the_trace_says_what_is_missed(recorded):
    ran = recorded("runtime_client", OOMTRACE_DLSYM="0")
    (hook,) = [hook for hook in ran.trace.facts["hook"] if hook["name"] == "dlsym"]
    assert hook["state"] == 4 and "statically linked" in hook["reason"]
    assert ran.held("device") == ran.expected()["device"]
