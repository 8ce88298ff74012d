"""What every trace in Chrome's Trace Event Format must be, so that a viewer opens it."""

from typing import Any


def check_trace(trace: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The complete events by the name of their process; fails where an event is not as the format demands."""
    assert isinstance(trace["traceEvents"], list)
    names: dict[int, str] = {}
    threads: dict[tuple[int, int], int] = {}
    found: dict[str, list[dict[str, Any]]] = {}
    for event in trace["traceEvents"]:
        assert {"ph", "name", "ts", "pid", "tid", "args"} <= set(event)
        assert all(type(event[key]) is int for key in ("pid", "tid", "ts"))
        if event["ph"] == "M":
            assert event["name"] in ("process_name", "process_sort_index", "thread_name", "thread_sort_index")
            if event["name"] == "process_name":
                names[event["pid"]] = event["args"]["name"]
        else:
            assert event["ph"] == "X"
            assert type(event["dur"]) is int
            assert event["ts"] >= threads.get((event["pid"], event["tid"]), 0), "slices of a thread may only nest"
            assert event["dur"] >= 0
            threads[event["pid"], event["tid"]] = event["ts"] + event["dur"]
            found.setdefault(names[event["pid"]], []).append(event)
    return found
