// The event at the cursor: what happened, what was seen, what changed, what it is tied to.
import { duration, element } from "./elements.js";
import { codeText, isolated, phrase } from "./phrases.js";
import { kindSentence, moduleText, sentenceOf, titleOf } from "./sentences.js";
import { retoldPart } from "./retold.js";
import { picture } from "./pictures.js";
import { histogram } from "./histograms.js";
import { sightings } from "./sightings.js";
import { editsSection, filledSection, lookOf, writeSection } from "./changes.js";
import { ValueIndex, fromSection, linksSection, valuesSection } from "./ties.js";

const MOST_LOOKS = 6;

export function inspectorPanel(root, report) {
  let index = null;
  const show = () => {
    const event = report.event;
    if (!event) return;
    index ??= new ValueIndex(report.events);
    const focused = root.contains(document.activeElement);
    root.replaceChildren(...inspectorSections(report, event, index).filter(Boolean));
    root.closest(".panel")?.scrollTo(0, 0);
    if (focused) root.querySelector("h3").focus();
    turnArrows(root);
  };
  new ResizeObserver(() => turnArrows(root)).observe(root);
  report.on("cursor", show);
  report.on("language", show);
}

/** The arrow from before to after points down where after stands below. */
function turnArrows(root) {
  for (const sides of root.querySelectorAll(".sides")) {
    sides.classList.remove("wrapped");
    const figures = [...sides.querySelectorAll("figure")];
    const under = (one, other) => one.offsetTop >= other.offsetTop + other.offsetHeight;
    const wrapped = sides.offsetHeight > 0 && figures.some((one, at) => at > 0 && under(one, figures[at - 1]));
    sides.classList.toggle("wrapped", wrapped);
  }
}

function inspectorSections(report, event, index) {
  return [
    element("h3", { class: "title", tabindex: -1 }, ...titleOf(report, event)),
    element("p", { class: "sentence" }, ...sentenceOf(report, event)),
    event.raised ? element("p", { class: "raised" }, isolated(event.raised)) : null,
    kindHint(report, event),
    factsOf(report, event),
    editsSection(report, event),
    filledSection(report, event),
    writeSection(report, event, index),
    sightings(report, "gradient", event.gradient),
    sightings(report, event.kind === "hook" ? "given" : "inputs", event.inputs),
    sightings(report, "outputs", event.outputs),
    event.kind === "overwrite" ? sightings(report, "overwrite", [...(event.before ?? []), ...(event.after ?? [])]) : null,
    looksSection(report, event),
    fromSection(report, event),
    valuesSection(report, event, index),
    linksSection(report, event, index),
  ];
}

function kindHint(report, event) {
  const hook = report.hooks[event.hook];
  if (!hook) return null;
  const words = element("span", {}, kindSentence(report, hook.kind));
  const options = hook.options.length ? ` (${hook.options.join(", ")})` : "";
  return element("p", { class: "kind faint" }, codeText(hook.kind), options, ": ", words);
}

/** Where, when, how long. */
function factsOf(report, event) {
  const call = report.calls.get(event.call);
  const rows = [];
  const add = (key, ...things) => rows.push(element("dt", {}, report.word(key)), element("dd", {}, ...things));
  if (call) add("module", moduleText(call), call.config ? " " : null, call.config ? element("span", { class: "faint" }, isolated(call.config)) : null);
  if (event.mode !== undefined) add("mode", modesOf(report, event.mode));
  add("when", phraseText(report, event));
  if (event.took !== undefined) add("took", duration(event.took));
  else if (call?.us !== undefined && event.kind === "exit") add("took", duration(call.us));
  if (event.thread) add("thread", String(event.thread));
  if (event.backward !== undefined) add("backward_run", String(event.backward + 1));
  if (event.note) add("note", isolated(event.note.split("; ").map((one) => retoldPart(report, one)).join("; ")));
  if (event.line) add(event.kind === "write" ? "noticed_at" : "statement", codeText(event.line));
  return element("dl", { class: "facts" }, ...rows);
}

function phraseText(report, event) {
  return element("span", {}, ...phrase(report, event.kind === "hook" ? "when_began" : "when_is", { seq: event.seq, time: duration(event.us) }));
}

/** Autograd, inference and training, as a sum of 1, 2 and 4. */
function modesOf(report, bits) {
  const told = [report.word(bits & 4 ? "mode_train" : "mode_eval")];
  if (bits & 2) told.push(report.word("mode_inference"));
  else if (!(bits & 1)) told.push(report.word("mode_no_grad"));
  return told.join(", ");
}

/** Pictures of kept values that no section above has shown. */
function looksSection(report, event) {
  const shown = new Set((event.edits ?? []).flatMap((one) => [one.before.value, one.after.value]));
  const seen = ["gradient", "inputs", "outputs", "after"].flatMap((key) => (Array.isArray(event[key]) ? event[key] : []));
  const drawn = [];
  for (const one of seen) {
    const look = lookOf(report, one.value);
    if (!look || shown.has(one.value) || drawn.length >= MOST_LOOKS) continue;
    shown.add(one.value);
    const title = `${one.role} ${one.value}`;
    drawn.push(element("div", {}, picture(report, look, title), histogram(report, look, report.word("histogram"))));
  }
  if (!drawn.length) return null;
  return element("section", { class: "kept" }, element("h4", {}, report.word("seen_kept")), element("div", { class: "looks" }, ...drawn));
}
