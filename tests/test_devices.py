"""Which device computes, in which precision, and whether it computes rightly."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import smooth_picture
from pretended_device import pretending
from tiny_vaes import TINY
from torch import Tensor, nn
from typer.testing import CliRunner

from pca_protect import DeviceError, ModelError, ProtectConfig, UsageError, load_surrogate, protect
from pca_protect import device as device_module
from pca_protect.attack.posterior import Posterior
from pca_protect.cli.main import protect_app
from pca_protect.surrogates.encoder import Surrogate
from pca_protect.surrogates.self_test import require_agreement

CPU = torch.device("cpu")


def test_nothing_stays_pretended():
    before = [torch.cuda.is_available(), torch.backends.mps.is_available(), torch.cuda.device_count()]
    for kind in ("cuda", "mps"):
        with pretending(kind):
            assert [torch.cuda.is_available(), torch.backends.mps.is_available()] == [kind == "cuda", kind == "mps"]
            assert device_module.resolve_device("auto").type == kind
    assert [torch.cuda.is_available(), torch.backends.mps.is_available(), torch.cuda.device_count()] == before
    assert torch.rand(1).device.type == "cpu"
    assert not torch.__future__.get_overwrite_module_params_on_conversion()


def test_a_request_takes_a_device_by_its_name():
    assert ProtectConfig(device=torch.device("cuda", 1)) == ProtectConfig(device="cuda:1")
    with pytest.raises(UsageError, match="unknown device 'xpu'"):
        ProtectConfig(device=torch.device("xpu"))


@pytest.mark.parametrize("device", ["cuda:1", torch.device("cuda", 1)], ids=["name", "device"])
def test_the_second_of_two_devices(tiny_folder: Path, device: str | torch.device):
    """Tensors of the first would not mix with it."""
    with pretending("cuda", count=2):
        surrogate = load_surrogate(str(tiny_folder), device=device, precision="fp32")
        config = ProtectConfig(steps=1, preset="fast", mode="concentration", survive="social")
        assert protect(smooth_picture(45, 37), config, surrogate=surrogate).record.device == "cuda:1"


def test_a_device_by_index_is_a_request():
    assert ProtectConfig(device="cuda:1").digest() == ProtectConfig(device="cpu").digest()
    for name in ("cuda:", "cuda:-1", "cuda:N", "cuda:01", "cuda:100", "mps:1", "cpu:0", ""):
        with pytest.raises(UsageError, match=r"unknown device .*; choose auto, cpu, cuda, cuda:N"):
            ProtectConfig(device=name)
        with pytest.raises(UsageError, match="unknown device"):
            device_module.resolve_device(name)


@pytest.mark.parametrize(("count", "remedy"), [(1, "cuda:0`"), (2, "cuda:0` to cuda:1")])
def test_a_device_beyond_the_last_is_one_sentence(count: int, remedy: str):
    with pretending("cuda", count=count):
        with pytest.raises(DeviceError, match=rf"^device cuda:7 does not exist: .* use `device={remedy}$"):
            device_module.resolve_device("cuda:7")
        with pytest.raises(DeviceError, match="device mps is not available"):
            device_module.resolve_device(torch.device("mps"))
        with pytest.raises(DeviceError, match="device xpu is not available"):
            device_module.resolve_device(torch.device("xpu"))


@pytest.mark.parametrize("supported", [True, False])
def test_bf16_is_refused_on_a_cpu_that_emulates_it(supported: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(device_module, "cpu_has_bf16", lambda: supported)
    for device in ("cpu", "cuda"):
        if supported or device == "cuda":
            found = device_module.resolve_dtype("bf16", torch.device(device), overflows_fp16=True, model="one")
            assert found == torch.bfloat16
        else:
            with pytest.raises(DeviceError, match="50 times slower than fp32; use `precision=fp32`"):
                device_module.resolve_dtype("bf16", torch.device(device), overflows_fp16=True, model="one")


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists() or platform.machine() != "x86_64", reason="no list of features")
def test_bf16_takes_avx512():
    assert device_module.cpu_has_bf16() == ("avx512bw" in Path("/proc/cpuinfo").read_text())


Change = Callable[[Tensor], Tensor]


def encoder(change: Change = lambda latent: latent) -> Callable[[Tensor], Posterior]:
    """A linear one, on the CPU, whose mean is changed before it is returned."""
    weight = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def encode(pixels: Tensor) -> Posterior:
        latent = torch.nn.functional.conv2d(pixels, weight, stride=8)
        return Posterior(change(latent), latent.clamp(-1, 1))

    return encode


class _WrongGradient(torch.autograd.Function):
    """Values are right and the gradient's axes are exchanged, as by a kernel that misreads a memory format."""

    @staticmethod
    def forward(ctx: object, latent: Tensor) -> Tensor:
        return latent.clone()

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        return gradients[0].transpose(-1, -2)


