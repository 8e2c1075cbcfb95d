"""The Triton kernels: their results (in kernel_cases.py), and their compilation for a GPU.

The results come from Triton's interpreter and, if there is one, from a GPU. Compilation needs no
GPU.
"""

import os
import re
import subprocess
import sys

import pytest
import torch

from tests.conftest import ROOT

pytest.importorskip('triton')
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from convnext_mm.ops.kernels import depthwise, gelu, norm

# The dtypes of the pointer arguments. The other arguments are integers.
BF16 = ('x', 'weight', 'bias', 'out', 'grad', 'hidden', 'output', 'grad_x', 'grad_hidden')
FP32 = ('means', 'rstds', 'sums')
ONE_WARP = dict(LANES=32, num_warps=1)
# Kernels with the tiles they are launched with, and the warps that must fit on an SM. A kernel that
# is limited by arithmetic needs few; a kernel that is limited by memory needs more.
LAUNCHED = [
    (
        depthwise.conv_kernel,
        dict(ROTATED=False, BIAS=True, STRIP=depthwise.STRIP, **ONE_WARP),
        depthwise.WARPS,
    ),
    (
        depthwise.param_grads_kernel,
        dict(STRIP=depthwise.GRAD_STRIP, **ONE_WARP),
        depthwise.GRAD_WARPS,
    ),
    *[
        (kernel, dict(CHANNELS=channels, **norm.tile_of(channels)), 16)
        for kernel in (norm.layer_norm_kernel, norm.layer_norm_backward_kernel)
        for channels in (96, 768, 1536)
    ],
    (
        gelu.gelu_backward_kernel,
        dict(OUTPUT=True, CHANNELS=384, STEPS=gelu.STEPS, ROWS=gelu.ROWS, LANES=128),
        16,
    ),
]
REGISTERS = 65536  # of an SM


def run_cases(**environment):
    command = [sys.executable, '-m', 'pytest', '-q', 'tests/ops/kernel_cases.py']
    env = {**os.environ, 'OMP_NUM_THREADS': '1', **environment}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_kernels_give_pytorchs_results_in_the_interpreter():
    run_cases(TRITON_INTERPRET='1')


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
def test_the_kernels_give_pytorchs_results_on_the_gpu():
    run_cases(TRITON_INTERPRET='0')


@pytest.mark.parametrize(
    ('kernel', 'constants', 'warps'), LAUNCHED, ids=lambda value: getattr(value, '__name__', None)
)
def test_a_kernel_compiles_for_an_h100_without_spills(kernel, constants, warps, tmp_path):
    compiled = compile_for(90, kernel, constants)
    cubin = tmp_path / 'kernel.cubin'
    cubin.write_bytes(compiled.asm['cubin'])
    command = [triton.knobs.nvidia.cuobjdump.path, '-res-usage', str(cubin)]
    usage = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    used = dict(re.findall(r'(REG|STACK|LOCAL):(\d+)', usage))
    assert int(used['STACK']) == int(used['LOCAL']) == 0
    assert REGISTERS // (int(used['REG']) * 32) >= warps


def test_a_gpu_rounds_to_bf16_although_the_interpreter_truncates():
    ptx = compile_for(90, *LAUNCHED[0][:2]).asm['ptx']
    assert 'cvt.rn.bf16' in ptx and 'cvt.rz' not in ptx


def compile_for(capability, kernel, constants):
    """Compile a kernel for mixed precision with bf16. This needs no GPU."""
    warps = constants.get('num_warps', 4)
    constants = {name: value for name, value in constants.items() if name != 'num_warps'}
    types = dict.fromkeys(BF16, '*bf16') | dict.fromkeys(FP32, '*fp32')
    types |= dict.fromkeys(constants, 'constexpr') | dict(eps='fp32')
    signature = {name: types.get(name, 'i32') for name in kernel.arg_names}
    multiples = [i for i, kind in enumerate(signature.values()) if kind[0] == '*']
    source = ASTSource(
        kernel, signature, constants, {(i,): [['tt.divisibility', 16]] for i in multiples}
    )
    target = GPUTarget('cuda', capability, 32)
    return triton.compile(source, target=target, options=dict(num_warps=warps))
