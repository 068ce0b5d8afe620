// What an event is tied to: where a gradient came from, its call, its hook, its values, findings.
import { element, eventLink } from "./elements.js";
import { changeText, codeText, isolated, phrase, readable } from "./phrases.js";
import { titleOf } from "./sentences.js";
import { showTab } from "./tabs.js";

const SEEN = ["inputs", "outputs", "arrived", "gradient", "before", "after"];

/** Every sighting of an event. */
function sightingsOf(event) {
  const seen = SEEN.flatMap((key) => (Array.isArray(event[key]) ? event[key] : []));
  return [...seen, ...(event.edits ?? []).flatMap((one) => [one.before, one.after])];
}

/** Every value of an event, once. */
function valuesOf(event) {
  const found = sightingsOf(event).map((one) => one?.value);
  if (event.written) found.push(event.written.before, event.written.after);
  return [...new Set(found.filter(Boolean))];
}

/** Where values were seen: by tensor, by version, the numbers of events. */
export class ValueIndex {
  constructor(events) {
    this.tensors = new Map();
    this.makers = new Map(); // value -> the event that wrote it in place
    this.runs = new Map(); // number of a backward run -> its first and its last event
    this.small = new Map(); // value -> a sighting with its numbers
    for (const event of events) {
      for (const seen of sightingsOf(event)) if (seen?.numbers) this.small.set(seen.value, seen);
      for (const value of valuesOf(event)) this.add(value, event.seq);
      if (event.kind === "backward") this.runs.set(event.backward, [event.seq]);
      if (event.kind === "backward done") this.runs.get(event.backward)?.push(event.seq);
      if (event.written) this.makers.set(event.written.after, event.seq);
    }
  }

  add(value, seq) {
    const tensor = value.split(".")[0];
    if (!this.tensors.has(tensor)) this.tensors.set(tensor, new Map());
    const versions = this.tensors.get(tensor);
    if (!versions.has(value)) versions.set(value, []);
    versions.get(value).push(seq);
  }

  /** The versions of the tensor of a value, in order: pairs of value and events. */
  versions(value) {
    const found = [...(this.tensors.get(value.split(".")[0]) ?? [])];
    return found.sort((a, b) => versionOf(a[0]) - versionOf(b[0]));
  }
}

function versionOf(value) {
  return Number(value.split(".")[1] ?? 0);
}

/** Where the gradient of this event came from. */
export function fromSection(report, event) {
  if (!event.from?.length) return null;
  const items = event.from.map((seq) => element("li", {}, eventLink(seq), " ", ...titleOf(report, report.at(seq)), " ", gradientRole(report, report.at(seq))));
  return element(
    "section",
    { class: "from" },
    element("h4", {}, report.word("seen_from")),
    event.same === undefined ? null : element("p", {}, ...phrase(report, "from_same", { seq: eventLink(event.same) })),
    element("ul", { class: "plain" }, ...items),
    event.through ? element("p", { class: "faint" }, ...phrase(report, "from_through", { nodes: codeText(event.through.join(" → ")) })) : null,
  );
}

function gradientRole(report, event) {
  if (event.role) return codeText(event.role);
  const told = rolesChanged(report, event.edits ?? []);
  return told ? element("b", { class: "changed" }, told) : null;
}

/** What a hook did to each role in all: one factor if there is one, else change after change. */
function rolesChanged(report, edits) {
  const changes = edits.filter((one) => one.kind !== "unchanged");
  const roles = [...new Set(changes.map((one) => one.role))];
  const told = roles.map((role) => {
    const its = changes.filter((one) => one.role === role);
    const { together } = its.at(-1);
    const text = together === undefined ? its.map((one) => changeText(report, one)).join(", ") : `×${readable(together)}`;
    return roles.length > 1 ? `${role} ${text}` : text;
  });
  return told.join("; ");
}

