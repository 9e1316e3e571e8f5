"""Measurements of nine pictures that never were, simple enough that every column of every table follows by hand.

All differences to noise are distinct, so that the Wilcoxon test is exact: of 2^9 = 512 sign patterns one has a rank sum of 0, two
have one of at most 1, five of at most 3, and the two-sided p is twice their share.
"""

from __future__ import annotations

from pca_protect.eval.arms.controls import NOISE_SPECTRUM, SHUFFLED, UNRELATED
from pca_protect.eval.arms.registry import NOISE_LINF
from pca_protect.eval.benches.configs import EditingConfig
from pca_protect.eval.measured import Measured
from pca_protect.eval.styles import STYLES
from pca_protect.eval.trial import EditPrompt

PICTURES = [f"{number}.png" for number in range(9)]
PROMPTS = (EditPrompt("snow", "add some snow", STYLES["snow"]), EditPrompt("door", "a red door", None))
ARMS = ("photoguard", "advdm", "pca-diffusion")
DECIDED = "pca-diffusion"
SEEDS = 2
CONFIG = EditingConfig(
    "photos", arms=ARMS, own_controls=(DECIDED,), prompts=("snow", "a red door"), seeds=SEEDS, metrics=("flip",)
)

BEYOND_NOISE = {
    "photoguard": (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09),  # rank sum of the negative ones 0
    "advdm": (-0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09),  # 1
    "pca-diffusion": (-0.01, -0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09),  # 3
}
P = {"photoguard": 2 * 1 / 512, "advdm": 2 * 2 / 512, "pca-diffusion": 2 * 5 / 512}
P_HOLM = {"photoguard": 3 * 2 / 512, "advdm": 2 * 4 / 512, "pca-diffusion": 10 / 512}
SOFT, LOUD = "noise-visible 8", "noise-visible 16"
SHUFFLED_PCA, SPECTRUM_PCA = f"{DECIDED} 16 {SHUFFLED}", f"{DECIDED} 16 {NOISE_SPECTRUM}"
LINF = f"{NOISE_LINF} 16"
AS_VISIBLE = {"photoguard": LOUD, "advdm": SOFT, "pca-diffusion": SOFT}
"""The noise that is as visible as the arm. `photoguard` is the most visible one."""
APART = {LINF: 0.1, LOUD: 0.2, SOFT: 0.05, SHUFFLED_PCA: 0.12, SPECTRUM_PCA: 0.11, UNRELATED: 0.5}
"""FLIP to the clean edit: of controls; that of the arms is `BEYOND_NOISE` above that of `LINF`."""
OTHER_SEED = {"snow": 0.3, "door": 0.1}
"""FLIP between the two clean edits."""
WITHOUT = 0.02
"""What the perturbation's copy adds to the distance to the clean edit."""
RMS = {"to_clean": 10.0, "within": 8.0, "clean": 6.0}
CLOSER = {"photoguard": 0.05, "advdm": -0.02, "pca-diffusion": 0.08, LINF: 0.01, LOUD: 0.03}
"""By how much the edit is closer to the original than the clean edit is; 0 for other controls, as below."""
DISOBEDIENT = {"photoguard": 0.5, "advdm": -0.1, "pca-diffusion": 0.35, LINF: 0.1, LOUD: 0.2}
"""By how much the edit with the prompt `snow` is further from the rendered style than the clean edit is, in FLIP."""
LESS_LIKE_THE_PROMPT = {"photoguard": 0.05, "advdm": 0.0, "pca-diffusion": -0.04, LINF: 0.01, LOUD: 0.02}
"""By how much CLIP's similarity to the prompt falls."""
BLURRED = {"photoguard": 0.2, "advdm": 0.1, "pca-diffusion": 0.0, LINF: -0.1, LOUD: -0.05}
"""By how much the edit is blurrier than the clean edit."""
FAILED = {"photoguard": 1.0, "advdm": 0.0, "pca-diffusion": 0.5, LINF: 0.0, LOUD: 0.0}
"""Share of edits with the prompt `snow` that are at least 0.6 from the style: of 0.2 and 0.26 plus `DISOBEDIENT`."""
VISIBLE = {"photoguard": 0.16, "advdm": 0.12, "pca-diffusion": 0.1, LINF: 0.08, LOUD: 0.15, SOFT: 0.09}
SECONDS = {LINF: 0.001, "photoguard": 4.0, "advdm": 16.0, "pca-diffusion": 8.0}

ORIGINAL, TARGET, CLIP, BLUR = (0.5, 0.54), (0.2, 0.26), (0.3, 0.32), (0.4, 0.41)
"""Of the clean edits 0 and 1: FLIP to the original and to the style, similarity to the prompt, blur."""


def apart(arm: str, picture: int) -> float:
    return APART[LINF] + BEYOND_NOISE[arm][picture] if arm in BEYOND_NOISE else APART[arm]


def clean(picture: int) -> dict[str, object]:
    """The clean edits of the last picture with the prompt `snow` failed: without the prompt they came closer to the style."""
    edits = {}
    for number in range(SEEDS):
        common = {"to_original": {"flip": ORIGINAL[number]}, "prompt": {"clip": CLIP[number]}}
        common["picture"] = {"blur": BLUR[number]}
        known = {"to_target": TARGET[number], "to_target_without": 0.1 if picture == 8 else 0.6}
        edits |= {f"snow/{number}": {**common, **known}, f"door/{number}": common}
    pairs = {prompt: {"0/1": {"flip": value, "rms": RMS["clean"]}} for prompt, value in OTHER_SEED.items()}
    return {"edits": edits, "pairs": pairs}


def changed(arm: str, picture: int) -> dict[str, object]:
    edits = {}
    for number in range(SEEDS):
        common = {
            "to_original": {"flip": ORIGINAL[number] - CLOSER.get(arm, 0)},
            "to_clean": {"flip": apart(arm, picture)},
            "prompt": {"clip": CLIP[number] - LESS_LIKE_THE_PROMPT.get(arm, 0)},
            "picture": {"blur": BLUR[number] + BLURRED.get(arm, 0)},
        }
        further = {"to_target": TARGET[number] + DISOBEDIENT.get(arm, 0)}
        edits |= {f"snow/{number}": {**common, **further}, f"door/{number}": common}
    visible = VISIBLE.get(arm, 0.1)
    found: dict[str, object] = {
        "edits": edits,
        "visible": {"max_change_levels": 16, "rms_levels": 9.0, "flip": visible, "haarpsi": visible**2},
    }
    if arm != UNRELATED:
        carried = {"share": 0.5, "pasted": visible / 2, "without": apart(arm, picture) - WITHOUT}
        found["carried"] = dict.fromkeys(edits, carried)
    noisy = arm == LINF
    to_clean = dict.fromkeys(("0/1", "1/0"), RMS["clean" if noisy else "to_clean"])
    within = {"0/1": RMS["clean" if noisy else "within"]}
    found["sets"] = {prompt.name: {"to_clean": to_clean, "within": within} for prompt in PROMPTS}
    if arm in AS_VISIBLE:
        found["as_visible"] = AS_VISIBLE[arm]
    if arm in SECONDS:
        found["seconds"] = SECONDS[arm]
    return found


def measured() -> Measured:
    entries = {
        name: {
            "clean": clean(number),
            **{f"{arm} 16": changed(arm, number) for arm in ARMS},
            **{variant: changed(variant, number) for variant in APART},
        }
        for number, name in enumerate(PICTURES)
    }
    return Measured("an editor", PROMPTS, PICTURES, entries, (NOISE_LINF, *ARMS), SEEDS)
