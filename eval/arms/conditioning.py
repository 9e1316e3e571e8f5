"""An attack through the UNet of an instruction editor. It is given the instructions, which a real protection cannot know.

It answers whether a perturbation of a budget could do more than the attacks on the encoder do.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from pca_protect.attack.pgd import Objective
from pca_protect.eval.editors.editor import Editor


def prediction_away(
    editor: Editor, clean: Tensor, edits: Tensor, prompts: list[str], generator: torch.Generator
) -> Objective:
    """-E ||u(x_t, t, prompt, m) - u(x_t, t, prompt, m_clean)||^2: moves the UNet's prediction u, given the picture's posterior
    mean m, away from that given the clean one, over random timesteps and noise. The conditioning is that of InstructPix2Pix
    (Brooks et al. 2022, arXiv 2211.09800, section 3.2). Its gradient is 0 at the clean pixels: start elsewhere.

    Args:
        editor: of kind `instruct`, see `knows_conditioning`.
        clean: pixels `(1, 3, H, W)` in [0, 1].
        edits: pixels `(P, 3, H, W)` of the clean edit with each prompt; their latents are noised to x_t.
        prompts: P instructions.
        generator: draws timesteps and noise.
    """
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler  # noqa: PLC0415 - takes seconds

    pipeline, surrogate = editor.pipeline, editor.surrogate
    scheduler = DDPMScheduler.from_config(
        pipeline.scheduler.config
    )  # the noise of the UNet's training, not of a sampler
    unet = pipeline.unet if pipeline.unet.dtype == torch.float32 else copy.deepcopy(pipeline.unet).float()
    with torch.no_grad():
        tokens = pipeline.tokenizer(
            prompts,
            padding="max_length",
            max_length=pipeline.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        words = pipeline.text_encoder(tokens.to(surrogate.device))[0].float()
        wanted = surrogate.posterior(edits).mean * float(pipeline.vae.config.scaling_factor)
        given = surrogate.posterior(clean).mean

    def objective(pixels: Tensor) -> Tensor:
        time = torch.randint(scheduler.config.num_train_timesteps, (len(wanted),), generator=generator).to(
            wanted.device
        )
        noise = torch.randn(wanted.shape, generator=generator).to(wanted.device)
        noisy = scheduler.add_noise(wanted, noise, time)

        def predicted(mean: Tensor) -> Tensor:
            inputs = torch.cat([noisy, mean.expand_as(noisy)], dim=1)
            prediction: Tensor = unet(inputs, time, encoder_hidden_states=words).sample
            return prediction

        with torch.no_grad():
            before = predicted(given)
        return -(predicted(surrogate.posterior(pixels).mean) - before).square().mean().view(1)

    return objective


def knows_conditioning(editor: Editor) -> bool:
    """Whether the editor has a UNet that takes the posterior mean beside the noisy latents, and a single text encoder."""
    unet = getattr(editor.pipeline, "unet", None)
    return (
        editor.kind == "instruct"
        and unet is not None
        and unet.config.in_channels == 2 * editor.surrogate.latent_channels
        and getattr(editor.pipeline, "text_encoder_2", None) is None
    )