/** The values of an event: their versions, and where each was seen. */
export function valuesSection(report, event, index) {
  const lines = valuesOf(event)
    .filter((one, place, all) => all.findIndex((other) => other.split(".")[0] === one.split(".")[0]) === place)
    .slice(0, 8)
    .map((one) => valueLine(report, event, index, one));
  const told = lines.filter(Boolean);
  if (!told.length) return null;
  return element("section", { class: "values" }, element("h4", {}, report.word("seen_values")), element("ul", { class: "plain" }, ...told));
}

function valueLine(report, event, index, value) {
  const versions = index.versions(value);
  const elsewhere = versions.some(([, seqs]) => seqs.some((seq) => seq !== event.seq));
  if (!elsewhere) return null;
  const parts = versions.flatMap(([one, seqs], place) => [
    place ? element("span", { class: "arrow" }, " → ") : null,
    codeText(one),
    " (",
    ...writtenHow(report, index, one),
    report.word("seen_at"),
    " ",
    nearLinks(seqs, event.seq),
    ")",
  ]);
  return element("li", {}, ...parts);
}

/** How often the tensor had been written to by then, and where the last time. */
function writtenHow(report, index, value) {
  const count = versionOf(value);
  if (!count) return [];
  const maker = index.makers.get(value);
  const key = `written_${count === 1 ? "once" : "times"}${maker === undefined ? "" : "_at"}`;
  return [...phrase(report, key, { count, seq: maker === undefined ? "" : eventLink(maker) }), "; "];
}

/** Links to the events nearest to this one, with those before and after it. */
function nearLinks(seqs, now) {
  const place = seqs.findIndex((one) => one >= now);
  const at = place < 0 ? seqs.length : place;
  const near = seqs.slice(Math.max(0, at - 3), at + 4);
  const more = seqs.length - near.length;
  const links = near.flatMap((seq, at) => [at ? " " : null, seq === now ? element("b", {}, `#${seq}`) : eventLink(seq)]);
  return element("span", {}, ...links, more ? ` +${more}` : null);
}

/** Links to the call, the hook's other firings, findings, and the row of the module. */
export function linksSection(report, event, index) {
  const call = report.calls.get(event.call);
  const hook = report.hooks[event.hook];
  const rows = [];
  const add = (key, ...things) => rows.push(element("dt", {}, report.word(key)), element("dd", {}, ...things));
  if (call) {
    add("tie_call", ...phrase(report, "tie_call_is", { first: eventLink(call.first), last: eventLink(call.last) }));
    add("module", moduleButton(report, call.name));
  }
  const run = index.runs.get(event.backward);
  if (run) add("backward_run", ...phrase(report, "tie_call_is", { first: eventLink(run[0]), last: eventLink(run.at(-1)) }));
  if (hook) add("tie_firings", hook.fired.length ? nearLinks(hook.fired, event.seq) : report.word("never"));
  findingsOf(report, event.seq).forEach((one) => add("tie_finding", one));
  return rows.length ? element("section", { class: "ties" }, element("h4", {}, report.word("seen_ties")), element("dl", {}, ...rows)) : null;
}

function moduleButton(report, name) {
  const made = element("button", { type: "button", class: "link" }, isolated(name));
  made.addEventListener("click", () => {
    showTab("modules");
    const row = [...document.querySelectorAll("#modules tr[data-module]")].find((one) => one.dataset.module === name);
    (row ?? document.querySelector("#modules tr.current"))?.scrollIntoView({ block: "center" });
  });
  return made;
}

/** Buttons that show the findings in which an event is named. */
function findingsOf(report, seq) {
  return [...document.querySelectorAll("#findings .finding")]
    .filter((one) => (one.dataset.events ?? "").split(" ").includes(String(seq)))
    .map((one) => {
      const words = one.querySelector("summary").cloneNode(true);
      words.querySelectorAll(report.language === "en" ? ".gist" : ".gist + .message").forEach((other) => other.remove());
      const made = element("button", { type: "button", class: "link" }, words.textContent.trim());
      made.addEventListener("click", () => {
        showTab("findings");
        one.open = true;
        one.scrollIntoView({ block: "center" });
        one.querySelector("summary").focus();
      });
      return made;
    });
}
