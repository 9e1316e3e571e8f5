"""Measurements of five pictures that never were, simple enough that every column of every table follows by hand.

All differences to noise are distinct, so that the Wilcoxon test is exact: of 2^5 = 32 sign patterns one has a rank sum of 0, two
have one of at most 1, five of at most 3, and the two-sided p is twice their share.
"""

from __future__ import annotations

from pca_protect.eval.arms.registry import NOISE_LINF, NOISE_VISIBLE
from pca_protect.eval.benches.configs import EditingConfig
from pca_protect.eval.styles import STYLES
from pca_protect.eval.tables import Measured
from pca_protect.eval.trial import EditPrompt

PICTURES = [f"{number}.png" for number in range(1, 6)]
PROMPTS = (EditPrompt("snow", "add some snow", STYLES["snow"]), EditPrompt("door", "a red door", None))
ARMS = ("photoguard", "advdm", "pca-diffusion")
CONFIG = EditingConfig("photos", arms=ARMS, prompts=("snow", "a red door"), seeds=1)

BEYOND_NOISE = {
    "photoguard": (0.01, 0.02, 0.03, 0.04, 0.05),  # rank sum of the negative ones 0
    "advdm": (-0.01, 0.02, 0.03, 0.04, 0.05),  # 1
    "pca-diffusion": (-0.01, -0.02, 0.03, 0.04, 0.05),  # 3
}
P = {"photoguard": 2 * 1 / 32, "advdm": 2 * 2 / 32, "pca-diffusion": 2 * 5 / 32}
P_HOLM = {"photoguard": 3 * 2 / 32, "advdm": 2 * 4 / 32, "pca-diffusion": 10 / 32}
APART = {NOISE_LINF: 0.1, NOISE_VISIBLE: 0.2}
"""FLIP to the clean edit: of noise; that of the arms is `BEYOND_NOISE` above that of `NOISE_LINF`."""
CLOSER = {NOISE_LINF: 0.01, NOISE_VISIBLE: 0.03, "photoguard": 0.05, "advdm": -0.02, "pca-diffusion": 0.08}
"""By how much the edit is closer to the original than the clean edit is."""
DISOBEDIENT = {NOISE_LINF: 0.1, NOISE_VISIBLE: 0.2, "photoguard": 0.4, "advdm": -0.1, "pca-diffusion": 0.3}
"""By how much the edit with the prompt `snow` is further from the rendered style than the clean edit is, in FLIP."""
LESS_LIKE_THE_PROMPT = {NOISE_LINF: 0.01, NOISE_VISIBLE: 0.02, "photoguard": 0.05, "advdm": 0.0, "pca-diffusion": -0.04}
"""By how much CLIP's similarity to the prompt falls."""
BLURRED = {NOISE_LINF: -0.1, NOISE_VISIBLE: -0.05, "photoguard": 0.2, "advdm": 0.1, "pca-diffusion": 0.0}
"""By how much the edit is blurrier than the clean edit."""
VISIBLE = {NOISE_LINF: 0.08, NOISE_VISIBLE: 0.16, "photoguard": 0.16, "advdm": 0.12, "pca-diffusion": 0.1}
SECONDS = {NOISE_LINF: 0.001, NOISE_VISIBLE: 7.0, "photoguard": 4.0, "advdm": 16.0, "pca-diffusion": 8.0}


def apart(arm: str, picture: int) -> float:
    return APART[NOISE_LINF] + BEYOND_NOISE[arm][picture] if arm in BEYOND_NOISE else APART[arm]


def clean(picture: int) -> dict[str, object]:
    """The clean edit of the last picture with the prompt `snow` failed: without the prompt it came closer to the style."""
    common = {"to_original": {"flip": 0.5}, "prompt": {"clip": 0.3}, "picture": {"blur": 0.4}}
    known = {"to_target": 0.2, "to_target_without": 0.1 if picture == 4 else 0.6}
    return {"edits": {"snow/0": {**common, **known}, "door/0": common}}


def changed(arm: str, picture: int) -> dict[str, object]:
    common = {
        "to_original": {"flip": 0.5 - CLOSER[arm]},
        "to_clean": {"flip": apart(arm, picture)},
        "prompt": {"clip": 0.3 - LESS_LIKE_THE_PROMPT[arm]},
        "picture": {"blur": 0.4 + BLURRED[arm]},
    }
    visible = {"max_change_levels": 16, "rms_levels": 9.0, "flip": VISIBLE[arm], "haarpsi": VISIBLE[arm] ** 2}
    edits = {"snow/0": {**common, "to_target": 0.2 + DISOBEDIENT[arm]}, "door/0": common}
    return {"edits": edits, "visible": visible, "seconds": SECONDS[arm]}


def measured() -> Measured:
    entries = {
        name: {"clean": clean(number), **{f"{arm} 16": changed(arm, number) for arm in VISIBLE}}
        for number, name in enumerate(PICTURES)
    }
    return Measured("an editor", PROMPTS, PICTURES, entries)
