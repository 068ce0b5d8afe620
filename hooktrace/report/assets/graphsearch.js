// Looking for modules and hooks by name, also inside of what is closed.
import { element } from "./elements.js";
import { wordsIn } from "./graphdraw.js";

/** A field that finds; `does.reach(place)` shows what was found, `does.places()` says where to look. */
export function graphSearch(report, does) {
  const field = element("input", { type: "search", class: "graph-search", spellcheck: "false", autocomplete: "off" });
  const count = element("output", { class: "faint", "aria-live": "polite" });
  const speak = () => {
    field.placeholder = report.word("graph_search");
    field.setAttribute("aria-label", report.word("graph_search"));
  };
  let found = [];
  let at = -1;
  const show = () => {
    count.textContent = field.value.trim() ? `${found.length ? at + 1 : 0}/${found.length}` : "";
  };
  const look = () => {
    found = matching(does.places(), field.value);
    at = -1;
    show();
  };
  const go = (by) => {
    if (!found.length) return;
    at = (at + by + found.length + (at < 0 && by < 0 ? 1 : 0)) % found.length;
    show();
    does.reach(found[at]);
  };
  field.addEventListener("input", look);
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter") go(event.shiftKey ? -1 : 1);
    else if (event.key === "Escape") {
      field.value = "";
      look();
      field.blur();
    } else return;
    event.preventDefault();
  });
  report.on("language", speak);
  speak();
  return { field, count, focus: () => (field.focus(), field.select()), again: look };
}

/** Places whose words have all that was asked for; those whose name begins with it come first. */
function matching(places, asked) {
  const wanted = asked.toLowerCase().split(/\s+/).filter(Boolean);
  if (!wanted.length) return [];
  const found = places.filter((one) => wanted.every((word) => one.text.includes(word)));
  const early = (one) => (one.text.startsWith(wanted[0]) ? 0 : 1);
  return found.sort((a, b) => early(a) - early(b));
}

/** Calls and hooks as places to find. */
export function searchedCalls(report) {
  const calls = [...report.calls.values()].map((one) => ({
    text: `${one.name} ${one.type} ${one.name}@${one.index}`.toLowerCase(),
    call: one.id,
    seq: one.first,
  }));
  const hooks = report.hooks
    .filter((one) => one.fired.length)
    .map((one) => ({ text: `${one.name} ${one.kind} ${one.owner}`.toLowerCase(), seq: one.fired[0] }));
  return [...calls, ...hooks];
}

/** Boxes of a picture as places to find. */
export function searchedBoxes(things) {
  return [...things].map((one) => ({ text: wordsIn(one.data.d).join(" ").toLowerCase(), key: one.key }));
}
