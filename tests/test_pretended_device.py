"""The whole way on a pretended accelerator: load, protect and edit keep the rules of CUDA and MPS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import tiny_editors
import torch
import torch.nn.functional as F
from conftest import smooth_picture
from pretended_device import FREE_BYTES, PEAK_BYTES, Machine, pretending
from tiny_vaes import TINY
from torch import Tensor, nn

from pca_protect import DeviceError, ProtectConfig, Protected, load_surrogate, protect
from pca_protect.engine import demand, run_recipe
from pca_protect.eval.arms.denoiser import denoiser_of, has_denoiser
from pca_protect.eval.arms.perturb import Target, objective_and_start, request_for
from pca_protect.eval.arms.registry import ARMS, CONTROLS
from pca_protect.eval.check.posterior import figures_of
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.editors.memory import modules_of
from pca_protect.eval.editors.registry import EditSettings
from pca_protect.eval.pictures import to_pixels
from pca_protect.eval.whole_vae import decoded, latent_mean, load_whole_vae
from pca_protect.evaluation import NOISE_DRAWS
from pca_protect.io.picture import Picture
from pca_protect.memory import batch_size
from pca_protect.protection import protect_batch
from pca_protect.surrogates import self_test
from pca_protect.surrogates.encoder import AnySurrogate, Surrogate, ensemble
from pca_protect.surrogates.memory_efficient import NormSiLU

KL = "AutoencoderKL"

Load = Callable[..., Surrogate]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A diffusers folder for every kind of encoder."""
    made = {}
    for kind, make in TINY.items():
        torch.manual_seed(0)
        make().save_pretrained(made.setdefault(kind, tmp_path_factory.mktemp(kind)))
    return made


