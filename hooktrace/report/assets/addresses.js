// The address and the cursor: #e=142 is event 142.  A link that is followed is a step of the history.
import { element } from "./elements.js";
import { showTab } from "./tabs.js";

export function addresses(report) {
  const write = writer(report);
  const missing = missingEvent(report);
  const read = () => {
    const found = /^#e=(\d+)$/.exec(location.hash);
    if (!found) return;
    const seq = Number(found[1]);
    report.go(seq);
    if (!report.event) report.go(firstOf(report));
    if (report.cursor === seq) return;
    if (!report.at(seq)) missing(seq);
    write("replaceState");
  };
  window.addEventListener("hashchange", read);
  window.addEventListener("popstate", read);
  let how = "replaceState";
  report.on("cursor", () => write(how));
  follow((seq) => {
    how = "pushState";
    if (!report.go(seq)) report.tell("cursor", report.event);
    how = "replaceState";
  });
  if (!report.events.length) return;
  const asked = location.hash !== "";
  read();
  if (!report.event) report.go(firstOf(report));
  if (asked) document.getElementById("side").scrollIntoView(); // in a window that is too narrow for all
}

/** The first firing of a hook, or the first event. */
function firstOf(report) {
  return (report.events.find((one) => one.kind === "hook") ?? report.events[0]).seq;
}

/** Writes the event at the cursor into the address, which is a new entry of the history or not. */
function writer(report) {
  return (how) => {
    const address = `#e=${report.cursor}`;
    if (address === location.hash) return;
    try {
      history[how](null, "", address);
    } catch {
      // inside a frame of a notebook there is no address of its own
    }
  };
}

/** Links to events move the cursor, and the focus goes along. */
function follow(go) {
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#e="]');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(Number(link.getAttribute("href").slice(3)));
    showTab("inspector");
    document.querySelector("#inspector h3.title")?.focus();
  });
}

/** Says that there is no such event, until the cursor moves. */
function missingEvent(report) {
  const told = element("p", { class: "hint", role: "status", hidden: true });
  document.querySelector(".heading").append(told);
  let wanted = null;
  const speak = () => (told.textContent = wanted === null ? "" : report.word("no_such_event", { seq: wanted }));
  const say = (seq) => {
    wanted = seq;
    told.hidden = seq === null;
    speak();
  };
  report.on("language", speak);
  report.on("cursor", () => say(null));
  return say;
}
