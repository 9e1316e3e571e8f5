"""Every form of file that people have, for every kind of VAE: it works, or one sentence says what to do.

`WRITE_TABLES=1 pytest tests/surrogates/test_weight_files.py` writes the tables of docs/surrogates.md.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from functools import cache
from pathlib import Path

import pytest
import torch
from conftest import ROOT, tiny_kl
from diffusers import ModelMixin
from safetensors.torch import load_file, save_file
from tiny_vaes import TINY, class_of, is_close, moments
from torch import Tensor, nn
from weight_forms import GROUPS, PUBLISHED, REFUSED, WITHOUT_CONFIG, WORKING, Form, is_published_in

from pca_protect import ModelError, UsageError, load_surrogate
from pca_protect.surrogates import checkpoint
from pca_protect.surrogates.load import load_surrogates
from pca_protect.surrogates.weight_files import variant_of, weights_in

DOCUMENT = ROOT / "docs" / "surrogates.md"
RECOGNISED = {
    *("AutoencoderKL", "AutoencoderKL RGBA", "AutoencoderKLFlux2", "AutoencoderKLTemporalDecoder"),
    *("AsymmetricAutoencoderKL", "ConsistencyDecoderVAE"),  # these three have AutoencoderKL's encoder
    *("AutoencoderKLQwenImage", "AutoencoderKLQwenImage RGBA", "AutoencoderKLWan", "AutoencoderTiny"),
}
"""VAEs whose configuration can be inferred from their tensors."""


@pytest.fixture(scope="session")
def vaes() -> dict[str, ModelMixin]:
    return {name: make() for name, make in TINY.items()}


@cache
def expected(name: str, dtype: torch.dtype, side_px: int) -> tuple[Tensor, Tensor | None]:
    """Moments as diffusers computes them in fp32 after the weights were rounded to `dtype`."""
    vae = nn.Module.to(nn.Module.to(TINY[name](), dtype), torch.float32)
    return moments(vae, picture(side_px))


def picture(side_px: int) -> Tensor:
    return torch.rand(1, 3, side_px, side_px, generator=torch.Generator().manual_seed(1))


def saved_dtype(form: str) -> torch.dtype:
    return torch.bfloat16 if "bf16" in form else torch.float16 if "fp16" in form else torch.float32


def one_sentence(error: Exception, at: Path) -> str:
    said = str(error)
    assert "\n" not in said
    assert len(said.replace(str(at), "")) <= 250, "with a path of 50 characters 300"
    return said.replace(f"{at.resolve()}/", "").replace(f"{at}/", "").replace(str(at), "FOLDER")


def outcome(name: str, vae: ModelMixin, form: str, at: Path) -> str:
    """`works` where moments are those of diffusers, what is said otherwise."""
    given = {**WORKING, **REFUSED}[form](vae, at)
    before = sorted(path.name for path in at.rglob("*"))
    try:
        surrogate = load_surrogate(str(given), device="cpu")
    except ModelError as error:
        return one_sentence(error, at)
    finally:
        assert sorted(path.name for path in at.rglob("*")) == before
    side_px = max(64, surrogate.multiple)
    mean, logvar = expected(name, saved_dtype(form), side_px)
    with torch.no_grad():
        found = surrogate.posterior(picture(side_px))
    assert is_close(found.mean, mean), (form, name)
    assert (found.logvar is None) if logvar is None else is_close(found.logvar, logvar), (form, name)
    return "works"


@pytest.fixture(scope="session")
def outcomes(vaes: dict[str, ModelMixin], tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], str]:
    """By form and VAE."""
    folder = tmp_path_factory.mktemp("forms")
    found = {}
    for form in (*WORKING, *REFUSED):
        for name, vae in vaes.items():
            if is_published_in(form, name):
                at = folder / "vae"
                found[form, name] = outcome(name, vae, form, at)
                shutil.rmtree(at)
    return found


def test_what_works(outcomes: dict[tuple[str, str], str]):
    for form in WORKING:
        for name in TINY:
            if not is_published_in(form, name):
                continue
            if form in WITHOUT_CONFIG and name not in RECOGNISED:
                assert "give the whole diffusers folder" in outcomes[form, name], (form, name)
            else:
                assert outcomes[form, name] == "works", (form, name)


def test_what_is_refused(outcomes: dict[tuple[str, str], str]):
    """The remedy that each sentence ends with."""
    remedies = {
        "Git LFS pointer": "run `git lfs pull`",
        "`.gguf`": "give the VAE as a .safetensors file",
        "pickle (`.pth`, `.ckpt`, `.bin`)": "convert the file to .safetensors",
        "folder with pickled weights": "convert the weights to safetensors",
        "truncated file": "delete it, then download or copy it again",
        "half a shard missing": "delete it, then download or copy it again",
        "shard named in the index missing": "copy or download it too",
        "one shard by itself": "give its folder or its index",
        "shards without an index": "copy or download it too",
        "damaged index": "delete it, then download or copy it again",
        "index that leads out of its folder": "delete it, then download or copy it again",
        "tensor of the wrong shape": "give both files of one model",
        "tensor missing": "give both files of one model",
        "tensor that the configuration has no place for": "give both files of one model",
        "another network's file": "give the whole diffusers folder",
        "decoder without its encoder": "give the VAE's own file",
        "several files to choose from": "give one of them by its path",
    }
    for form in REFUSED:
        for name in TINY:
            assert remedies[form] in outcomes[form, name], (form, name)


def cell(outcomes: dict[tuple[str, str], str], group: dict[str, Form], name: str) -> str:
    said = {outcomes[form, name] == "works" for form in group if (form, name) in outcomes}
    assert len(said) < 2, "a group of forms is loaded from all of them or from none"
    return {(): "", (True,): "works", (False,): "needs `config.json`"}[tuple(said)]


def tables(outcomes: dict[tuple[str, str], str]) -> str:
    lines = [f"| VAE | {' | '.join(GROUPS)} |", f"|---|{'---|' * len(GROUPS)}"]
    lines += [f"| {name} | {' | '.join(cell(outcomes, group, name) for group in GROUPS.values())} |" for name in TINY]
    lines += ["", "| column | forms |", "|---|---|"]
    lines += [f"| {title} | {'; '.join(group)} |" for title, group in GROUPS.items()]
    lines += ["", "| form | message |", "|---|---|"]
    refused = [(form, outcomes[form, "AutoencoderKL"]) for form in REFUSED]
    refused.append(("single file of an AutoencoderDC", outcomes["single file, names of diffusers", "AutoencoderDC"]))
    lines += [f"| {form} | {said} |" for form, said in refused]
    return "\n".join(lines)


def test_the_document_has_these_tables(outcomes: dict[tuple[str, str], str]):
    start, end = "<!-- tables: begin -->\n", "\n<!-- tables: end -->"
    before, rest = DOCUMENT.read_text(encoding="utf-8").split(start)
    inside, after = rest.split(end)
    if os.environ.get("WRITE_TABLES"):
        DOCUMENT.write_text(f"{before}{start}{tables(outcomes)}{end}{after}", encoding="utf-8")
        return
    assert inside == tables(outcomes)


@pytest.mark.parametrize("kind", PUBLISHED)
def test_a_bare_file_is_recognised_by_its_tensors(vaes: dict[str, ModelMixin], kind: str, tmp_path: Path):
    path = WORKING["single file, names of the publisher"](vaes[kind], tmp_path / "file")
    tensors = checkpoint.read_encoder([path], None)
    config = checkpoint.infer_config(tensors, path)
    assert config.pop("_class_name") == ("AutoencoderKLQwenImage" if kind == "AutoencoderKLWan" else class_of(kind))
    if "decoder_base_dim" in vaes[kind].config:  # Wan's class calls this one otherwise
        config["in_channels"] = config.pop("input_channels")
    decoders = {"up_block_types", "use_post_quant_conv"}
    for key in config.keys() - decoders:
        saved = vaes[kind].config[key]
        assert config[key] == (list(saved) if isinstance(saved, tuple) else saved), key


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 2), (1, 1, 1, 1), (4, 0, 3, 3), (2, 2, 2, 2, 2)])
@pytest.mark.parametrize("kind", ["AutoencoderKL", "AutoencoderKLQwenImage", "AutoencoderTiny"])
def test_a_bare_file_with_a_tensor_of_any_other_shape_is_refused(
    vaes: dict[str, ModelMixin], kind: str, shape: tuple[int, ...], tmp_path: Path
):
    """Each tensor that a configuration is inferred from, and one that none is."""
    path = WORKING["single file, names of diffusers"](vaes[kind], tmp_path / "file")
    tensors = load_file(path)
    named = (
        "conv_in.weight|conv_out.weight|blocks.0.*conv1.weight|layers.0.weight|layers.1.conv.0.bias|quant_conv.weight"
    )
    changed = [name for name in tensors if re.search(rf"^(?!decoder|post_)(.*[._])?({named})$", name)]
    assert len(changed) >= 2
    for name in changed:
        save_file({**tensors, name: torch.zeros(shape)}, path)
        with pytest.raises(ModelError) as caught:
            load_surrogate(str(path), device="cpu")
        one_sentence(caught.value, tmp_path / "file")


def test_names_are_translated_only_for_kinds_that_were_published_under_them(tmp_path: Path):
    """KVAE's own names are those of latent diffusion, and HunyuanImage's projections are convolutions."""
    tensors = {
        "encoder.mid.block_1.norm1.weight": torch.zeros(4),
        "encoder.mid_block.attentions.0.to_q.weight": torch.zeros(4, 4, 1, 1),
        "encoder.attentions.0.query.weight": torch.zeros(4),
    }
    save_file(tensors, tmp_path / "file.safetensors")
    for kind in ("AutoencoderKLKVAE", "AutoencoderKLHunyuanImage", "AutoencoderDC"):
        found = checkpoint.read_encoder([tmp_path / "file.safetensors"], kind)
        assert {name: tensor.shape for name, tensor in found.items()} == {
            name: tensor.shape for name, tensor in tensors.items()
        }
    assert set(checkpoint.read_encoder([tmp_path / "file.safetensors"], "AutoencoderKL")) == {
        "encoder.mid_block.resnets.0.norm1.weight",
        "encoder.mid_block.attentions.0.to_q.weight",
        "encoder.attentions.0.to_q.weight",
    }


def test_a_shard_of_the_decoder_is_not_needed(vaes: dict[str, ModelMixin], tmp_path: Path):
    at = WORKING["folder, sharded"](vaes["AutoencoderKL"], tmp_path / "sharded")
    needed = {path.name for path in weights_in(at)}
    spare = [path for path in at.glob("*-of-*") if path.name not in needed]
    assert spare
    for path in spare:
        path.unlink()
    assert load_surrogate(str(at), device="cpu").latent_channels == 4


@pytest.mark.parametrize("given", ["{", "[]", '{"weight_map": []}', '{"weight_map": {"encoder.a": 3}}'])
def test_an_index_without_a_map_is_refused(vaes: dict[str, ModelMixin], tmp_path: Path, given: str):
    at = WORKING["folder, sharded"](vaes["AutoencoderTiny"], tmp_path / "sharded")
    (at / "diffusion_pytorch_model.safetensors.index.json").write_text(given)
    with pytest.raises(ModelError, match="delete it, then download or copy it again"):
        load_surrogate(str(at), device="cpu")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ('{"model_type": "clip"}', "does not describe a VAE"),
        ('{"_class_name": ["AutoencoderKL"]}', "does not describe a VAE"),
        ('{"_class_name": "UNet2DModel"}', "cannot be a surrogate"),
        ("[]", "contains no JSON object"),
    ],
)
def test_a_folder_whose_config_is_another_models(tmp_path: Path, config: str, says: str):
    tiny_kl().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ModelError, match=says):
        load_surrogate(str(tmp_path), device="cpu")


def test_another_config_at_the_top_of_a_pipeline_is_passed_over(tmp_path: Path):
    tiny_kl().save_pretrained(tmp_path / "vae")
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    assert load_surrogate(str(tmp_path), device="cpu").origin == str(tmp_path / "vae")


LONG = "x" * 400


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"_class_name": f"Autoencoder{LONG}"}, "cannot be a surrogate; give the VAE"),
        ({"_class_name": "Autoencoder\nKL"}, "an Autoencoder KL cannot be a surrogate"),
        ({"_class_name": "Autoencoder\x1b[2J\ud800"}, r"an Autoencoder\?\[2J\? cannot be a surrogate"),
        ({"encoder_block_out_channels": LONG}, "config.json is not valid for AutoencoderTiny"),
        ({"encoder_block_out_channels": [LONG] * 4}, "config.json is not valid for AutoencoderTiny"),
        ({"act_fn": LONG}, "config.json is not valid for AutoencoderTiny"),
        ({"in_channels": 10**400}, "config.json is not valid for AutoencoderTiny"),
    ],
)
def test_a_message_quotes_little_of_a_configuration(
    vaes: dict[str, ModelMixin], tmp_path: Path, changes: dict[str, object], says: str
):
    vaes["AutoencoderTiny"].save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **changes}))
    with pytest.raises(ModelError, match=says) as caught:
        load_surrogate(str(tmp_path), device="cpu")
    one_sentence(caught.value, tmp_path)


@pytest.mark.parametrize(
    ("name", "tensor", "says"),
    [
        (f"encoder.{LONG}", torch.zeros(1), "unknown tensor encoder.xxx"),
        ("encoder.\n.weight", torch.zeros(1), "unknown tensor encoder. .weight"),
        (f"encoder.{LONG}", torch.full((1,), torch.nan), "holds values that are not finite"),
        ("encoder.layers.0.weight", torch.zeros((1,) * 200), "do not fit the configuration"),
    ],
)
def test_a_message_quotes_little_of_the_weights(
    vaes: dict[str, ModelMixin], tmp_path: Path, name: str, tensor: Tensor, says: str
):
    vaes["AutoencoderTiny"].save_pretrained(tmp_path)
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    save_file({**load_file(weights), name: tensor}, weights)
    with pytest.raises(ModelError, match=says) as caught:
        load_surrogate(str(tmp_path), device="cpu")
    one_sentence(caught.value, tmp_path)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([f"{letter}{LONG[:230]}.safetensors" for letter in "ab"], "several .safetensors files"),
        ([f"{LONG[:240]}.ckpt"], "convert the weights to safetensors"),
        ([f"{LONG[:220]}-00001-of-00002.safetensors"], "without their index"),
    ],
)
def test_a_message_quotes_little_of_file_names(tmp_path: Path, names: list[str], says: str):
    TINY["AutoencoderTiny"]().save_config(tmp_path)
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(ModelError, match=says) as caught:
        load_surrogate(str(tmp_path), device="cpu")
    one_sentence(caught.value, tmp_path)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (LONG[:200], "which is not there; copy or download it too"),
        (LONG, "has no map of tensors to shards"),
        ("\ud800", "has no map of tensors to shards"),
    ],
)
def test_an_index_with_a_name_that_no_file_has(vaes: dict[str, ModelMixin], tmp_path: Path, name: str, says: str):
    """A system refuses names over 255 bytes even to the question whether there is such a file."""
    at = WORKING["folder, sharded"](vaes["AutoencoderTiny"], tmp_path / "sharded")
    index = at / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"encoder.a": f"{name}.safetensors"}}))
    with pytest.raises(ModelError, match=says) as caught:
        load_surrogate(str(at), device="cpu")
    one_sentence(caught.value, at)


@pytest.mark.parametrize(
    "name", [LONG, f"{LONG}/{LONG}", f"/{LONG}", f"{LONG}.safetensors", "a\0b", "a\0b.safetensors"]
)
def test_a_name_that_no_file_can_have(name: str):
    with pytest.raises((ModelError, UsageError)) as caught:
        load_surrogate(name, device="cpu", offline=True)
    assert len(str(caught.value).replace(name, "")) <= 250


def test_variants_by_name():
    said = {
        "diffusion_pytorch_model.safetensors": None,
        "diffusion_pytorch_model.bf16.safetensors": "bf16",
        "diffusion_pytorch_model.non_ema.safetensors": "non_ema",
        "diffusion_pytorch_model-00001-of-00002.safetensors": None,
        "diffusion_pytorch_model.fp16-00001-of-00002.safetensors": "fp16",
        "vae.safetensors": None,
    }
    assert {name: variant_of(Path(name)) for name in said} == said


@pytest.mark.parametrize(
    "form", ["folder, fp16 variant", "folder, bf16 variant", "single file, names of the publisher"]
)
@pytest.mark.parametrize("kind", ["AutoencoderKL", "AutoencoderTiny"])
def test_one_encoder_in_two_files_is_recognised(vaes: dict[str, ModelMixin], tmp_path: Path, kind: str, form: str):
    one = WORKING["diffusers folder"](vaes[kind], tmp_path / "one")
    other = WORKING[form](vaes[kind], tmp_path / "other")
    with pytest.raises(UsageError, match="have the same weights; give one of them"):
        load_surrogates([str(one), str(other)], device="cpu")


def test_a_bf16_copy_has_another_digest_and_the_same_weights(vaes: dict[str, ModelMixin]):
    whole = {name: tensor.clone() for name, tensor in vaes["AutoencoderKL"].state_dict().items()}
    bf16, fp16 = (
        {name: tensor.to(dtype) for name, tensor in whole.items()} for dtype in (torch.bfloat16, torch.float16)
    )
    assert checkpoint.digest(whole) == checkpoint.digest(fp16) != checkpoint.digest(bf16)
    assert checkpoint.same_weights(whole, bf16)
    assert checkpoint.same_weights(fp16, bf16)


def test_a_fine_tuned_copy_is_another_encoder(vaes: dict[str, ModelMixin]):
    """One per cent in one tensor."""
    whole = {name: tensor.clone() for name, tensor in vaes["AutoencoderKL"].state_dict().items()}
    tuned = {**whole, "encoder.conv_in.weight": whole["encoder.conv_in.weight"] * 1.01}
    assert not checkpoint.same_weights(whole, tuned)
    assert not checkpoint.same_weights(whole, {**whole, "encoder.more": torch.zeros(1)})
    assert not checkpoint.same_weights(whole, {**whole, "encoder.conv_in.bias": torch.zeros(1)})


def test_no_message_names_a_place_of_the_test(outcomes: dict[tuple[str, str], str]):
    assert not [said for said in outcomes.values() if re.search(r"/tmp|pytest", said)]
