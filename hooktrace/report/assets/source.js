// Source: the function of the hook at the cursor, and the lines that the event names.
import { element } from "./elements.js";

export function sourcePanel(root, report) {
  const sources = report.data.sources;
  const show = () => {
    const event = report.event;
    if (!event) return;
    const parts = excerpts(event, report, sources);
    root.replaceChildren(
      ...(parts.length ? parts : [element("p", { class: "faint" }, report.word("no_source"))]),
    );
  };
  report.on("cursor", show);
  report.on("language", show);
}

function excerpts(event, report, sources) {
  const found = [];
  const add = (key, place, most) => place && found.push(excerpt(report.word(key), place, report, sources, most));
  if (event.hook !== undefined) {
    add("defined_here", sources.hooks[event.hook]?.defined, 0);
    add("registered_here", sources.hooks[event.hook]?.registered);
  }
  const own = sources.lines[event.seq];
  add(event.kind === "write" ? "noticed_here" : "called_here", own);
  if (!own && event.backward !== undefined) add("run_called_here", sources.lines[runOf(event, report)?.seq]);
  else if (!own) add("model_called_here", sources.lines[outermost(event, report)?.first]);
  return found;
}

/** The beginning of the backward run that an event belongs to. */
function runOf(event, report) {
  return report.events.find((one) => one.kind === "backward" && one.backward === event.backward);
}

/** The outermost call around an event. */
function outermost(event, report) {
  let call = report.calls.get(event.call);
  while (call?.parent !== undefined) call = report.calls.get(call.parent);
  return call;
}

/** Lines of a file at a place, which are marked; around a single line, so many more. */
export function excerpt(title, place, report, sources, most = 3) {
  const lines = sources.files[place.file] ?? {};
  const own = (number) => number >= place.first && number <= place.last;
  const near = [];
  const around = place.first === place.last ? most : 0;
  for (let number = place.first - around; number <= place.last + around; number += 1) {
    if (lines[number] !== undefined) near.push(number);
  }
  const code = element("pre", { class: "code", tabindex: 0 });
  for (const number of near) {
    code.append(
      element(
        "span",
        { class: own(number) ? "line own" : "line" },
        element("i", {}, String(number).padStart(5)),
        ` ${lines[number]}\n`,
      ),
    );
  }
  const missing = sources.missing.includes(place.file);
  return element(
    "div",
    { class: "excerpt" },
    element("h3", {}, title),
    element("p", { class: "faint" }, `${place.file}:${place.first}`),
    missing ? element("p", { class: "hint" }, report.word(near.length ? "file_changed" : "file_missing")) : null,
    near.length ? code : null,
  );
}
