// The list of events: only what is in sight is in the page, so that 100,000 are no burden.
import { element } from "./elements.js";
import { inOrder } from "./ordered.js";
import { retoldEvent } from "./retold.js";

const ROW = 24; // height of a line in pixels

export function eventsPanel(root, report) {
  const field = element("input", { type: "search", class: "filter" });
  const none = element("p", { class: "faint", role: "status" });
  const space = element("div", { class: "space", role: "presentation" });
  const view = element("div", { class: "rows", tabindex: 0, role: "listbox" }, space);
  root.append(field, none, view);
  let shown = report.events;

  const draw = () => {
    const first = Math.max(0, Math.floor(view.scrollTop / ROW) - 5);
    const count = Math.ceil(view.clientHeight / ROW) + 10;
    space.style.height = `${shown.length * ROW}px`;
    space.replaceChildren(
      ...shown.slice(first, first + count).map((event, place) => row(event, first + place, shown.length, report)),
    );
    const current = space.querySelector("[aria-selected=true]");
    if (current) view.setAttribute("aria-activedescendant", current.id);
    else view.removeAttribute("aria-activedescendant");
  };
  const follow = () => {
    const place = shown.indexOf(report.event);
    if (place >= 0) {
      const top = place * ROW;
      if (top < view.scrollTop || top > view.scrollTop + view.clientHeight - ROW) {
        view.scrollTop = top - view.clientHeight / 2;
      }
    }
    draw();
  };
  const speak = () => {
    draw();
    field.placeholder = report.word("filter_events");
    field.setAttribute("aria-label", report.word("filter_events"));
    view.setAttribute("aria-label", report.word("events"));
    none.textContent = shown.length ? "" : report.word("no_event_matches");
  };
  const choose = () => {
    const wanted = field.value.toLowerCase();
    shown = report.events.filter(
      (one) => one.seq <= report.horizon && `${one.kind} ${kindOf(report, one.kind)} ${one.text}`.toLowerCase().includes(wanted),
    );
    speak();
    follow();
  };
  field.addEventListener("input", choose);
  report.on("horizon", choose);
  report.on("language", speak);
  view.addEventListener("scroll", draw);
  view.addEventListener("keydown", (event) => {
    const here = shown.indexOf(report.event);
    const place = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: shown.length - 1 }[event.key];
    if (place === undefined) return;
    if (shown[place]) report.go(shown[place].seq);
    event.preventDefault();
  });
  new ResizeObserver(follow).observe(view);
  report.on("cursor", follow);
  speak();
}

/** What kind of event it is: its own name in English, which is also that of the lists of a trace. */
export function kindOf(report, kind) {
  if (report.language === "en") return kind;
  if (kind === "hook") return report.word("hooks");
  return report.word(`title_${kind.replaceAll(" ", "_")}`);
}

function row(event, place, count, report) {
  const made = element(
    "div",
    {
      id: `row-${event.seq}`,
      class: `row ${event.hook === undefined ? "" : "of-hook"}`,
      role: "option",
      "aria-selected": event.seq === report.cursor,
      "aria-posinset": place + 1,
      "aria-setsize": count,
      onclick: () => report.go(event.seq),
    },
    element("span", { class: "seq" }, `#${event.seq}`),
    element("b", {}, kindOf(report, event.kind)),
    " ",
    element("span", { dir: "ltr" }, inOrder(retoldEvent(report, event.text))),
  );
  made.style.top = `${place * ROW}px`;
  return made;
}
