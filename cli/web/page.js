// Behaviour of the page that needs no server: comparing, dropped folders, and a question before unsaved results are left.
"use strict";
(() => {
  const FOLDER_MARK = "\u01c0"; // as in filenames.py

  // Comparison: the cut lies at a share of the visible frame, wherever the picture is scrolled to.
  function placeCut(compare) {
    const frame = compare.querySelector(".frame");
    const stack = compare.querySelector(".stack");
    const share = compare.querySelector("input[type=range]").value / 100;
    const visible = Math.min(frame.clientWidth, stack.offsetWidth);
    stack.style.setProperty("--cut", `${frame.scrollLeft + share * visible}px`);
  }

  function zoom(compare, value) {
    const frame = compare.querySelector(".frame");
    for (const image of compare.querySelectorAll(".stack img")) {
      if (!image.naturalWidth) continue;
      const natural = image.naturalWidth / devicePixelRatio;
      const width = value === "fit" ? Math.min(natural, frame.clientWidth) : natural * Number(value);
      image.style.width = `${width}px`;
    }
    for (const button of compare.querySelectorAll("[data-zoom]")) {
      button.setAttribute("aria-pressed", String(button.dataset.zoom === value));
    }
    placeCut(compare);
  }

  const compareOf = (target) => target.closest?.(".compare");

  document.addEventListener("load", (event) => {
    const compare = compareOf(event.target);
    if (compare && event.target.tagName === "IMG") {
      zoom(compare, compare.querySelector("[data-zoom][aria-pressed=true]").dataset.zoom);
    }
  }, true);
  document.addEventListener("input", (event) => {
    const compare = compareOf(event.target);
    if (compare) placeCut(compare);
    if (event.target.closest("#strength")) sayStrength();
  });
  document.addEventListener("scroll", (event) => {
    const compare = event.target.closest?.(".compare");
    if (compare) placeCut(compare);
  }, true);
  addEventListener("resize", () => document.querySelectorAll(".compare").forEach(placeCut));
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-zoom]");
    if (button) zoom(compareOf(button), button.dataset.zoom);
    event.target.closest(".get-file")?.classList.add("taken");
  });
  // Pulling the edge itself, with a mouse or a finger.
  document.addEventListener("pointerdown", (event) => {
    const compare = compareOf(event.target);
    if (!compare) return;
    if (event.target.closest("[data-hold]")) compare.classList.add("held");
    if (!event.target.closest(".edge")) return;
    event.preventDefault();
    const frame = compare.querySelector(".frame");
    const range = compare.querySelector("input[type=range]");
    const move = (moved) => {
      const visible = Math.min(frame.clientWidth, compare.querySelector(".stack").offsetWidth);
      range.value = 100 * (moved.clientX - frame.getBoundingClientRect().left) / visible;
      placeCut(compare);
    };
    addEventListener("pointermove", move);
    addEventListener("pointerup", () => removeEventListener("pointermove", move), { once: true });
  });
  const release = () => document.querySelectorAll(".held").forEach((compare) => compare.classList.remove("held"));
  for (const name of ["pointerup", "pointercancel", "keyup"]) addEventListener(name, release);
  document.addEventListener("keydown", (event) => {
    if (event.key === " " && event.target.closest("[data-hold]")) compareOf(event.target).classList.add("held");
  });

  // The slider says its position in words.
  function sayStrength() {
    const words = document.getElementById("strength-words");
    const range = document.querySelector("#strength input[type=range]");
    if (!words || !range) return;
    const word = JSON.parse(words.textContent)[range.value - 1];
    const info = document.querySelector("#strength .info-text");
    if (info) info.textContent = word;
    range.setAttribute("aria-valuetext", word);
  }

  // A dropped folder becomes its files, with the folders marked in their names.
  async function filesOf(entry, prefix) {
    if (entry.isFile) {
      const file = await new Promise((done, failed) => entry.file(done, failed));
      return [new File([file], prefix + file.name, { type: file.type })];
    }
    const reader = entry.createReader();
    const found = [];
    for (;;) { // browsers return at most 100 entries at once
      const some = await new Promise((done, failed) => reader.readEntries(done, failed));
      if (!some.length) break;
      for (const one of some) found.push(...await filesOf(one, prefix + entry.name + FOLDER_MARK));
    }
    return found;
  }

  document.addEventListener("drop", (event) => {
    const area = event.target.closest?.("#files");
    const entries = [...(event.dataTransfer?.items ?? [])].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (!area || event.isTrusted === undefined || !entries.some((entry) => entry.isDirectory)) return;
    event.preventDefault();
    event.stopPropagation();
    Promise.all(entries.map((entry) => filesOf(entry, ""))).then((lists) => {
      const transfer = new DataTransfer();
      for (const file of lists.flat()) if (!file.name.split(FOLDER_MARK).pop().startsWith(".")) transfer.items.add(file);
      const input = area.querySelector("input[type=file]");
      input.files = transfer.files;
      input.dispatchEvent(new Event("change", { bubbles: true }));
    });
  }, true);

  // Leaving: results that were not downloaded and running jobs are worth a question.
  // Not when the page or gradio, which shows an error first, loads it again after a lost connection.
  let lostAt = -Infinity;
  addEventListener("beforeunload", (event) => {
    if (Date.now() - lostAt < 15000 || document.querySelector(".toast-body.error")) return;
    if (document.querySelector("#job-status progress, .get-file:not(.taken)")) event.preventDefault();
  });

  // A lost connection: the server keeps files, results and the run. The page says so, and loads again if its progress is no
  // longer that of the server.
  let before = null;
  let stale = 0;
  function say(text) {
    let banner = document.getElementById("connection");
    if (!banner) {
      banner = document.createElement("div");
      banner.id = "connection";
      banner.setAttribute("role", "alert");
      document.body.append(banner);
    }
    if (banner.textContent !== text) banner.textContent = text;
    banner.hidden = !text;
  }
  async function checkConnection() {
    let now;
    try {
      const answer = await fetch("session", { cache: "no-store", signal: AbortSignal.timeout(10000) });
      if (!answer.ok) throw new Error(answer.statusText);
      now = await answer.json();
    } catch {
      lostAt = Date.now();
      say("Connection lost. Your pictures and the run are kept; reconnecting.");
      return;
    }
    say(now.open ? "" : "This page has expired. Reload it, and upload the pictures again.");
    const bar = document.querySelector("#job-status progress");
    stale = bar && before && (!now.running || bar.value < before.share - 0.001) ? stale + 1 : 0;
    before = now;
    if (stale >= 2) {
      lostAt = Date.now();
      location.reload();
    }
  }
  setInterval(checkConnection, 2500);

  // A list of choices that is left with Tab stays open in gradio 6.31; Escape closes it.
  document.addEventListener("keydown", (event) => {
    if (event.key === "Tab" && event.target.matches?.("[role=combobox]")) {
      event.target.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
    }
  }, true);

  // Gradio has no attributes for roles and names of groups, and makes every radio button a stop of the Tab key.
  function nameGroups() {
    const announcement = document.getElementById("announcement");
    if (announcement && !announcement.hasAttribute("role")) {
      announcement.setAttribute("role", "status");
      sayStrength();
    }
    for (const group of document.querySelectorAll("fieldset:not([aria-label])")) {
      const label = group.querySelector("[data-testid=block-info]");
      if (!label) continue;
      group.setAttribute("aria-label", label.textContent);
      for (const button of group.querySelectorAll("input[type=radio]")) button.name = group.id || label.textContent;
    }
  }
  new MutationObserver(nameGroups).observe(document.documentElement, { childList: true, subtree: true });
})();