WRONG: dict[str, tuple[Change, str]] = {
    "zeros over 256 px": (
        lambda latent: latent * (latent.shape[-1] <= 256 // 8),
        "its mean for a test picture of 512 px",
    ),
    "zeros": (torch.zeros_like, "its mean for a test picture of 64 px"),
    "half of the picture": (
        lambda latent: latent * (torch.arange(latent.shape[-1]) < latent.shape[-1] // 2),
        "its mean for a test picture of 64 px",
    ),
    "gradient": (_WrongGradient.apply, "its gradient for a test picture of 64 px"),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", WRONG)
def test_a_device_that_computes_nonsense_is_refused(name: str, dtype: torch.dtype):
    change, says = WRONG[name]
    with pytest.raises(DeviceError, match=rf"^device cpu computes sd wrongly: {says} differs .* `device=cpu`") as said:
        require_agreement(encoder(), encoder(change), device=CPU, dtype=dtype, name="sd", multiple=8)
    assert len(str(said.value)) <= 300
    assert said.value.exit_code == 3


@pytest.mark.parametrize(("dtype", "spread"), [(torch.float32, 0.005), (torch.bfloat16, 0.05), (torch.float16, 0.05)])
def test_rounding_is_accepted(dtype: torch.dtype, spread: float):
    """More of it than was measured."""
    generator = torch.Generator().manual_seed(0)

    def rounded(latent: Tensor) -> Tensor:
        return latent * (1 + spread * torch.randn(latent.shape, generator=generator))

    require_agreement(encoder(), encoder(rounded), device=CPU, dtype=dtype, name="sd", multiple=8)


def test_float32_is_held_to_more_than_half_precision():
    with pytest.raises(DeviceError, match=r"10% \(2% is accepted\)"):
        require_agreement(encoder(), encoder(lambda x: 1.1 * x), device=CPU, dtype=torch.float32, name="sd", multiple=8)
    require_agreement(encoder(), encoder(lambda x: 1.1 * x), device=CPU, dtype=torch.bfloat16, name="sd", multiple=8)


def test_an_encoder_is_tested_where_it_is_loaded_onto_an_accelerator(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    tested: list[tuple[torch.device, torch.dtype]] = []

    def noted(reference: object, encode: object, *, device: torch.device, dtype: torch.dtype, **_: object) -> None:
        tested.append((device, dtype))

    monkeypatch.setattr("pca_protect.surrogates.load.require_agreement", noted)
    load_surrogate(str(tiny_folder), device="cpu")
    assert not tested
    with pretending("cuda"):
        load_surrogate(str(tiny_folder))
    assert tested == [(torch.device("cuda"), torch.bfloat16)]


def test_the_reference_is_in_float32_on_the_cpu(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, tiny: Surrogate):
    references: list[Callable[[Tensor], Posterior]] = []
    monkeypatch.setattr(
        "pca_protect.surrogates.load.require_agreement", lambda reference, encode, **_: references.append(reference)
    )
    with pretending("cuda"):
        load_surrogate(str(tiny_folder), precision="bf16")
    pixels = torch.rand(1, 3, 64, 64)
    assert torch.equal(references[0](pixels).mean, tiny.posterior(pixels).mean)


def test_a_broken_device_ends_the_command_with_nothing_written(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    """`F.pad` of tensors over 256 px, as MPS had it."""
    monkeypatch.chdir(tmp_path)
    smooth_picture(45, 37).save("photo.png")
    with pretending("mps") as machine:
        machine.breaks_padding_over = 256
        done = CliRunner().invoke(protect_app, ["photo.png", "--vae", str(tiny_folder)])
    assert isinstance(done.exception, DeviceError)
    assert done.exception.exit_code == 3
    assert "of 512 px differs from the CPU's" in str(done.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_half_precision_that_overflows_is_not_called_a_broken_device(tmp_path: Path):
    vae = TINY["AutoencoderKL"]()
    nn.init.constant_(vae.encoder.conv_in.bias, 1e6)
    vae.save_pretrained(tmp_path)
    with (
        pretending("mps"),
        pytest.raises(ModelError, match=r"not finite for a test picture of 64 px on mps; .* `precision=fp32`"),
    ):
        load_surrogate(str(tmp_path), device="mps", precision="fp16")


def test_arithmetic_on_cuda_is_set_and_restored():
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul

    def flags() -> tuple[bool, bool, bool]:
        return cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark

    before = flags()
    for benchmark in (False, True):
        with device_module.cuda_arithmetic(torch.device("cuda"), benchmark=benchmark):
            assert flags() == (True, False, benchmark)
        assert flags() == before
    with device_module.cuda_arithmetic(torch.device("cpu"), benchmark=True):
        assert flags() == before
    try:
        cudnn.deterministic = products.allow_tf32 = True
        with device_module.cuda_arithmetic(torch.device("cuda"), benchmark=True):
            assert flags() == (True, False, False)
        assert products.allow_tf32
    finally:
        cudnn.deterministic = products.allow_tf32 = False
