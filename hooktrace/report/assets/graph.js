// The graph: module calls that open in place, with the cursor of the report.
import { element } from "./elements.js";
import { Camera } from "./graphcamera.js";
import { callOf, composed, composedPicture } from "./graphcompose.js";
import { svgElement } from "./graphdraw.js";
import { graphHands } from "./graphhands.js";
import { Homes } from "./graphhomes.js";
import { graphSearch, searchedBoxes, searchedCalls } from "./graphsearch.js";
import { Stage, toldBox } from "./graphstage.js";
import { graphLegend, graphTools } from "./graphtools.js";
import { phrase } from "./phrases.js";
import { retold } from "./retold.js";

const MOST_OPENED = 3000; // boxes that "open all" shows at once
const READABLE = 0.95; // a scale at which words can still be read

/** Show the graph in an element. */
export function graphPanel(root, report) {
  const graph = report.data.graph;
  const views = graph ? [...(graph.levels[-1] ? ["modules"] : []), ...Object.keys(graph.views)] : [];
  if (!views.length) {
    root.append(...noGraph(report, Object.values(graph?.refused ?? {})));
    return null;
  }
  return new GraphPanel(root, report, graph, views);
}

/** What stands where there is no picture: that there is none, and what would have been too large. */
function noGraph(report, refused) {
  if (!refused.length) return [element("p", { class: "faint", "data-w": "graph_none" }, report.word("graph_none"))];
  return refused.map(([key, values]) =>
    element("p", { class: "faint", "data-w": key, "data-values": JSON.stringify(values) }, ...phrase(report, key, values)),
  );
}

export class GraphPanel {
  constructor(root, report, graph, views) {
    Object.assign(this, { report, graph, view: views[0], current: null, edited: null, focused: null });
    this.homes = new Homes(report, graph);
    this.open = new Set(graph.open);
    this.world = svgElement("g");
    this.svg = svgElement("svg", { class: "graph-picture", tabindex: 0, role: "group", "data-arrows": "true" }, this.world);
    const say = (words, parts) => retold(report, words, parts);
    this.stage = new Stage(this.world, (thing) => this.dress(thing), say);
    this.camera = new Camera(this.svg, this.world, (seen) => this.stage.cull(seen));
    const search = graphSearch(report, { places: () => this.places(), reach: (place) => this.reach(place) });
    const does = {
      fit: () => this.fit(),
      zoom: (factor) => this.camera.zoom(factor),
      openAll: () => this.openAll(),
      closeAll: () => this.closeAll(),
      choose: (view) => (this.show(view), search.again()),
    };
    root.append(graphTools(report, graph, views, search, does), this.svg, graphLegend(report, graph.signs));
    graphHands(this.svg, this.camera, {
      toggle: (target) => this.toggleAt(target),
      choose: (target) => this.chooseAt(target),
      walk: (target, way) => this.walk(target, way),
      enter: () => this.enter(),
      fit: () => this.fit(),
    });
    this.listen(search);
    this.show(this.view);
  }

  listen(search) {
    const { report } = this;
    report.on("cursor", () => this.follow());
    report.on("search", () => search.focus());
    report.on("fit", () => this.fit());
    report.on("language", () => this.speak());
    this.speak();
    let width = 0;
    new ResizeObserver(() => {
      if (!width && this.camera.size.w > 1) this.start();
      else this.camera.moved();
      width = this.camera.size.w;
    }).observe(this.svg);
  }

  speak() {
    this.svg.setAttribute("aria-label", this.report.word("graph"));
    if (this.stage.picture) this.compose();
  }

  // ------------------------------------------------------------ what is shown

  show(view) {
    this.view = view;
    this.focused = null;
    this.compose();
    this.start();
  }

  /** Put the picture together anew, and mark in it what was marked. */
  compose() {
    const picture = this.view === "modules" ? composed(this.graph.levels, this.open) : composedPicture(this.graph.views[this.view]);
    this.stage.set(picture);
    this.current = this.edited = null;
    this.camera.moved();
    this.mark();
  }

  /** The first look: all of it, or as much as can be read, with the cursor in sight. */
  start() {
    this.camera.fit(this.stage.picture, 1.25, READABLE);
    this.follow();
  }

  fit() {
    this.camera.fit(this.stage.picture);
  }

  /** Whether a box opens or leads somewhere. */
  usable(thing) {
    return !thing.fixed && (thing.opens || this.homes.leads(thing, this.view) !== undefined);
  }

  /** Make a drawn box a button. */
  dress(thing) {
    const { node } = thing;
    if (!this.usable(thing)) return;
    node.setAttribute("role", "button");
    node.setAttribute("tabindex", "-1");
    node.setAttribute("aria-label", toldBox(thing, this.stage.say));
    node.dataset.key = thing.key;
    if (thing.opens) node.setAttribute("aria-expanded", String(thing.title !== undefined));
    if (thing.key === this.current) node.classList.add("current");
  }

