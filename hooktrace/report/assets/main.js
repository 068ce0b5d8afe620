// Puts the panels together: controls, tabs, keys, deep links, language, theme.
import { readReport } from "./store.js";
import { controls } from "./controls.js";
import { showTab, tabs } from "./tabs.js";
import { eventsPanel } from "./events.js";
import { graphPanel } from "./graph.js";
import { inspectorPanel } from "./inspector.js";
import { sourcePanel } from "./source.js";
import { sortable } from "./tables.js";
import { timelinePanel } from "./timeline.js";
import { lessonPanel } from "./lesson.js";

/** Show every element with data-w in the language of the report. */
function translate(report) {
  for (const one of document.querySelectorAll("[data-w]")) {
    one.textContent = report.word(one.dataset.w);
  }
}

/** Whether a key belongs to the field that has the focus. */
function typing(target) {
  return target instanceof Element && target.closest("input, textarea, select, [contenteditable]") !== null;
}

function keys(report, player) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    const arrows = event.target.closest("[role=tablist], [data-arrows]") !== null;
    const done = {
      ArrowRight: () => !arrows && (report.step(1, event.shiftKey), true),
      ArrowLeft: () => !arrows && (report.step(-1, event.shiftKey), true),
      " ": () => event.target.closest("button, a, summary, [role=button]") === null && (player.toggle(), true),
      "/": () => report.tell("search"),
      f: () => report.tell("fit"),
    }[event.key];
    if (done && done() !== false) event.preventDefault();
  });
}

/** Keep the address and the cursor together: #e=142. */
function deepLinks(report) {
  const read = () => {
    const found = /^#e=(\d+)$/.exec(location.hash);
    if (found) report.go(Number(found[1]));
    return found !== null;
  };
  window.addEventListener("hashchange", read);
  report.on("cursor", (event) => {
    try {
      history.replaceState(null, "", `#e=${event.seq}`);
    } catch {
      // inside a frame of a notebook there is no address of its own
    }
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#e="]');
    if (!link) return;
    event.preventDefault();
    const seq = Number(link.getAttribute("href").slice(3));
    if (!report.go(seq)) report.tell("cursor", report.event);
    showTab("inspector");
  });
  if (!read() && report.events.length) {
    const first = report.events.find((one) => one.hook !== undefined && one.kind === "hook");
    report.cursor = null;
    report.go((first ?? report.events[0]).seq);
  }
}

async function main() {
  const report = await readReport();
  document.documentElement.classList.add("live");
  const body = (id) => document.querySelector(`#${id} .body`);
  const player = controls(document.getElementById("controls"), report);
  tabs(document.getElementById("tabs"), report);
  graphPanel(body("graph"), report);
  eventsPanel(body("events"), report);
  inspectorPanel(body("inspector"), report);
  sourcePanel(body("source"), report);
  timelinePanel(body("timeline"), report);
  lessonPanel(body("lesson"), report, player);
  document.querySelectorAll("table.sortable").forEach((one) => sortable(one, report));
  keys(report, player);
  report.on("language", () => translate(report));
  const root = document.documentElement;
  if (root.hasAttribute("data-follows") && navigator.language.startsWith("zh")) report.speak("zh");
  deepLinks(report);
  root.dataset.ready = "";
}

main();
