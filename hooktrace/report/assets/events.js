// The list of events: only what is in sight is in the page, so that 100,000 are no burden.
import { element } from "./elements.js";

const ROW = 24; // height of a line in pixels

export function eventsPanel(root, report) {
  const field = element("input", { type: "search", class: "filter" });
  const space = element("div", { class: "space" });
  const view = element("div", { class: "rows", tabindex: 0, role: "listbox", "data-arrows": true }, space);
  root.append(field, view);
  let shown = report.events;

  const draw = () => {
    const first = Math.max(0, Math.floor(view.scrollTop / ROW) - 5);
    const count = Math.ceil(view.clientHeight / ROW) + 10;
    space.style.height = `${shown.length * ROW}px`;
    space.replaceChildren(
      ...shown.slice(first, first + count).map((event, place) => row(event, first + place, report)),
    );
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
  const choose = () => {
    const wanted = field.value.toLowerCase();
    shown = report.events.filter(
      (one) => one.seq <= report.horizon && `${one.kind} ${one.text}`.toLowerCase().includes(wanted),
    );
    follow();
  };
  field.addEventListener("input", choose);
  report.on("horizon", choose);
  view.addEventListener("scroll", draw);
  view.addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by) return;
    const next = shown[shown.indexOf(report.event) + by];
    if (next) report.go(next.seq);
    event.preventDefault();
  });
  new ResizeObserver(follow).observe(view);
  report.on("cursor", follow);
  const speak = () => (field.placeholder = report.word("filter_events"));
  report.on("language", speak);
  speak();
}

function row(event, place, report) {
  const made = element(
    "div",
    {
      class: `row ${event.hook === undefined ? "" : "of-hook"}`,
      role: "option",
      "aria-selected": event.seq === report.cursor,
      onclick: () => report.go(event.seq),
    },
    element("span", { class: "seq" }, `#${event.seq}`),
    element("b", {}, event.kind),
    ` ${event.text}`,
  );
  made.style.top = `${place * ROW}px`;
  return made;
}
