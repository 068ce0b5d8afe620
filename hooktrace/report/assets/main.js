// Puts the panels together: controls, tabs, keys, addresses, language, theme.
import { addresses } from "./addresses.js";
import { inOrder } from "./ordered.js";
import { retold, retoldEvent } from "./retold.js";
import { readReport } from "./store.js";
import { controls } from "./controls.js";
import { tabs } from "./tabs.js";
import { eventsPanel, kindOf } from "./events.js";
import { graphPanel } from "./graph.js";
import { inspectorPanel } from "./inspector.js";
import { phrase } from "./phrases.js";
import { sourcePanel } from "./source.js";
import { sortable } from "./tables.js";
import { timelinePanel } from "./timeline.js";
import { lessonPanel } from "./lesson.js";

/** Show every element with data-w in the language of the report. */
function translate(report) {
  for (const one of document.querySelectorAll("[data-w]")) {
    one.replaceChildren(...phrase(report, one.dataset.w, JSON.parse(one.dataset.values ?? "{}")));
  }
}

/** Tell what the trace said in English, in its lists and in the picture that is printed. */
function retell(report) {
  for (const one of document.querySelectorAll("ol.events b")) {
    one.textContent = kindOf(report, (one.dataset.kind ||= one.textContent));
  }
  for (const one of document.querySelectorAll("[data-retold], ol.events span, #overview text")) {
    one.dataset.retold ||= one.textContent.replace(/[\u2068\u2069]/g, "").replaceAll("\u00a0", " ").trim();
    const english = one.dataset.retold;
    const words = one.closest("ol.events") ? retoldEvent(report, english) : retold(report, english, true);
    one.textContent = inOrder(words);
    if (one instanceof HTMLElement) one.lang = words === english ? "en" : report.language;
  }
}

/** Whether a key belongs to the field that has the focus. */
function typing(target) {
  return target instanceof Element && target.closest("input, textarea, select, [contenteditable]") !== null;
}

function keys(report, player) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    const arrows = event.target.closest("[data-arrows]") !== null;
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
  report.on("language", () => {
    translate(report);
    retell(report);
  });
  const root = document.documentElement;
  if (root.hasAttribute("data-follows") && navigator.language.startsWith("zh")) report.speak("zh");
  addresses(report);
  root.dataset.ready = "";
}

main();
