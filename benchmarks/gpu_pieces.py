"""What `gpu` measures on a card, each piece a function of the room that it has."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import flow_speed
import harmonizing_speed
import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

from harmony.core import Scan
from harmony.core.files import atomic_path
from harmony.data import Preprocess
from harmony.flows import ImageDensity, harmonizing_flow, spline_flow

DATA = Path(os.environ.get("HARMONY_REAL_DATA", "../shared/data"))
# The papers' sizes and batches (conf/experiment/oasis_nsf.yaml, abide_paper.yaml).
BLINDHARMONY = {"size": (144, 176), "batch": 256}
HARMONIZING = {"size": (224, 224), "batch": 24}
SPACING = 1.2  # mm: at which a head fits into 144 x 176
HELD_OUT = 3  # scans


@dataclass(frozen=True)
class Room:
    """device; tiny: a dry run; end: when this call has to be over (monotonic); out: where things are kept;
    train_seconds: of the training piece, over all calls."""

    device: torch.device
    tiny: bool
    end: float
    out: Path
    train_seconds: float

    def left(self) -> float:
        return self.end - time.monotonic()


def card(room: Room) -> dict:
    """Name, driver, memory."""
    found: dict = {"torch": torch.__version__, "device": flow_speed.machine(room.device)["device"]}
    if room.device.type == "cuda":
        asked = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        found["nvidia_smi"] = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
        found["cuda"] = torch.version.cuda
    return found


def tests(room: Room) -> dict:
    """The tests marked `gpu`: equality with the CPU, determinism, out of memory, resume, bfloat16, compile."""
    if room.tiny:
        return {"passed": None}
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-p", "no:xdist", "tests"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=room.left(), check=False)
    if done.returncode:
        raise RuntimeError(done.stdout[-3000:])
    return {"passed": done.stdout.strip().splitlines()[-1]}


def limits(room: Room) -> dict:
    """What the card can do at best: bytes moved by a copy, matrix products in bfloat16, TF32 and float32."""
    side, values = (64, 1 << 12) if room.tiny else (8192, 1 << 28)
    x, y = torch.empty(values, device=room.device), torch.empty(values, device=room.device)
    found = {"gigabytes_a_second": 2 * 4 * values / _seconds(lambda: y.copy_(x), room) / 1e9}
    for name, dtype, tf32 in (
        ("bfloat16", torch.bfloat16, False),
        ("tf32", torch.float32, True),
        ("float32", torch.float32, False),
    ):
        a, b = (torch.randn(side, side, device=room.device).to(dtype) for _ in range(2))
        before, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, tf32
        found[f"teraflops_{name}"] = 2 * side**3 / _seconds(lambda a=a, b=b: a @ b, room) / 1e12
        torch.backends.cuda.matmul.allow_tf32 = before
    return found


def speed(module: object, *, compiled: bool) -> Callable[[Room], dict]:
    """`flow_speed` or `harmonizing_speed`, in this process."""

    def measure(room: Room) -> dict:
        if room.tiny and compiled:
            return {"left out": "the piece before is the same program, and compilers take their time"}
        words = ["--small", "--threads", "1", "--batch", "1"] if room.tiny else ["--repeats", "10", "--batch", "16"]
        words += ["--compile"] if compiled else []
        return module.measured(flow_speed.arguments("", words))  # type: ignore[attr-defined]

    return measure


def paper_step(build: Callable[[bool, str], ImageDensity], paper: dict) -> Callable[[Room], dict]:
    """A training step at the paper's size: time and memory; the batch is halved until it fits, which is said."""

    def measure(room: Room) -> dict:
        found: dict = {}
        for dtype in ("float32", "bfloat16"):
            batch, size = (2, (32, 32)) if room.tiny else (paper["batch"], paper["size"])
            while True:
                try:
                    found[dtype] = {"batch": batch, **_step(build(room.tiny, dtype), batch, size, room)}
                    break
                except torch.OutOfMemoryError:
                    torch.cuda.empty_cache()
                    batch //= 2
        return found

    return measure


def splines(tiny: bool, dtype: str) -> ImageDensity:
    settings = flow_speed.SMALL if tiny else flow_speed.PAPER
    return spline_flow(**settings, conditioner_dtype=dtype)


def couplings(tiny: bool, dtype: str) -> ImageDensity:
    settings = harmonizing_speed.SMALL if tiny else harmonizing_speed.PAPER
    return harmonizing_flow(**settings["flow"], recompute=True, conditioner_dtype=dtype)


