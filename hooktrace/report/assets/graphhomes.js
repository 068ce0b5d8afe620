// Which box shows an event, and which event a box leads to.
import { callOf } from "./graphcompose.js";

export class Homes {
  constructor(report, graph) {
    this.report = report;
    this.graph = graph;
    this.owner = new Map(); // call with a box -> call inside of which that box is, -1 for the outermost level
    for (const [id, level] of Object.entries(graph.levels)) {
      for (const box of level.boxes) {
        const call = callOf(box.k);
        if (call !== null) this.owner.set(call, Number(id));
      }
    }
    this.firsts = {}; // view -> box -> number of the first event that it shows
    for (const [name, view] of Object.entries(graph.views)) {
      const firsts = (this.firsts[name] = new Map());
      for (const [seq, key] of Object.entries(view.marks)) if (!firsts.has(key)) firsts.set(key, Number(seq));
    }
  }

  /** The call whose box shows a call if everything is opened; null if none does. */
  home(call) {
    for (let one = call; one !== undefined && one !== null; one = this.report.calls.get(one)?.parent) {
      const like = this.graph.home[one] ?? one;
      if (this.owner.has(like)) return like;
    }
    return null;
  }

  /** The calls around a box, innermost first. */
  around(call) {
    const found = [];
    for (let one = this.owner.get(call); one !== undefined && one !== -1; one = this.owner.get(one)) found.push(one);
    return found;
  }

  /** The key of the box that shows an event among those that are there, or null. */
  shows(event, view, keys) {
    const own = this.graph.views[view]?.marks[event.seq];
    if (own !== undefined && keys.has(own)) return own;
    const call = this.home(event.call ?? this.graph.near[event.seq]);
    if (call === null) return null;
    return [call, ...this.around(call)].map((one) => `call-${one}`).find((key) => keys.has(key)) ?? null;
  }

  /** The number of the event that a box leads to, or undefined. */
  leads(thing, view) {
    const call = this.report.calls.get(thing.call);
    return call ? call.first : this.firsts[view]?.get(thing.key);
  }
}
