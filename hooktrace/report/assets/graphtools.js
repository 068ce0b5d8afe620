// The bar above the graph: view, search, zoom, open and close, what the signs mean.
import { button, element } from "./elements.js";
import { phraseText } from "./phrases.js";

/** Return the bar; `does` has fit, zoom, openAll, closeAll, choose. */
export function graphTools(report, graph, views, search, does) {
  const refused = Object.values(graph.refused);
  const several = views.length + refused.length > 1 ? viewChoice(report, views, refused, does) : null;
  const levels = Object.keys(graph.levels).length > 1;
  const opens = levels ? [button(report, "graph_open_all", does.openAll, "⊞"), button(report, "graph_close_all", does.closeAll, "⊟")] : [];
  return element(
    "div",
    { class: "graph-tools", role: "toolbar" },
    several,
    search.field,
    search.count,
    element(
      "span",
      { class: "graph-buttons" },
      ...opens,
      button(report, "graph_zoom_out", () => does.zoom(1 / 1.25), "−"),
      button(report, "graph_zoom_in", () => does.zoom(1.25), "+"),
      button(report, "graph_fit", does.fit, "⤢"),
    ),
  );
}

/** The views that can be chosen, and those that cannot, with the reason. */
function viewChoice(report, views, refused, does) {
  const made = element("select", { class: "graph-view", onchange: () => does.choose(made.value) });
  const speak = () => {
    const chosen = made.value || views[0];
    made.setAttribute("aria-label", report.word("graph_view"));
    made.replaceChildren(
      ...views.map((name) => element("option", { value: name, selected: name === chosen }, report.word(`graph_view_${name}`))),
      ...refused.map((why) => element("option", { disabled: true }, phraseText(report, why))),
    );
  };
  report.on("language", speak);
  speak();
  return made;
}

/** What the signs in the picture mean, closed at first. */
export function graphLegend(report, signs) {
  const summary = element("summary");
  const list = element("ul", { class: "plain" });
  const made = element("details", { class: "graph-legend" }, summary, list);
  const speak = () => {
    summary.textContent = report.word("graph_signs");
    const keys = [...signs.map((one) => `sign_${one}`), "graph_hands"];
    list.replaceChildren(...keys.map((key) => element("li", {}, report.word(key))));
  };
  report.on("language", speak);
  speak();
  return made;
}
