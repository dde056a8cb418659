"""What an event takes on disk, in the trace of a real training step."""

from conftest import REPOSITORY
from trace_file import read

MOST_BYTES = 6  # an event, the budget of the design; 5.1 measured


def test_an_event_takes_at_most_six_bytes(job):
    status, _, err = job.run(str(REPOSITORY / "bench" / "gpt_step.py"), "--steps", "30", OOMTRACE_SIM_GPU="rtx3090")
    assert status == 0, err
    trace = read(job.traces()[0])
    events = len(trace.of("tensor_alloc")) + len(trace.of("tensor_free"))
    assert events > 40 * 1200  # ten steps to warm up, about 1,280 events a step
    assert trace.compact_bytes / events < MOST_BYTES
    assert trace.live()  # every block that was freed had been allocated
