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
    made.addEventListener("click", () => showTab(name));
    root.append(made);
  }
  root.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    const all = [...root.children];
    const next = all[(all.indexOf(document.activeElement) + by + all.length) % all.length];
    next.focus();
    next.click();
    event.preventDefault();
  });
  showTab(panels[0].dataset.tab);
}
