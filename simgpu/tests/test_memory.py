"""Device memory as real PyTorch sees it on the simulated GPU."""

import re

import pytest

GIB = 1 << 30

FILL = """
    import torch
    blocks = []
    try:
        while True:
            blocks.append(torch.empty(300 << 20, dtype=torch.uint8, device="cuda"))
    except torch.OutOfMemoryError as error:
        print(error)
    free, total = torch.cuda.mem_get_info()
    print("numbers", len(blocks), free, total, torch.cuda.memory_allocated(), torch.cuda.memory_reserved())
    blocks.clear()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    print("after", torch.cuda.mem_get_info()[0], torch.cuda.memory_reserved())
"""


def printed(number, unit):
    """The bytes that PyTorch's format_size rounded to two decimals, as a range."""
    scale = {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[unit]
    return (float(number) - 0.0051) * scale, (float(number) + 0.0051) * scale


def test_the_message_of_an_out_of_memory_adds_up(simulate):
    out, _ = simulate(FILL, OOMTRACE_SIM_GPU="12GiB", OOMTRACE_SIM_OTHER="1GiB", OOMTRACE_SIM_CONTEXT="256MiB")
    blocks, free, total, allocated, reserved = map(int, re.search(r"numbers (.*)", out).group(1).split())
    assert total == 12 * GIB
    assert blocks == (12 * GIB - GIB - (256 << 20)) // (300 << 20)
    assert free == 12 * GIB - GIB - (256 << 20) - reserved
    assert reserved == allocated == blocks * (300 << 20)
    size = r"([\d.]+) (bytes|KiB|MiB|GiB)"
    said = re.search(
        rf"Tried to allocate {size}\. GPU 0 has a total capacity of {size} of which {size} is free\. "
        rf"Process \d+ has {size} memory in use\. "
        rf"Including non-PyTorch memory, this process has {size} memory in use\. "
        rf"Of the allocated memory {size} is allocated by PyTorch",
        out,
    ).groups()
    expected = [300 << 20, total, free, GIB, reserved + (256 << 20), allocated]
    for number, unit, value in zip(said[::2], said[1::2], expected, strict=True):
        low, high = printed(number, unit)
        assert low <= value <= high, (number, unit, value)


@pytest.mark.parametrize("allocator", ["", "expandable_segments:True", "backend:cudaMallocAsync"])
def test_every_allocator_fills_the_card_and_gives_it_back(simulate, allocator):
    out, _ = simulate(FILL, OOMTRACE_SIM_GPU="8GiB", OOMTRACE_SIM_CONTEXT="256MiB", PYTORCH_ALLOC_CONF=allocator)
    blocks, free, total, _, reserved = map(int, re.search(r"numbers (.*)", out).group(1).split())
    assert blocks == (8 * GIB - (256 << 20)) // (300 << 20)
    assert free == total - (256 << 20) - reserved
    after, kept = map(int, re.search(r"after (.*)", out).group(1).split())
    assert (after, kept) == (8 * GIB - (256 << 20), 0)


def test_expandable_segments_shrink_and_grow_again(simulate):
    out, _ = simulate(
        """
        import torch
        for round in range(3):
            big = torch.empty(3 << 30, dtype=torch.uint8, device="cuda")
            small = [torch.empty(5 << 20, dtype=torch.uint8, device="cuda") for _ in range(20)]
            del big
            try:
                torch.empty(9 << 30, dtype=torch.uint8, device="cuda")
                print("fits?")
            except torch.OutOfMemoryError:
                pass
            del small
            torch.cuda.empty_cache()
            print(torch.cuda.memory_reserved(), torch.cuda.mem_get_info()[0])
        """,
        OOMTRACE_SIM_GPU="8GiB",
        OOMTRACE_SIM_CONTEXT="0",
        PYTORCH_ALLOC_CONF="expandable_segments:True",
    )
    assert out.splitlines() == [f"0 {8 * GIB}"] * 3


def test_the_context_is_taken_with_the_first_use(simulate):
    out, _ = simulate(
        """
        import torch
        torch.cuda.init()
        free, total = torch.cuda.mem_get_info()
        print(total - free)
        """,
        OOMTRACE_SIM_CONTEXT="300MiB",
        OOMTRACE_SIM_OTHER="0",
    )
    assert int(out.split()[-1]) == 300 << 20


def test_a_context_that_does_not_fit_is_an_out_of_memory(simulate):
    out, _ = simulate(
        """
        import torch
        try:
            torch.zeros(1, device="cuda")
        except RuntimeError as error:
            print(error)
        """,
        OOMTRACE_SIM_GPU="4GiB",
        OOMTRACE_SIM_OTHER="3.9GiB",
    )
    assert "out of memory" in out


def test_without_a_card_there_is_no_cuda(simulate):
    out, _ = simulate(
        """
        import torch
        print(torch.cuda.is_available(), torch.cuda.device_count())
        try:
            torch.zeros(1, device="cuda")
        except RuntimeError as error:
            print(error)
        """,
        OOMTRACE_SIM_GPU="",
    )
    assert out.splitlines() == ["False 0", "No CUDA GPUs are available"]


def test_an_unknown_card_is_named(simulate):
    _, err = simulate("import torch; torch.cuda.is_available()", OOMTRACE_SIM_GPU="rtx9999")
    assert "OOMTRACE_SIM_GPU=rtx9999: no such card" in err
    assert "a100-40gb" in err


def test_devices_are_separate(simulate):
    out, _ = simulate(
        """
        import torch
        x = torch.empty(1 << 30, dtype=torch.uint8, device="cuda:1")
        y = torch.arange(5.0).to("cuda:1").to("cuda:2")
        print(torch.cuda.device_count(), y.tolist())
        print([torch.cuda.mem_get_info(i)[0] for i in range(3)])
        """,
        OOMTRACE_SIM_GPU="8GiB",
        OOMTRACE_SIM_DEVICES="3",
        OOMTRACE_SIM_CONTEXT="0",
    )
    first, second = out.splitlines()
    assert first == "3 [0.0, 1.0, 2.0, 3.0, 4.0]"
    assert second == str([8 * GIB, 7 * GIB - (2 << 20), 8 * GIB - (2 << 20)])


def test_cuda_visible_devices_is_obeyed(simulate):
    script = """
        import torch
        print(torch.cuda.device_count())
        if torch.cuda.device_count():
            print(torch.cuda.get_device_properties(0).pci_bus_id, torch.zeros(1, device="cuda").item())
    """
    assert simulate(script, OOMTRACE_SIM_DEVICES=4, CUDA_VISIBLE_DEVICES="2,3")[0] == "2\n3 0.0\n"
    assert simulate(script, OOMTRACE_SIM_DEVICES=4, CUDA_VISIBLE_DEVICES="")[0] == "0\n"


def test_values_follow_the_data_rule(simulate):
    out, _ = simulate(
        """
        import torch
        sent = torch.arange(1000)
        print(torch.equal(sent.cuda().cpu(), sent))
        stale = torch.full((4,), 7.0).cuda()
        place = stale.data_ptr()
        del stale
        fresh = torch.empty(4, device="cuda")
        print(fresh.data_ptr() == place, fresh.tolist(), (fresh + 1).tolist())
        large = torch.full((1 << 22,), 3.0).cuda()
        print(large.cpu().abs().max().item())
        big = torch.empty(1 << 31, dtype=torch.uint8, device="cuda").cpu()
        print(int(big[:: 1 << 20].sum()), open("/proc/self/statm").read().split()[1])
        """
    )
    lines = out.splitlines()
    assert lines[0] == "True"
    assert lines[1] == "True [0.0, 0.0, 0.0, 0.0] [0.0, 0.0, 0.0, 0.0]"
    assert lines[2] == "0.0"
    zeros, resident_pages = map(int, lines[3].split())
    assert zeros == 0
    assert resident_pages * 4096 < 1 << 31, "a large copy must not touch real pages"


def test_data_loader_workers_fork_and_cuda_in_them_is_refused(simulate):
    out, _ = simulate(
        """
        import os, ctypes, torch
        from torch.utils.data import DataLoader, TensorDataset
        torch.zeros(1, device="cuda")
        loader = DataLoader(TensorDataset(torch.arange(64.0)), batch_size=8, num_workers=2, pin_memory=True)
        print(sum(batch.cuda(non_blocking=True).cpu().sum().item() for (batch,) in loader))
        child = os.fork()
        if child == 0:
            count = ctypes.c_int()
            status = ctypes.CDLL("libcudart.so.13").cudaGetDeviceCount(ctypes.byref(count))
            os._exit(status)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """
    )
    assert out.splitlines() == ["2016.0", "3"]  # 3: cudaErrorInitializationError