def train(room: Room) -> dict | None:
    """BlindHarmony's flow on real slices resampled to the paper's grid, for as long as the limit lets; goes on."""
    path = room.out / "training.pt"
    state = torch.load(path, weights_only=False) if path.exists() else {"step": 0, "seconds": 0.0, "curve": []}
    train_on, held_out, said = _slices(room)
    torch.manual_seed(0)
    flow = splines(room.tiny, "bfloat16").to(room.device)
    optimizer = torch.optim.Adam(flow.parameters(), lr=5e-4)
    if state["step"]:
        flow.load_state_dict(state["flow"])
        optimizer.load_state_dict(state["optimizer"])
    begin, limit = time.monotonic(), 0.0 if room.tiny else min(room.left() - 60, room.train_seconds - state["seconds"])
    first = state["step"]
    while state["step"] == first or time.monotonic() - begin < limit:
        noise = torch.Generator().manual_seed(state["step"])
        chosen = torch.randint(len(train_on), (2 if room.tiny else 64,), generator=noise)
        optimizer.zero_grad()
        flow.bits_per_dim(train_on[chosen.to(room.device)], noise).mean().backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        optimizer.step()
        state["step"] += 1
        if state["step"] % 100 == 0 or room.tiny:
            state["curve"].append([state["step"], _held_out_bpd(flow, held_out)])
    state["seconds"] += time.monotonic() - begin
    state |= {"flow": flow.state_dict(), "optimizer": optimizer.state_dict()}
    with atomic_path(path) as temporary:
        torch.save(state, temporary)
    done = room.tiny or state["seconds"] >= room.train_seconds - 1
    return {"data": said, **{k: state[k] for k in ("step", "curve")}} if done else None


def ddp(room: Room) -> dict:
    """One process of DDP: the gradients are those of the flow alone."""
    backend = "nccl" if room.device.type == "cuda" else "gloo"
    image = flow_speed.images(2, 32, 48).to(room.device)
    with tempfile.TemporaryDirectory() as folder:
        distributed.init_process_group(backend, init_method=f"file://{folder}/meeting", rank=0, world_size=1)
        try:
            gradients = []
            for wrap in (lambda m: m, DistributedDataParallel):
                torch.manual_seed(0)
                flow = wrap(_Loss(splines(True, "float32").to(room.device)))
                flow(image).backward()
                gradients.append(torch.cat([p.grad.flatten() for p in flow.parameters()]))
        finally:
            distributed.destroy_process_group()
    return {"backend": backend, "largest_difference": (gradients[0] - gradients[1]).abs().max().item()}


class _Loss(torch.nn.Module):
    def __init__(self, flow: ImageDensity) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, image: Tensor) -> Tensor:
        return self.flow.bits_per_dim(image).mean()


def _step(flow: ImageDensity, batch: int, size: tuple[int, int], room: Room) -> dict:
    image = flow_speed.images(batch, *size).to(room.device)
    step = flow_speed._training_step(flow.to(room.device), image)
    step()
    if room.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = _seconds(step, room)
    return {"seconds": round(seconds, 4), "peak_mib": round(flow_speed.peak_mib(room.device), 1)}


def _seconds(call: Callable[[], object], room: Room) -> float:
    """Median of five, after one that warms up."""
    return flow_speed.interleaved({"": call}, 1 if room.tiny else 5, room.device)[""] / 1e3 + 1e-9


def _slices(room: Room) -> tuple[Tensor, Tensor, str]:
    """(N, 1, 144, 176) of training scans and of held-out ones, and what they are in words."""
    files = [] if room.tiny else sorted(DATA.glob("ixi-hh/**/anat/*_T1w.nii.gz"))
    if not files:
        image = flow_speed.images(4, 32, 48).to(room.device)
        return image, image, "stand-ins"
    preprocess = Preprocess(spacing=SPACING, axis="axial", size=BLINDHARMONY["size"], percentile=99.5)
    scans = [preprocess(Scan(path, path.name)) for path in files]
    held, kept = (
        torch.cat([s.image[len(s.image) // 4 : -len(s.image) // 6, None] for s in part]).to(room.device)
        for part in (scans[:HELD_OUT], scans[HELD_OUT:])
    )
    said = f"{len(files)} scans of ixi-hh, resampled to {SPACING} mm to fill the paper's 144 x 176; {HELD_OUT} held out"
    return kept, held, said


@torch.no_grad()
def _held_out_bpd(flow: ImageDensity, image: Tensor) -> float:
    flow.eval()
    bpd = torch.cat([flow.bits_per_dim(part) for part in image[::4].split(32)]).mean().item()
    flow.train()
    return round(bpd, 4)


# name -> seconds that it may take, and what measures
PIECES: dict[str, tuple[float, Callable[[Room], dict | None]]] = {
    "card": (5, card),
    "tests": (240, tests),
    "limits": (30, limits),
    "flow_speed": (120, speed(flow_speed, compiled=False)),
    "flow_speed, compiled": (300, speed(flow_speed, compiled=True)),
    "harmonizing_speed": (120, speed(harmonizing_speed, compiled=False)),
    "harmonizing_speed, compiled": (300, speed(harmonizing_speed, compiled=True)),
    "step of BlindHarmony's flow, 144 x 176": (120, paper_step(splines, BLINDHARMONY)),
    "step of Harmonizing Flows' flow, 224 x 224": (120, paper_step(couplings, HARMONIZING)),
    "DDP": (60, ddp),
    "training": (240, train),
}