  // ------------------------------------------------------------ open and close

  toggleAt(target) {
    const thing = this.stage.thingAt(target);
    if (!thing?.opens) return false;
    this.toggle(thing.call);
    return true;
  }

  /** Open or close a box; what was at its corner stays where it is on the screen. */
  toggle(call) {
    const key = `call-${call}`;
    const corner = () => {
      const { x, y } = this.stage.byKey.get(key);
      return [this.camera.x + x * this.camera.scale, this.camera.y + y * this.camera.scale];
    };
    const focused = document.activeElement === this.stage.byKey.get(key).node;
    const before = corner();
    if (!this.open.delete(call)) this.open.add(call);
    this.compose();
    const after = corner();
    this.camera.pan(before[0] - after[0], before[1] - after[1]);
    if (focused) this.focus(key);
  }

  openAll() {
    let count = this.stage.byKey.size;
    for (const [id, level] of Object.entries(this.graph.levels)) {
      count += level.boxes.length;
      if (count > MOST_OPENED) break;
      if (Number(id) !== -1) this.open.add(Number(id));
    }
    this.showModules();
    this.start();
  }

  closeAll() {
    this.open.clear();
    this.showModules();
    this.start();
  }

  showModules() {
    if (this.view !== "modules") this.show("modules");
    else this.compose();
  }

  // ------------------------------------------------------------ cursor

  /** Show where the cursor is. */
  follow() {
    this.mark();
    const thing = this.current && this.stage.byKey.get(this.current);
    if (thing && !this.camera.holds(thing)) this.camera.centre(thing);
  }

  mark() {
    const { event } = this.report;
    const key = event ? this.homes.shows(event, this.view, this.stage.byKey) : null;
    if (key !== this.current) {
      this.stage.byKey.get(this.current)?.node?.classList.remove("current");
      this.current = key;
      if (key) this.stage.node(key).classList.add("current");
    }
    this.edited?.node?.classList.remove("current");
    this.edited = event?.edits ? this.stage.things.find((one) => one.arrow?.q === event.seq) : null;
    this.edited?.node?.classList.add("current");
  }

  /** Go where a box or an arrow leads, and say whether it leads anywhere. */
  chooseAt(target) {
    const thing = this.stage.thingAt(target);
    if (!thing) return false;
    if (target.closest(".sign")) return this.toggleAt(target);
    if (thing.key) this.focus(thing.key);
    const seq = thing.arrow ? thing.arrow.q : this.homes.leads(thing, this.view);
    return seq !== undefined && (this.report.go(seq), true);
  }

  // ------------------------------------------------------------ keys and search

  focus(key) {
    const node = this.stage.node(key);
    if (!node?.hasAttribute("tabindex")) return;
    this.stage.byKey.get(this.focused)?.node?.setAttribute("tabindex", "-1");
    this.focused = key;
    node.setAttribute("tabindex", "0");
    node.focus({ preventScroll: true });
  }

  /** Give the focus to the current box, or else to the first one. */
  enter() {
    const first = this.stage.things.find((one) => one.node?.hasAttribute("tabindex"));
    const key = this.current ?? this.focused ?? first?.key;
    if (key) this.focus(key);
    return true;
  }

  /** Move the focus to the box beside; from the picture itself, there is none. */
  walk(target, way) {
    const thing = this.stage.thingAt(target);
    const next = thing && this.stage.beside(thing, way, (one) => this.usable(one));
    if (!next) return Boolean(thing);
    this.focus(next.key);
    if (!this.camera.holds(next)) this.camera.centre(next);
    return true;
  }

  places() {
    return this.view === "modules" ? searchedCalls(this.report) : searchedBoxes(this.stage.byKey.values());
  }

  /** Show what was found: open what is around it, and move the cursor there. */
  reach(place) {
    const event = place.seq === undefined ? null : this.report.at(place.seq);
    const call = this.homes.home(place.call ?? callOf(place.key ?? "") ?? event?.call ?? this.graph.near[place.seq]);
    if (this.view === "modules" && call !== null) {
      const closed = this.homes.around(call).filter((one) => !this.open.has(one));
      for (const one of closed) this.open.add(one);
      if (closed.length) this.compose();
    }
    const thing = this.stage.byKey.get(place.key ?? `call-${call}`);
    const seq = place.seq ?? (thing && this.homes.leads(thing, this.view));
    if (seq !== undefined) this.report.go(seq);
    if (thing) this.camera.centre(thing, READABLE);
  }
}
