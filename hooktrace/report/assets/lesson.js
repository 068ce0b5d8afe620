// Lesson mode: stops before something happens, asks, and shows it when it was answered.
import { showTab } from "./tabs.js";
import { lessonView } from "./lessonview.js";

/** What was answered, kept by the browser as long as it allows that. */
class LessonResults {
  constructor(id, count) {
    this.key = `hooktrace-lesson-${id}`;
    this.given = new Array(count).fill(null); // "first", "later" or "shown"
    try {
      const kept = JSON.parse(localStorage.getItem(this.key));
      if (Array.isArray(kept) && kept.length === count) this.given = kept;
    } catch {
      // a page from a file or in a sandboxed frame may have no storage: then it lasts as long as the page
    }
  }

  set(place, what) {
    this.given[place] = what;
    this.keep();
  }

  clear() {
    this.given.fill(null);
    this.keep();
  }

  keep() {
    try {
      localStorage.setItem(this.key, JSON.stringify(this.given));
    } catch {
      // see above
    }
  }

  get right() {
    return this.given.filter((one) => one === "first").length;
  }

  get begun() {
    return this.given.some((one) => one !== null);
  }

  /** The first stop without an answer; 0 if all have one. */
  get next() {
    return Math.max(0, this.given.indexOf(null));
  }
}

/** The lesson: `phase` is "off", "asking", "told" or "done". */
export class Lesson {
  constructor(report, player) {
    this.report = report;
    this.player = player;
    this.stops = report.data.lesson.stops;
    this.results = new LessonResults(report.data.lesson.id, this.stops.length);
    this.phase = "off";
    this.place = 0;
    this.chosen = null; // place of the choice
    this.excluded = new Set(); // choices that turned out to be wrong
    this.came = null; // where the cursor was before
  }

  get stop() {
    return this.stops[this.place];
  }

  start() {
    if (!this.results.given.includes(null)) this.results.clear();
    this.came ??= this.report.cursor;
    this.ask(this.results.next);
  }

  again() {
    this.results.clear();
    this.start();
  }

  ask(place) {
    this.player.stop();
    this.place = place;
    this.chosen = null;
    this.excluded.clear();
    this.report.hide(Infinity);
    this.report.go(this.stop.cursor);
    this.report.hide(this.stop.cursor);
    this.turn("asking");
  }

  choose(place) {
    if (this.phase !== "asking" || place >= this.stop.choices.length || this.excluded.has(place)) return;
    this.chosen = place;
    this.report.tell("lesson", "chosen");
  }

  check() {
    if (this.chosen === null) this.report.tell("lesson", "nothing");
    else if (this.chosen === this.stop.right) this.show(this.excluded.size ? "later" : "first");
    else {
      this.excluded.add(this.chosen);
      this.chosen = null;
      this.report.tell("lesson", "wrong");
    }
  }

  /** Tell the answer, unveil, and go to the event that proves it. */
  show(how) {
    this.results.set(this.place, how);
    this.report.hide(Infinity);
    this.report.go(this.stop.proof);
    this.turn("told");
  }

  next() {
    if (this.results.given.includes(null) && this.place + 1 < this.stops.length) this.ask(this.place + 1);
    else this.turn("done");
  }

  leave() {
    this.report.hide(Infinity);
    if (this.came !== null) this.report.go(this.came);
    this.came = null;
    this.turn("off");
  }

  turn(phase) {
    this.phase = phase;
    const root = document.documentElement;
    root.classList.toggle("lesson-on", phase !== "off");
    root.classList.toggle("lesson-veiled", phase === "asking");
    if (phase === "asking") showTab("lesson");
    this.report.tell("lesson", phase);
  }
}

/** Numbers choose, unless a field has the focus; Enter checks and goes on, unless it presses a button. */
function lessonKeys(lesson) {
  document.addEventListener("keydown", (event) => {
    if (lesson.phase === "off" || event.defaultPrevented) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("select, textarea, input:not([type=radio])")) return;
    if (event.key === "Enter" && event.target.closest("button, a, summary")) return;
    if (!document.getElementById("lesson").classList.contains("shown")) return;
    const number = Number(event.key);
    if (lesson.phase === "asking" && number >= 1) lesson.choose(number - 1);
    else if (event.key === "Enter" && lesson.phase === "asking") lesson.check();
    else if (event.key === "Enter" && lesson.phase === "told") lesson.next();
    else return;
    event.preventDefault();
  });
}

export function lessonPanel(root, report, player) {
  const lesson = new Lesson(report, player);
  lessonView(root, report, lesson);
  lessonKeys(lesson);
  const speak = () => {
    const text = JSON.stringify(report.word("lesson_veiled"));
    document.documentElement.style.setProperty("--veil", text);
  };
  report.on("language", speak);
  speak();
}
