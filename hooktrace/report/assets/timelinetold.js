// The timeline in words: its legend, and what a slice or mark under the pointer is.
import { duration, element } from "./elements.js";
import { changeText, codeText, isolated, phrase } from "./phrases.js";
import { sentenceOf, titleOf } from "./sentences.js";

const LEGEND = ["called", "back", "stepped", "seen", "changed", "written", "raised"];

export function timeLegend(report) {
  const root = element("p", { class: "time-legend" });
  const speak = () =>
    root.replaceChildren(
      ...LEGEND.map((look) =>
        element("span", { class: "key" }, element("i", { class: `swatch ${look}` }), report.word(`legend_${look}`)),
      ),
    );
  report.on("language", speak);
  speak();
  return root;
}

/** Name of a band, with its thread where there are several. */
export function bandName(band, bands, report) {
  const lane = report.word(`lane_${band.lane}`);
  return bands.threads > 1 ? `${report.word("thread", { number: band.thread })} · ${lane}` : lane;
}

/** What a tooltip says of an item. */
export function itemTold(one, bands, report) {
  const event = bands.eventOf(one);
  const mark = bands.isMark(one);
  const band = bands.bands[bands.band[one]];
  const took = mark ? event.took : bands.took[one] / 1000;
  const lasted = took === undefined ? [] : [duration(took)];
  const facts = [bandName(band, bands, report), ...lasted, `#${event.seq}`].join(" · ");
  return [
    element("b", {}, ...(mark || event.kind === "hook" ? titleOf(report, event) : [isolated(bands.nameOn(one))])),
    element("span", { class: "faint" }, facts),
    ...changesTold(event, report),
  ];
}

function editTold(edit, report) {
  return phrase(report, `edit_${edit.how}`, { role: codeText(edit.role), what: changeText(report, edit) });
}

function changesTold(event, report) {
  const edits = (event.edits ?? []).filter((one) => one.kind !== "unchanged");
  const told = edits.slice(0, 4).map((one) => ["▲ ", ...editTold(one, report)]);
  if (edits.length > 4) told.push([`+${edits.length - 4}`]);
  if (event.kind === "write") told.push(["▽ ", ...sentenceOf(report, event)]);
  const lines = told.map((words) => element("span", { class: "changed" }, ...words));
  if (event.raised) lines.push(element("span", { class: "raised" }, "✕ ", isolated(event.raised)));
  if (event.kind === "hook" && !edits.length && !event.raised) {
    lines.push(element("span", { class: "faint" }, report.word("changed_nothing")));
  }
  return lines;
}