@pytest.fixture(scope="module", params=["cuda", "mps"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A machine with an accelerator; encoders are tested on a picture of 128 instead of 512 px when they are loaded."""
    with pretending(request.param) as machine, pytest.MonkeyPatch.context() as patch:
        patch.setattr(self_test, "LARGE_PX", 128)
        yield machine


@pytest.fixture(scope="module")
def load(machine: Machine, folders: dict[str, Path]) -> Load:
    """An encoder by kind or name, on the accelerator unless told otherwise, loaded once."""
    loaded: dict[tuple[str, ...], Surrogate] = {}

    def get(kind: str, *, device: str = machine.kind, precision: str = "fp32") -> Surrogate:
        key = (kind, device, precision)
        if key not in loaded:
            loaded[key] = load_surrogate(str(folders.get(kind, kind)), device=device, precision=precision)
        return loaded[key]

    return get


def picture(width: int = 72, height: int = 64, *, seed: int = 0, gray: bool = False) -> Picture:
    rgb = np.asarray(smooth_picture(width, height, channels=1 if gray else 3, seed=seed))
    return Picture(np.repeat(rgb[..., None], 3, axis=-1), gray=True) if gray else Picture(rgb)


def require_the_same(there: Protected, on_cpu: Protected, *, turned: float = 0.02) -> None:
    """But for the summation order, which turns signs near zero: up to a share of the channels. Every window starts from what
    those before it decided, and encoders with random weights amplify the difference."""
    change = np.abs(there.picture.rgb.astype(int) - there.original.rgb.astype(int))
    assert 0 < change.max() <= there.record.config["budget_levels"]
    differs = there.picture.rgb != on_cpu.picture.rgb
    assert differs.mean() < turned
    assert there.record.protected.latent == pytest.approx(on_cpu.record.protected.latent, rel=0.02)
    assert there.record.gain_over_noise == pytest.approx(on_cpu.record.gain_over_noise, rel=0.05)


@pytest.mark.parametrize("kind", TINY)
def test_every_kind_protects_as_on_the_cpu(machine: Machine, load: Load, kind: str):
    config = ProtectConfig(steps=2)
    there = protect(picture(), config, surrogate=load(kind))
    assert there.record.device == f"{machine.kind}:0"
    require_the_same(there, protect(picture(), config, surrogate=load(kind, device="cpu")))


@pytest.mark.parametrize("kind", TINY)
def test_every_kind_protects_in_half_precision(machine: Machine, load: Load, kind: str):
    surrogate = load(kind, precision="bf16" if machine.kind == "cuda" else "fp16")
    record = protect(picture(), ProtectConfig(steps=1), surrogate=surrogate).record
    assert record.precision == ("bfloat16" if machine.kind == "cuda" else "float16")
    on_cpu = protect(picture(), ProtectConfig(steps=1), surrogate=load(kind, device="cpu")).record
    assert record.protected.latent == pytest.approx(on_cpu.protected.latent, rel=0.25)


@pytest.mark.parametrize("kind", TINY)
def test_every_kind_has_the_gradient_of_the_cpu(load: Load, kind: str):
    """Channels-last pixels, as pictures have them; in checkpointed blocks too."""

    def gradient(surrogate: Surrogate) -> Tensor:
        pixels = to_pixels(picture()).to(surrogate.device).requires_grad_()
        return torch.autograd.grad(surrogate.posterior(pixels).mean.square().sum(), pixels)[0].cpu()

    expected = gradient(load(kind, device="cpu"))
    for surrogate in (load(kind), load(kind).checkpointed):
        assert torch.allclose(gradient(surrogate), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@dataclass(frozen=True)
class Request:
    """What `protect` is asked for."""

    config: dict[str, object] = field(default_factory=dict)
    encoders: tuple[str, ...] = (KL,)
    shown: Picture = field(default_factory=picture)
    masked: bool = False
    checkpointed: bool = False


REQUESTS = {
    "concentration": Request({"mode": "concentration"}),
    "subtle": Request({"mode": "subtle", "preset": "fast"}, encoders=("pocket",)),
    "posterior variance": Request({"target_variance": "posterior"}),
    "preset paper": Request({"preset": "paper"}),
    "preset fast": Request({"preset": "fast"}),
    "preset thorough": Request({"preset": "thorough"}),
    "preset instant": Request({"preset": "instant", "steps": 0}, encoders=("pocket",)),
    "max visibility": Request({"max_visibility": 2.0}),
    "survives jpeg": Request({"survive": "jpeg"}),
    "survives social": Request({"survive": "social"}),
    "scales": Request({"scales": (64, "native")}, shown=picture(104, 96)),
    "windows": Request({"tile_px": 128}, shown=picture(200, 136)),
    "scales and uploads in windows": Request(
        {"tile_px": 128, "scales": (64, "native"), "survive": "social", "mode": "subtle"},
        encoders=("pocket",),
        shown=picture(168, 96),
    ),
    "region": Request({"region": "center"}),
    "mask": Request(masked=True),
    "grey": Request(shown=picture(gray=True)),
    "odd sides": Request(shown=picture(45, 37)),
    "several encoders": Request(encoders=(KL, "AutoencoderTiny", "AutoencoderDC")),
    "several encoders, subtle, uploads": Request({"mode": "subtle", "survive": "social"}, encoders=(KL, "pocket")),
    "checkpointed": Request(checkpointed=True),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_every_request_protects_as_on_the_cpu(load: Load, name: str):
    request = REQUESTS[name]
    config = ProtectConfig(**{"steps": 2, **request.config})  # type: ignore[arg-type]
    mask = None
    if request.masked:
        mask = np.zeros(request.shown.rgb.shape[:2], dtype=np.bool_)
        mask[8:40, 10:60] = True

    def protected(**where: str) -> Protected:
        encoders: AnySurrogate = ensemble([load(encoder, **where) for encoder in request.encoders])
        if request.checkpointed:
            encoders = encoders.checkpointed
        return protect(request.shown, config, surrogate=encoders, mask=mask)

    turned = 0.15 if name == "windows" else 0.02
    require_the_same(protected(), protected(device="cpu"), turned=turned)


def test_batches_are_for_cuda_alone(machine: Machine, load: Load):
    """Metal aborts the process when a tensor exceeds its largest buffer."""
    pictures = [picture(seed=seed) for seed in range(3)]
    for batch in (None, 3):
        machine.clear()
        found = protect_batch(pictures, ProtectConfig(steps=1, batch=batch), surrogate=load(KL), evaluate=False)
        assert machine.largest_batch == (3 if machine.kind == "cuda" else 1)
    machine.clear()
    protect_batch(pictures[:2], ProtectConfig(steps=1, batch=2), surrogate=load(KL))
    assert machine.largest_batch == (2 * (2 + NOISE_DRAWS) if machine.kind == "cuda" else 1), "evaluated in one batch"
    read_back = [line for line in machine.syncs if line.startswith("pca_protect/evaluation.py")]
    assert [machine.syncs[line] for line in read_back] == [1], "all figures are read at once"
    at_once = batch_size(load(KL), demand(ProtectConfig(), height=64, width=72), at_most=None)
    assert at_once == (16 if machine.kind == "cuda" else 1)
    alone = protect(pictures[2], ProtectConfig(steps=1), surrogate=load(KL))
    assert np.mean(found[2].picture.rgb != alone.picture.rgb) < 0.02


def test_peak_memory_is_that_of_the_picture_on_the_device(machine: Machine, load: Load):
    surrogate = load(KL)
    machine.clear()
    record = protect(picture(), ProtectConfig(steps=1), surrogate=surrogate).record
    assert machine.peak_resets == 1
    assert record.peak_megabytes == PEAK_BYTES / 1e6


OUT_OF_MEMORY = {
    "cuda": (
        "CUDA out of memory. Tried to allocate 2.00 GiB.",
        "CUDA error: out of memory",
        "CUDA driver error: out of memory",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "GET was unable to find an engine to execute this computation",
    ),
    "mps": (
        "MPS backend out of memory (MPS allocated: 9.48 GiB, max allowed: 18.13 GiB).",
        "Invalid buffer size: 9.00 GiB",
    ),
}


def test_exhausted_memory_is_recognised_whatever_the_library_says(machine: Machine, load: Load):
    """The next attempt has checkpoints, which change no byte."""
    surrogate = load(KL)
    calm = protect(picture(), ProtectConfig(steps=1), surrogate=surrogate)
    for words in OUT_OF_MEMORY[machine.kind]:
        machine.failures.append(RuntimeError(words))
        assert np.array_equal(
            protect(picture(), ProtectConfig(steps=1), surrogate=surrogate).picture.rgb, calm.picture.rgb
        )
        assert not machine.failures
    machine.failures.append(RuntimeError("Expected all tensors to be on the same device"))
    with pytest.raises(RuntimeError, match="same device"):
        protect(picture(), ProtectConfig(steps=1), surrogate=surrogate)


def test_a_device_that_pads_wrongly_is_refused(machine: Machine, folders: dict[str, Path]):
    machine.breaks_padding_over = 100
    try:
        with pytest.raises(DeviceError, match=rf"^device {machine.kind} computes .* wrongly: its .* of 128 px") as said:
            load_surrogate(str(folders[KL]), device=machine.kind, precision="fp32")
        assert said.value.exit_code == 3
    finally:
        machine.breaks_padding_over = None


@pytest.mark.parametrize("sort", tiny_editors.EDITORS)
def test_every_editor_edits_as_on_the_cpu(
    machine: Machine, tmp_path_factory: pytest.TempPathFactory, pipelines: dict[str, Path], sort: str
):
    if sort not in pipelines:
        pipelines[sort] = tiny_editors.save(tiny_editors.EDITORS[sort](), tmp_path_factory.mktemp("editor") / sort)
    edits = []
    for device in (machine.kind, "cpu"):
        editor = load_editor(str(pipelines[sort]), device=device)
        shown = np.asarray(smooth_picture(editor.size_px, editor.size_px))
        settings = EditSettings(**{**vars(editor.settings), "steps": 2})
        edits.append(editor.edit([shown], "at night", settings, seeds=[1])[0].astype(int))
    assert np.abs(edits[0] - edits[1]).max() <= 1


@pytest.mark.parametrize("sort", ["stable-diffusion", "flux"])
def test_an_editor_that_does_not_fit_visits_the_gpu_in_parts(
    machine: Machine,
    tmp_path_factory: pytest.TempPathFactory,
    pipelines: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    sort: str,
):
    if machine.kind != "cuda":
        pytest.skip("only CUDA tells its free memory")
    if sort not in pipelines:
        pipelines[sort] = tiny_editors.save(tiny_editors.EDITORS[sort](), tmp_path_factory.mktemp("editor") / sort)
    whole = load_editor(str(pipelines[sort]), device=machine.kind)
    sizes = [
        sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
        for module in modules_of(whole.pipeline).values()
    ]
    assert not whole.offloaded
    edits = []
    for free in (FREE_BYTES, int(max(sizes) / 0.75)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None, free=free: (free, FREE_BYTES))
        editor = load_editor(str(pipelines[sort]), device=machine.kind)
        assert editor.offloaded == (free < FREE_BYTES)
        parts = list(modules_of(editor.pipeline).values())
        shown = np.asarray(smooth_picture(editor.size_px, editor.size_px))
        settings = EditSettings(**{**vars(editor.settings), "steps": 2})
        for _ in range(2):
            edit = editor.edit([shown], "at night", settings, seeds=[1])[0].astype(int)
        edits.append(edit)
        where = {parameter.device.type for module in parts for parameter in module.parameters()}
        assert where == ({"cpu"} if editor.offloaded else {machine.kind})
        assert editor.surrogate.device.type == machine.kind
        assert not (editor.offloaded and has_denoiser(editor))
    assert np.abs(edits[0] - edits[1]).max() <= 1
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (max(sizes), FREE_BYTES))
    with pytest.raises(DeviceError, match=r"GB of weights and device cuda has room for .*; use a larger GPU"):
        load_editor(str(pipelines[sort]), device=machine.kind)


@pytest.fixture(scope="module")
def pipelines() -> dict[str, Path]:
    """Folders of editors, as they are needed."""
    return {}


@pytest.fixture(scope="module")
def target(machine: Machine, pipelines: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Target:
    """What the compared methods differentiate: an encoder, and a UNet behind it."""
    sort = "stable-diffusion"
    if sort not in pipelines:
        pipelines[sort] = tiny_editors.save(tiny_editors.EDITORS[sort](), tmp_path_factory.mktemp("editor") / sort)
    editor = load_editor(str(pipelines[sort]), device=machine.kind)
    return Target(editor.surrogate, denoiser_of(editor))


@pytest.mark.parametrize("name", [name for name, arm in ARMS.items() if not arm.mode and name not in CONTROLS])
def test_every_compared_method_optimises(target: Target, name: str):
    request, clean = request_for(ARMS[name], steps=2), to_pixels(picture(64)).to(target.surrogate.device)
    generator = torch.Generator().manual_seed(0)
    objective, start = objective_and_start(ARMS[name], clean, target, config=request, generator=generator)
    change = run_recipe(clean, objective, request, init=start).pixels - clean
    assert change.device == target.surrogate.device
    assert 0 < float(change.abs().max()) <= request.budget_levels / 255 + 1e-6


def test_a_picture_is_checked_as_on_the_cpu(load: Load):
    there, on_cpu = (figures_of(picture(), load("pocket", **where)) for where in ({}, {"device": "cpu"}))
    assert vars(there) == pytest.approx(vars(on_cpu), rel=1e-3)


def test_a_whole_vae_decodes_as_on_the_cpu(machine: Machine, folders: dict[str, Path]):
    decodings = []
    for device in (machine.kind, "cpu"):
        vae = load_whole_vae(str(folders[KL]), device=torch.device(device))
        decodings.append(decoded(vae, latent_mean(vae, to_pixels(picture()).to(device))).cpu())
    assert torch.allclose(*decodings, atol=1e-4)


def test_windows_scales_and_uploads_in_half_precision(machine: Machine, load: Load):
    request = REQUESTS["scales and uploads in windows"]
    surrogate = load("pocket", precision="bf16" if machine.kind == "cuda" else "fp16")
    config = ProtectConfig(**{"steps": 2, **request.config, "mode": "diffusion"})  # type: ignore[arg-type]
    found = protect(request.shown, config, surrogate=surrogate)
    assert 0 < found.record.max_change_levels <= config.budget_levels
    on_cpu = protect(request.shown, config, surrogate=load("pocket", device="cpu"))
    assert found.record.protected.latent == pytest.approx(on_cpu.record.protected.latent, rel=0.1)


@pytest.mark.parametrize("half", ["forward", "backward"])
def test_group_normalisation_gets_contiguous_tensors(machine: Machine, half: str):
    """PyTorch up to 2.13 refuses channels-last in the forward pass, and misreads it in the backward pass."""
    torch.manual_seed(0)
    norm = nn.GroupNorm(2, 6).requires_grad_(False)
    x, outer = torch.randn(2, 1, 6, 4, 5)
    if half == "forward":
        x = x.to(memory_format=torch.channels_last)
    else:
        outer = outer.to(memory_format=torch.channels_last)

    def gradient(function: Callable[[Tensor], Tensor], device: str) -> Tensor:
        leaf = x.to(device).detach().requires_grad_()
        return torch.autograd.grad(function(leaf), leaf, outer.to(device))[0].cpu()

    expected = gradient(lambda one: F.silu(norm(one)), "cpu")
    fused = NormSiLU(norm).to(machine.kind)
    assert torch.allclose(gradient(fused, machine.kind), expected, atol=1e-6)


def test_copies_and_synchronisations_are_counted_by_line(machine: Machine):
    machine.clear()
    x = torch.rand(2, 3).to(machine.kind)
    y = x * x.new_tensor([1.0, 2.0, 3.0])
    assert float(y.sum()) > 0
    assert bool(y.isfinite().all())
    z = y.cpu()
    assert z.device.type == "cpu"
    first = test_copies_and_synchronisations_are_counted_by_line.__code__.co_firstlineno
    here = Path(__file__).relative_to(Path(__file__).resolve().parent.parent).as_posix()
    assert machine.uploads == {f"{here}:{first + line}": 1 for line in (2, 3)}
    assert machine.syncs == {f"{here}:{first + line}": 1 for line in (4, 5)}
    assert machine.downloads == {f"{here}:{first + 6}": 1}


def test_the_pretence_keeps_the_rules_of_the_device(machine: Machine):
    there, here = torch.rand(4, device=machine.kind), torch.rand(4)
    assert (there.device, here.device) == (torch.device(machine.kind, 0), torch.device("cpu"))
    with pytest.raises(RuntimeError, match=rf"same device, but add at .* got cpu and {machine.kind}:0"):
        there + here
    assert (there + torch.tensor(1.0)).device == there.device, "a number may come from the CPU"
    with pytest.raises(TypeError, match="can't convert"):
        there.numpy()
    with pytest.raises(RuntimeError, match="device type for generator"):
        torch.rand(4, device=machine.kind, generator=torch.Generator())
    if machine.kind == "mps":
        with pytest.raises(TypeError, match="doesn't support float64"):
            here.double().to("mps")
        with pytest.raises(TypeError, match="doesn't support float64"):
            there.double()
    with pytest.raises(RuntimeError, match="is_contiguous"):
        torch.native_group_norm(there.view(1, 2, 1, 2).transpose(1, 3), None, None, 1, 2, 2, 2, 1e-5)
