#!/usr/bin/env python
"""Check and measure everything on a GPU, phase by phase: benchmarks/gpu.py [PHASE...] --out DIR

The machine needs PyTorch with its Triton, and no network: `make gpu-kit` packs the checkout and the
Python packages that it may lack. Each phase runs in a process of its own with a time limit, writes
DIR/<phase>.json, and leaves the others alone if it fails. The table of all phases comes last.

--rehearse runs every phase on a CPU, with tiny maps and with the kernels in Triton's interpreter.
Its times mean nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).resolve().parents[1]
WHEELS = ROOT / 'gpu_kit'
ARCH = 'tiny'

# With --rehearse the interpreter must be on before Triton is imported.
if '--rehearse' in sys.argv:
    os.environ['TRITON_INTERPRET'] = '1'
sys.path.insert(0, str(ROOT))


class Machine:
    """Where the phases run, and the sizes that fit there."""

    def __init__(self, rehearse: bool) -> None:
        self.device = 'cpu' if rehearse else 'cuda'
        self.rehearse = rehearse
        self.training = (2, 32, 32) if rehearse else (2, 800, 1344)
        self.inference = (1, 32, 32) if rehearse else (1, 800, 1344)
        self.repeats = 1 if rehearse else 15

    def ours(self, level: str) -> torch.nn.Module:
        """Return our backbone with a level of `recompute`."""
        from convnext_mm import ConvNeXt

        # The interpreter takes 50 ms for a line of a convolution.
        arch = dict(depths=(1,) * 4, channels=(8,) * 4) if self.rehearse else ARCH
        model = ConvNeXt(arch, drop_path_rate=0.4, recompute=level)
        return model.to(self.device)

    def maps(self) -> list[tuple[int, int, int, int]]:
        """The maps (N, C, H, W) of the four stages in a training step."""
        if self.rehearse:
            return [(1, 5, 4, 9)]
        n, height, width = self.training
        return [(n, 96 << i, height // (4 << i), width // (4 << i)) for i in range(4)]

    def odd_maps(self) -> list[tuple[int, int, int, int]]:
        """Maps that fill no program evenly."""
        few = [(2, 33, 1, 3)]
        return few if self.rehearse else [*few, (1, 352, 37, 61), (5, 96, 201, 7)]

    def synchronise(self) -> None:
        import torch

        if self.device == 'cuda':
            torch.cuda.synchronize()


# --- phases ---------------------------------------------------------------------------------------


def environment(machine: Machine) -> dict:
    """Versions, and the rates that bound all other figures: copying and matrix products."""
    import torch
    import triton

    found = dict(
        python=platform.python_version(), torch=torch.__version__, triton=triton.__version__
    )
    if machine.device == 'cuda':
        found |= dict(
            gpu=torch.cuda.get_device_name(),
            capability=torch.cuda.get_device_capability(),
            memory_gib=torch.cuda.get_device_properties(0).total_memory / 2**30,
            cudnn=torch.backends.cudnn.version(),
            nvcc=shutil.which('nvcc'),
        )
    size = 2**12 if machine.rehearse else 2**30
    source = torch.randn(size, device=machine.device)
    target = torch.empty_like(source)
    seconds = median_seconds(machine, lambda: target.copy_(source))
    found['copy_tb_per_s'] = 8 * size / seconds / 1e12
    side = 64 if machine.rehearse else 8192
    for name, dtype in (('bf16', torch.bfloat16), ('fp32', torch.float32)):
        a, b = (torch.randn(side, side, device=machine.device, dtype=dtype) for _ in range(2))
        seconds = median_seconds(machine, lambda a=a, b=b: a @ b)
        found[f'{name}_tflop_per_s'] = 2 * side**3 / seconds / 1e12
    return found


def kernels(machine: Machine) -> dict:
    """Compare every kernel with float64, at real and at odd sizes, in three dtypes, twice.

    PyTorch fills new memory with NaN during this phase, so that an element which a kernel does not
    write is found. The second run must give the same bits.
    """
    import torch
    from kernels import TYPES, cases

    from convnext_mm.ops.kernels import KERNELS

    torch.use_deterministic_algorithms(True, warn_only=True)  # also fills new memory
    assert torch.empty(3, device=machine.device).isnan().all()
    errors: dict[str, float] = {}
    for shape in machine.maps() + machine.odd_maps():
        for name, dtype in TYPES.items():
            for operation, case in cases(shape, dtype, machine.device).items():
                first, second = (as_tuple(KERNELS[operation](*case.args)) for _ in range(2))
                exact = as_tuple(case.reference(*map(as_double, case.args)))
                for one, two, expected in zip(first, second, exact, strict=True):
                    label = f'{operation}, {name}, {"x".join(map(str, shape))}'
                    assert torch.equal(one, two), f'{label}: two runs differ'
                    error = ((one - expected).norm() / expected.norm().clamp_min(1e-30)).item()
                    limit = 2e-5 if dtype == torch.float32 else 8 * torch.finfo(dtype).eps
                    assert error < limit, f'{label}: off by {error:.1e}, {limit:.1e} allowed'
                    key = f'{operation}, {name}'
                    errors[key] = max(errors.get(key, 0.0), error)
    return dict(largest_relative_error=errors)


def block(machine: Machine) -> dict:
    """Compare the block with plain PyTorch: dtypes, kept samples, kernels, loss scaling, graphs."""
    import torch

    from convnext_mm import ConvNeXtBlock

    errors = {}
    shape = machine.maps()[0]
    kinds = dict(V1=dict(layer_scale_init_value=0.5), V2=dict(layer_scale_init_value=0, grn=True))
    limits = {None: 1e-4, torch.float16: 0.01, torch.bfloat16: 0.05}
    for kind, rate in itertools.product(kinds, (0.0, 0.5)):
        layer = ConvNeXtBlock(shape[1], rate, **kinds[kind]).to(machine.device)
        # Stochastic depth of plain PyTorch draws in another way.
        layer.recompute = 'block' if rate else 'none'
        with chosen(machine, ()):
            expected = block_results(machine, layer, shape, None)
        settings = itertools.product(limits, ('pointwise', 'block'), ((), None))
        for dtype, layer.recompute, operations in settings:
            with chosen(machine, operations):
                mine = block_results(machine, layer, shape, dtype)
            worst = max(
                ((a.double() - b).norm() / b.double().norm().clamp_min(1e-30)).item()
                for a, b in zip(mine, expected)
            )
            kernels = 'PyTorch' if operations == () else 'kernels'
            label = f'{kind}, {dtype}, rate {rate}, {layer.recompute}, {kernels}'
            assert worst < limits[dtype], f'{label}: off by {worst:.1e}'
            errors[label] = worst
    found = dict(largest_relative_error=errors)
    if machine.device == 'cuda':
        found['graph_error'] = captured_graph(shape)
        found['scaled_loss'] = scaled_training(shape)
    return found


def block_results(machine: Machine, layer, shape: tuple, dtype) -> list:
    """Return the output and all gradients. The draws and the image are always the same."""
    import torch

    torch.manual_seed(3)
    x = torch.randn(shape).to(machine.device).contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    weight = torch.randn(shape).to(machine.device)
    with torch.autocast(machine.device, dtype or torch.bfloat16, enabled=dtype is not None):
        out = layer.train()(x)
    (out * weight).sum().backward()
    results = [out.detach(), x.grad, *(p.grad for p in layer.parameters())]
    layer.zero_grad()
    return results


def captured_graph(shape: tuple) -> float:
    """Return the relative error of a block replayed from a CUDA graph."""
    import torch

    from convnext_mm import ConvNeXtBlock

    layer = ConvNeXtBlock(shape[1], recompute='pointwise').cuda().eval()
    x = torch.randn(shape, device='cuda').contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        expected = layer(x)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = layer(x)
        out.zero_()
        graph.replay()
    return ((out - expected).norm() / expected.norm()).item()


def scaled_training(shape: tuple) -> list[float]:
    """Return the losses of fp16 steps with a gradient scaler that starts too high."""
    import torch

    from convnext_mm import ConvNeXtBlock

    layer = ConvNeXtBlock(shape[1], 0.2, recompute='pointwise').cuda().train()
    optimizer = torch.optim.AdamW(layer.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler('cuda', init_scale=2.0**24)
    x = torch.randn(shape, device='cuda').contiguous(memory_format=torch.channels_last)
    losses = []
    for _ in range(20):
        with torch.autocast('cuda', torch.float16):
            loss = (layer(x) - x.flip(0)).square().mean()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] and all(p.isfinite().all() for p in layer.parameters())
    return losses


def kernel_times(machine: Machine) -> dict:
    """Time every kernel against PyTorch, in each stage."""
    import torch
    from kernels import measure, table

    found = {}
    for shape in machine.maps():
        title = 'x'.join(map(str, shape))
        found[title] = measure(shape, torch.bfloat16, machine.device, machine.repeats)
        print(table(title, found[title]), flush=True)
    return found


def steps(machine: Machine) -> dict:
    """Time training steps and inference of all backbones, ours with each setting."""
    import backbone

    return whole_steps(machine, backbone.tasks(machine.training, machine.inference, half=True))


def compiled(machine: Machine) -> dict:
    """The same under torch.compile."""
    import backbone

    tasks = backbone.tasks(machine.training, machine.inference, half=True)
    return whole_steps(machine, tasks, only='compiled')


def whole_steps(machine: Machine, tasks: list, only: str | None = None) -> dict:
    import backbone
    from contenders import contenders

    # Inductor takes minutes on a CPU. The rehearsal traces and differentiates the graphs only.
    backend = 'aot_eager' if machine.rehearse else 'inductor'
    makers, missing = contenders(ARCH, backend if only == 'compiled' else None)
    for name, reason in missing.items():
        print(f'left out: {name} ({reason.splitlines()[0]})')
    if only:
        makers = {n: m for n, m in makers.items() if only in n or n == backbone.BASELINE}
    models = {name: make().to(machine.device) for name, make in makers.items()}
    result = rows_of_tasks(machine, tasks, models)
    if not only:
        models = {backbone.BASELINE: models[backbone.BASELINE]}
        models |= {
            f'ours, {level}, kernels': machine.ours(level) for level in ('pointwise', 'block')
        }
        with chosen(machine, None):
            for name, rows in rows_of_tasks(machine, tasks, models).items():
                result[f'{name}, kernels'] = rows
    return result


def rows_of_tasks(machine: Machine, tasks: list, models: dict[str, torch.nn.Module]) -> dict:
    import backbone

    result = {}
    for task in tasks:
        times = backbone.measure(task, models, machine.repeats, machine.device)
        rows = {name: backbone.row(found, machine.device) for name, found in times.items()}
        if task.training and machine.device == 'cuda':
            for name, model in models.items():
                rows[name]['peak_bytes'] = backbone.peak_bytes(task, model)
        result[task.name] = rows
        print(backbone.table(task, rows), flush=True)
    return result


def profile(machine: Machine) -> dict:
    """Divide the time of a training step among kinds of kernels, for each setting."""
    import backbone
    import torch

    task = backbone.tasks(machine.training, machine.inference, half=True)[0]
    result = {}
    for level, operations in (('none', ()), ('pointwise', ()), ('pointwise', None)):
        model = machine.ours(level)
        n, height, width = task.shape
        images = torch.randn(n, 3, height, width, device=machine.device)
        with chosen(machine, operations):
            task.run(model.train(), images)
            machine.synchronise()
            with torch.profiler.profile() as recorded:
                task.run(model, images)
                machine.synchronise()
        kinds: dict[str, dict] = {}
        for event in recorded.key_averages():
            on_gpu = getattr(event, 'self_device_time_total', 0)
            spent = on_gpu if machine.device == 'cuda' else event.self_cpu_time_total
            if spent:
                kind = kinds.setdefault(kind_of(event.key), dict(milliseconds=0.0, launches=0))
                kind['milliseconds'] += spent / 1e3
                kind['launches'] += event.count
        name = f'{level}{", kernels" if operations is None else ""}'
        result[name] = dict(sorted(kinds.items(), key=lambda item: -item[1]['milliseconds']))
        print(f'\n{name}')
        for kind, row in result[name].items():
            print(f'  {kind:14} {row["milliseconds"]:9.3f} ms {row["launches"]:6} launches')
    return result


# Words in the names of kernels, in the order of the questions.
KINDS = {
    'depthwise': ('conv_kernel', 'param_grads_kernel', 'depthwise', 'dgrad', 'wgrad'),
    'convolution': ('conv', 'cudnn'),
    'product': ('gemm', 'cutlass', 'nvjet', '::mm', 'addmm', 'linear'),
    'LayerNorm': ('layer_norm', 'layernorm', 'LayerNorm'),
    'GELU': ('gelu', 'Gelu'),
    'sum': ('reduce', '::sum'),
    'copy or cast': ('copy', 'Memcpy', 'Memset', 'cat', '::to'),
    'index': ('index', 'gather', 'scatter'),
    'element-wise': ('elementwise', '::add', '::mul'),
}


def kind_of(kernel: str) -> str:
    for kind, words in KINDS.items():
        if any(word in kernel for word in words):
            return kind
    return 'other'


# Each phase with its time limit in seconds.
PHASES: dict[Callable[[Machine], dict], int] = {
    environment: 60,
    kernels: 240,
    block: 120,
    kernel_times: 180,
    steps: 240,
    compiled: 420,
    profile: 90,
}


# --- common ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def chosen(machine: Machine, operations: tuple[str, ...] | None) -> Iterator[None]:
    """Run these operations in our kernels; None for all of them."""
    from convnext_mm.ops import kernel_choice

    names = kernel_choice.OPERATIONS if operations is None else operations
    before = kernel_choice.run, kernel_choice._chosen_on
    kernel_choice._chosen_on = lambda device: frozenset(names)
    if machine.rehearse:

        def run(operation: str, in_pytorch: Callable, *args: object) -> object:
            return (kernel_choice._kernels()[operation] if operation in names else in_pytorch)(
                *args
            )

        kernel_choice.run = run
    try:
        yield
        if kernel_choice._failed:
            raise AssertionError(f'these kernels failed: {sorted(kernel_choice._failed)}')
    finally:
        kernel_choice.run, kernel_choice._chosen_on = before


def median_seconds(machine: Machine, function: Callable[[], object]) -> float:
    times = []
    for turn in range(machine.repeats + 2):
        machine.synchronise()
        start = time.perf_counter()
        function()
        machine.synchronise()
        if turn >= 2:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def as_tuple(results: object) -> tuple:
    """Return the results that are tensors."""
    results = results if isinstance(results, tuple) else (results,)
    return tuple(result for result in results if result is not None)


def as_double(value: object) -> object:
    import torch

    is_float = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.double() if is_float else value


def run_phase(name: str, machine: Machine, out: Path) -> int:
    """Run a phase in this process and write its result."""
    phase = next(function for function in PHASES if function.__name__ == name)
    try:
        result = dict(ok=True, found=phase(machine))
    except Exception as error:
        traceback.print_exc()
        result = dict(ok=False, error=f'{type(error).__name__}: {error}')
    (out / f'{name}.json').write_text(json.dumps(result, indent=1, default=str))
    return 0 if result['ok'] else 1


def unpack_wheels() -> None:
    """Put the packages of the kit behind the packages of the machine."""
    target = WHEELS / 'unpacked'
    for wheel in sorted(WHEELS.glob('*.whl')):
        with zipfile.ZipFile(wheel) as file:
            file.extractall(target)
    if target.is_dir():
        sys.path.append(str(target))


def main() -> int:
    names = [function.__name__ for function in PHASES]
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('phases', nargs='*', metavar='PHASE', help=f'of {", ".join(names)} (all)')
    parser.add_argument('--out', type=Path, required=True, help='folder for the results')
    parser.add_argument('--rehearse', action='store_true', help='run on a CPU, with tiny maps')
    parser.add_argument('--here', action='store_true', help='run one phase in this process')
    args = parser.parse_args()
    if unknown := set(args.phases).difference(names):
        parser.error(f'unknown phase {unknown.pop()!r}; allowed are {", ".join(names)}')
    args.out.mkdir(parents=True, exist_ok=True)
    unpack_wheels()
    if args.here:
        return run_phase(args.phases[0], Machine(args.rehearse), args.out)
    rows = []
    for function, limit in PHASES.items():
        limit *= 5 if args.rehearse else 1  # the interpreter is slow
        name = function.__name__
        if args.phases and name not in args.phases:
            continue
        print(f'\n=== {name}: {function.__doc__.splitlines()[0]}', flush=True)
        command = [sys.executable, __file__, name, '--here', '--out', str(args.out)]
        command += ['--rehearse'] if args.rehearse else []
        start = time.perf_counter()
        try:
            code = subprocess.run(command, timeout=limit).returncode
            state = 'passed' if code == 0 else 'FAILED'
        except subprocess.TimeoutExpired:
            state = f'STOPPED after {limit} s'
        rows.append((name, state, time.perf_counter() - start))
    print('\n=== all')
    for name, state, seconds in rows:
        print(f'{name:14} {state:20} {seconds:6.0f} s   {args.out / name}.json')
    return int(any(state != 'passed' for _, state, _ in rows))


if __name__ == '__main__':
    sys.exit(main())
