"""The inputs under Advanced."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from pca_protect.cli.web import templates
from pca_protect.cli.web.form import (
    AIM_NOTES,
    AIMS,
    CLEAR_HIDDEN,
    DESTINATION,
    DESTINATIONS,
    PARTS,
    PLACES,
    SIZES,
    SPEEDS,
    STRENGTH,
    STRENGTHS,
    FormState,
    editor_sizes,
    local_encoders,
    remote_encoders,
)

_PAINT = "rgba(230, 0, 122, 0.5)"
_START, _WHERE = STRENGTHS[STRENGTH - 1], DESTINATIONS[DESTINATION]


TIMED = ("mode", "preset", "budget", "vaes", "more_vaes", "survive", "scales", "max_visibility")
"""Inputs on which the time of a run depends."""


@dataclass(frozen=True)
class AdvancedInputs:
    """Components. Any: gradio adds event methods at run time.

    Attributes:
        named: by the names of `form.INPUTS`.
        painted: the canvas.
    """

    named: dict[str, Any]
    painted: Any

    @staticmethod
    def defaults(*, offline: bool) -> FormState:
        """The form before any input."""
        start = FormState(mode=_START.mode, max_visibility=_START.max_visibility, survive=_WHERE.survive)
        return replace(start, scales=editor_sizes(start.vaes, start.preset, offline=offline))


def advanced_inputs(*, offline: bool) -> AdvancedInputs:
    """Lays out the inputs under Advanced."""
    with gr.Accordion("Advanced", open=False, elem_id="advanced"):
        mode = gr.Radio(AIMS, value=_START.mode, label="What should happen when AI edits it?", elem_id="aim")
        aim_note = gr.HTML(templates.note(AIM_NOTES[_START.mode]))
        preset = gr.Radio(SPEEDS, value=FormState.preset, label="Speed", elem_id="speed")
        budget = gr.Slider(
            1, 32, FormState.budget_levels, step=1, label="Largest change, in levels of 255", elem_id="budget"
        )
        max_visibility = gr.Slider(
            0, 4, _START.max_visibility, step=0.1, label="Visibility limit (0: none)", elem_id="visible"
        )
        vaes = gr.CheckboxGroup(
            local_encoders(offline=offline),
            value=["auto"],
            label="Encoders to protect against",
            info="The protection targets editors that use one of these encoders.",
            elem_id="models",
        )
        more_vaes = gr.CheckboxGroup(
            remote_encoders(offline=offline),
            label="Other encoders (download needed)",
            visible=not offline,
            elem_id="more-models",
        )
        survive = gr.Radio(PLACES, value=_WHERE.survive, label="What must the protection survive?", elem_id="place")
        scales = gr.Radio(
            SIZES,
            value=_WHERE.scales,
            label="At which size will editors process it?",
            info="Editors downscale large pictures, which removes most of a fine change. Each size adds time.",
            elem_id="seen",
        )
        region = gr.Radio(PARTS, value="", label="Part to protect", elem_id="part")
        painted = gr.ImageMask(
            label="Paint over the part to protect",
            type="numpy",
            sources=(),
            transforms=(),
            brush=gr.Brush(colors=[_PAINT], default_color=_PAINT, color_mode="fixed", default_size=48),
            layers=False,
            visible=False,
            elem_id="painted",
        )
        notice = gr.Checkbox(
            False, label="Add a notice against data mining and AI training to the metadata", elem_id="notice"
        )
        strip_gps = gr.Checkbox(False, label="Remove location", elem_id="gps")
        strip_metadata = gr.Checkbox(False, label="Remove all metadata", elem_id="metadata")
        clear_hidden = gr.Checkbox(False, label=CLEAR_HIDDEN, elem_id="clear-hidden")
    quiet: dict[str, Any] = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}
    mode.change(lambda name: templates.note(AIM_NOTES[name]), mode, aim_note, **quiet)
    region.change(lambda name: gr.update(visible=name == "paint"), region, painted, **quiet)
    named = {
        "mode": mode,
        "preset": preset,
        "budget": budget,
        "vaes": vaes,
        "more_vaes": more_vaes,
        "survive": survive,
        "scales": scales,
        "region": region,
        "max_visibility": max_visibility,
        "notice": notice,
        "strip_gps": strip_gps,
        "strip_metadata": strip_metadata,
        "clear_hidden": clear_hidden,
    }
    return AdvancedInputs(named, painted)
