// The panels at the side as tabs: one is shown at a time.
import { element } from "./elements.js";

/** Show the panel of this name. */
export function showTab(name) {
  for (const one of document.querySelectorAll("[role=tab]")) {
    const chosen = one.dataset.tab === name;
    one.setAttribute("aria-selected", chosen);
    one.tabIndex = chosen ? 0 : -1;
  }
  for (const one of document.querySelectorAll(".panel.tab")) {
    one.classList.toggle("shown", one.dataset.tab === name);
  }
}

export function tabs(root, report) {
  const panels = [...document.querySelectorAll(".panel.tab")];
  for (const panel of panels) {
    const name = panel.dataset.tab;
    const made = element("button", { type: "button", role: "tab", id: `tab-${name}`, "data-tab": name });
    made.setAttribute("aria-controls", panel.id);
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", made.id);
    panel.tabIndex = 0;
    made.append(element("span", { "data-w": name }, report.word(name)));
    if (Number(panel.dataset.count)) made.append(element("i", {}, panel.dataset.count));
    made.addEventListener("click", () => {
      showTab(name);
      report.tell("tab", name);
    });
    root.append(made);
  }
  tabKeys(root);
  showTab(panels[0].dataset.tab);
}

/** Keys go from tab to tab, unless a pointer brought the focus here: then arrows step as anywhere. */
function tabKeys(root) {
  let pointed = false;
  root.addEventListener("pointerdown", () => (pointed = true));
  root.addEventListener("focusout", () => (pointed = false));
  root.addEventListener("keydown", (event) => {
    if (pointed || event.ctrlKey || event.metaKey || event.altKey) return;
    const all = [...root.children];
    const here = all.indexOf(document.activeElement);
    const place = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: -1 }[event.key];
    if (place === undefined) return;
    const next = all.at(place % all.length);
    next.focus();
    showTab(next.dataset.tab);
    event.preventDefault();
  });
}
