"""`python -m MODULE WORDS` in a process of its own that need not import torch again.

Most of a test run went into importing the same libraries in hundreds of processes. A server imports them once; each
program is a fork of it, with its own folder, environment, output and signals, and ends as any process ends.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import traceback

# Libraries and rooms, not the entry points: those are run as the main module, and find all this imported.
# What a run's log starts with comes first: its classes each look through all that is imported by then (3 s, not 0.7).
IMPORTED = [
    "wandb.sdk.launch.inputs.internal",
    *("harmony.app", "harmony.evaluation", "harmony.methods", "harmony.tasks", "harmony.reports", "harmony.data"),
    *("lightning.pytorch", "monai.transforms", "matplotlib.pyplot", "torchmetrics", "scipy.optimize", "nilearn"),
    *("matplotlib.backends.backend_agg", "contourpy", "skimage.metrics", "pybtex.database", "torch.profiler"),
    # What Hydra looks for plugins in, in every process.
    *("hydra._internal.core_plugins.basic_launcher", "hydra._internal.core_plugins.basic_sweeper"),
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher",
]
LONGEST = 1 << 18  # bytes of a request: the words and the environment


class Program:
    """The part of `subprocess.Popen` that tests use. merged: errors go where the output goes."""

    def __init__(self, module, words, *, cwd, env, merged):
        self.module, self.returncode = module, None
        out, out_end = os.pipe()
        err, err_end = (out, out_end) if merged else os.pipe()
        self.stdout = os.fdopen(out, encoding="utf-8", errors="replace")
        self.stderr = None if merged else os.fdopen(err, encoding="utf-8", errors="replace")
        self.line, far = socket.socketpair()
        request = {"module": module, "words": [str(word) for word in words], "cwd": str(cwd), "env": dict(env)}
        socket.send_fds(server(), [json.dumps(request).encode()], [far.fileno(), out_end, err_end])
        far.close()
        for end in {out_end, err_end}:
            os.close(end)
        self.pid = int(self.line.recv(64))

    def send_signal(self, signum):
        if self.poll() is None:
            os.kill(self.pid, signum)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def poll(self):
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(timeout=0.001)
        return self.returncode

    def wait(self, timeout=None):
        if self.returncode is None:
            self.line.settimeout(timeout)
            try:
                self.returncode = int(self.line.recv(64))
            except TimeoutError:
                raise subprocess.TimeoutExpired(self.module, timeout) from None
            self.line.close()
        return self.returncode

    def communicate(self, timeout=240):
        """What it printed: (output, errors)."""
        alarm = signal.signal(signal.SIGALRM, self._late)
        signal.alarm(timeout)
        try:
            out, err = self.stdout.read(), "" if self.stderr is None else self.stderr.read()
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, alarm)
        self.wait(timeout)
        return out, err

    def finish(self):
        """Its whole run: returncode, stdout and stderr as texts, as `subprocess.run` has them."""
        out, err = self.communicate()
        return subprocess.CompletedProcess(self.module, self.returncode, out, err)

    def _late(self, *_):
        self.kill()
        raise subprocess.TimeoutExpired(self.module, 0)


@functools.cache
def server():
    """The line to this test process's server, which ends when the test process does."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB", "HARMONY"))}
    subprocess.Popen([sys.executable, __file__, str(far.fileno())], pass_fds=[far.fileno()], env=clean)
    far.close()
    return near


def serve(line):
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    while True:
        request, ends, *_ = socket.recv_fds(line, LONGEST, 3)
        if not request:
            return None
        if os.fork() == 0:
            line.close()
            return watched(json.loads(request), *ends)
        for end in ends:
            os.close(end)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass


def watched(request, line, out, err):
    """Fork the program, say its number, and how it ended."""
    line = socket.socket(fileno=line)
    number = os.fork()
    if number == 0:
        line.close()
        return program(request, out, err)
    for end in (out, err):
        os.close(end)
    with contextlib.suppress(OSError):  # the test may have ended
        line.send(str(number).encode())
        line.send(str(os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])).encode())
    os._exit(0)


def own_folders():
    """Those that wandb makes at its import, and removes at the end of any process: one's end must not be another's."""
    from wandb.sdk.artifacts.artifact import Artifact
    from wandb.sdk.data_types._private import MEDIA_TMP

    for folder in (MEDIA_TMP, Artifact._TMP_DIR):
        folder._finalizer.detach()
        folder.__init__()


def program(request, out, err):
    for end, own in ((os.open(os.devnull, os.O_RDONLY), 0), (out, 1), (err, 2)):
        os.dup2(end, own)
        os.close(end)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(own, "r" if own == 0 else "w", buffering=1, encoding="utf-8", closefd=False) for own in range(3)
    )
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    own_folders()
    sys.argv = [request["module"], *request["words"]]
    sys.path[0] = request["cwd"]
    ended(lambda: runpy.run_module(request["module"], run_name="__main__", alter_sys=True))


def ended(run):
    """Run it and end as Python does: exit code, traceback, threads, what is to be done at exit. But nothing that was
    imported is taken apart, which takes a third of a second."""
    code = 0
    try:
        run()
    except SystemExit as stop:
        code = stop.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code & 0xFF)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
