"""Train or test on several GPUs: launch GPUS train CONFIG ...

``tools/dist_train.sh`` and ``dist_test.sh`` call it with a script in place of a command. Each
process gets the environment that ``--launcher pytorch`` reads. On several machines, call it on
each, with NNODES, NODE_RANK and MASTER_ADDR in the environment, and PORT if 29500 is taken.

torchrun does the same, but an interrupted training needs more: torchrun kills the processes 30
seconds after a signal, while they may still write a checkpoint, and it replaces their exit code by
1, so that a scheduler cannot tell a stop from a failure.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
USAGE = 'usage: convnext-mm launch GPUS train CONFIG ... (or: GPUS test CONFIG CHECKPOINT ...)'
GRACE = 30  # seconds that the other processes have to end when one has failed
POLL = 0.1  # seconds
PR_SET_PDEATHSIG = 1


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if {'-h', '--help'} & {*arguments[:2]}:
        print(f'{USAGE}\n\n{__doc__}')
        return 0
    if len(arguments) < 2:
        return refuse(USAGE)
    count, what, *options = arguments
    if what in ('train', 'test'):
        options = [what, *options, '--launcher', 'pytorch']
        command = [sys.executable, '-m', 'convnext_mm', *options]
    elif what.endswith('.py'):
        command = [sys.executable, what, *options]
    else:
        return refuse(f"'{what}' is neither train nor test, nor a script")
    machines = os.environ.get('NNODES', '1')
    for what, number in (('the number of GPUs', count), ('NNODES', machines)):
        if not number.isascii() or not number.isdecimal() or int(number) < 1:
            return refuse(f"{what} is '{number}'; it must be a positive integer")
    lacking = [name for name in ('NODE_RANK', 'MASTER_ADDR') if name not in os.environ]
    if int(machines) > 1 and lacking:
        return refuse(
            f'NNODES is {machines}, but the environment lacks {" and ".join(lacking)}: NODE_RANK '
            'is the number of this machine, from 0 on, and MASTER_ADDR the address of machine 0'
        )
    each = environments(int(machines), int(count))
    processes = [start(command, environment) for environment in each]
    for number in PASSED_ON:
        signal.signal(number, lambda number, _: send(processes, number))
    return wait(processes)


def refuse(message: str) -> int:
    print(f'error: {message}', file=sys.stderr)
    return 2


def environments(machines: int, count: int) -> list[dict[str, str]]:
    """Return the environment of each of the `count` processes of this machine."""
    if machines > 1:
        node, address = int(os.environ['NODE_RANK']), os.environ['MASTER_ADDR']
        port = os.environ.get('PORT', '29500')
    else:
        node, address, port = 0, '127.0.0.1', os.environ.get('PORT') or free_port()
    shared = {
        'OMP_NUM_THREADS': '1',  # Several processes share the cores; the environment may say more.
        **os.environ,
        'MASTER_ADDR': address,
        'MASTER_PORT': port,
        'WORLD_SIZE': str(machines * count),
        'LOCAL_WORLD_SIZE': str(count),
    }
    return [
        {**shared, 'RANK': str(node * count + local), 'LOCAL_RANK': str(local)}
        for local in range(count)
    ]


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return str(probe.getsockname()[1])


def start(command: list[str], environment: dict[str, str]) -> subprocess.Popen:
    # In a session of its own, or Ctrl-C would reach it twice, and a second signal ends a training
    # at once.
    return subprocess.Popen(
        command, env=environment, start_new_session=True, preexec_fn=die_with_parent
    )


def die_with_parent() -> None:
    """Ask Linux to kill this process when the launcher is killed, so that no orphan trains on."""
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def send(processes: list[subprocess.Popen], number: int) -> None:
    for process in processes:
        process.send_signal(number)  # does nothing to a process that has ended


def wait(processes: list[subprocess.Popen]) -> int:
    """Wait until all processes have ended; return the exit code of the first that failed."""
    failed, deadline = None, float('inf')
    while True:
        running = [process for process in processes if process.poll() is None]
        if not failed:
            # At one time several may be found: a death by a signal is a cause, not a consequence.
            failed = min((p for p in processes if p.returncode), key=code, default=None)
            deadline = time.monotonic() + GRACE if failed else deadline
        if not running:
            break
        if time.monotonic() > deadline:
            # Not SIGTERM: a process that waits for a dead one would never handle it.
            send(running, signal.SIGKILL)
        time.sleep(POLL)
    if not failed or failed.returncode > 0:
        return failed.returncode if failed else 0
    number = -failed.returncode
    print(
        f'error: process {processes.index(failed)} of {len(processes)} was killed by '
        f'{signal.Signals(number).name}, and the others were ended',
        file=sys.stderr,
    )
    return 128 + number


def code(process: subprocess.Popen) -> int:
    return process.returncode
