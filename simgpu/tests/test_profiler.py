"""The real torch.profiler, Kineto and all, on the simulated CUPTI."""

PROFILE = """
    import torch
    from torch.profiler import ProfilerActivity, profile

    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.GELU()).cuda()
    optimizer = torch.optim.AdamW(model.parameters())


    def step():
        loss = model(torch.ones(8, 64).cuda()).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


    step()
    for _ in range(2):
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
            step()
            torch.cuda.synchronize()
        cuda = torch.profiler.DeviceType.CUDA
        events = [e for e in found.profiler.kineto_results.events() if e.device_type() == cuda]
        print(len(events), sum(e.duration_ns() > 0 for e in events))
        names = [e.name() for e in events]
        assert any("gemm" in name.lower() or "matmul" in name.lower() for name in names), names
        assert any("Memcpy HtoD" in name for name in names), names
        assert any("multi_tensor_apply" in name for name in names), names
        # Each kernel hangs from the operator that launched it.
        launched = {e.correlation_id() for e in found.profiler.kineto_results.events()} - {0}
        assert all(e.linked_correlation_id() in launched or e.linked_correlation_id() == 0 for e in events)
    table = found.key_averages()
    assert max(e.device_time_total for e in table if e.key == "aten::addmm") > 0, table.table()
"""


def test_torch_profiler_sees_kernels_and_copies_with_times_in_each_cycle(simulate):
    stdout, _ = simulate(PROFILE)
    counts = [tuple(map(int, line.split())) for line in stdout.split("\n") if line.strip()]
    assert len(counts) == 2
    assert counts[0] == counts[1]
    kernels, with_time = counts[0]
    assert kernels == with_time > 10


def test_a_profiler_that_was_refused_harms_nothing(simulate):
    for mode in ("busy", "perm", "drop", "zerotime"):
        simulate(
            """
            import torch
            from torch.profiler import ProfilerActivity, profile

            with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]):
                torch.ones(8, device="cuda").add_(1)
                torch.cuda.synchronize()
            """,
            OOMTRACE_SIM_CUPTI=mode,
        )


def test_graphs_run_what_was_captured(simulate):
    stdout, _ = simulate(
        """
        import torch
        from torch.profiler import ProfilerActivity, profile

        x = torch.zeros(64, device="cuda")
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = (x + 1) * 2
        with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as found:
            graph.replay()
            graph.replay()
            torch.cuda.synchronize()
        names = [e.name() for e in found.profiler.kineto_results.events()]
        print(sum("elementwise_kernel" in name for name in names))
        """
    )
    assert int(stdout) == 4
