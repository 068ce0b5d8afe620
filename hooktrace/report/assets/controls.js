// The bar on top: steps, play, language, theme.
import { button, element } from "./elements.js";
import { titleOf } from "./sentences.js";

const SPEEDS = [2, 5, 10, 30]; // events a second

/** Plays the timeline event by event. */
class Player {
  constructor(report) {
    this.report = report;
    this.timer = null;
    this.speed = 5;
  }

  get playing() {
    return this.timer !== null;
  }

  toggle() {
    if (this.playing) this.stop();
    else this.start();
  }

  start() {
    const last = this.report.events.at(-1)?.seq;
    if (this.report.cursor === last) this.report.go(this.report.events[0].seq);
    this.timer = setInterval(() => {
      if (!this.report.step(1)) this.stop();
    }, 1000 / this.speed);
    this.report.tell("playing", true);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    this.report.tell("playing", false);
  }

  pace(speed) {
    this.speed = speed;
    if (this.playing) {
      this.stop();
      this.start();
    }
  }
}

export function controls(root, report) {
  const player = new Player(report);
  const play = button(report, "play", () => player.toggle(), "▶");
  const where = whereOf(report, player);
  report.on("playing", (playing) => {
    play.textContent = playing ? "❚❚" : "▶";
    play.setAttribute("aria-pressed", playing);
  });
  const steps = [
    button(report, "previous_hook", () => report.step(-1, true), "«"),
    button(report, "previous", () => report.step(-1), "‹"),
    ...where,
    button(report, "next", () => report.step(1), "›"),
    button(report, "next_hook", () => report.step(1, true), "»"),
    play,
    pace(report, player),
  ];
  const settings = [languages(report), button(report, "theme", () => theme(), "◐")];
  root.append(element("div", { class: "steps" }, ...steps), element("div", { class: "settings" }, ...settings));
  return player;
}

/** Which event it is: its number to see; its number and title to hear, but not while it plays. */
function whereOf(report, player) {
  const seen = element("span", { class: "where", "aria-hidden": true });
  const heard = element("output", { class: "heard", "aria-live": "polite" });
  const say = () => {
    const event = report.event;
    if (!event) return;
    seen.textContent = `#${event.seq} / ${report.events.at(-1).seq}`;
    if (!player.playing) heard.replaceChildren(`#${event.seq} `, ...titleOf(report, event));
  };
  for (const what of ["cursor", "language", "playing"]) report.on(what, say);
  return [seen, heard];
}

function pace(report, player) {
  const made = element("select", { class: "pace", onchange: () => player.pace(Number(made.value)) });
  const speak = () => {
    made.setAttribute("aria-label", report.word("pace"));
    made.title = report.word("pace");
    made.replaceChildren(
      ...SPEEDS.map((one) => element("option", { value: one, selected: one === player.speed }, `${one}/s`)),
    );
  };
  report.on("language", speak);
  speak();
  return made;
}

function languages(report) {
  const made = element("select", { class: "language", onchange: () => report.speak(made.value) });
  for (const code of Object.keys(report.words)) {
    made.append(element("option", { value: code }, report.words[code].language));
  }
  const shown = () => {
    made.value = report.language;
    made.setAttribute("aria-label", report.word("choose_language"));
  };
  report.on("language", shown);
  shown();
  return made;
}

function theme() {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = root.dataset.theme ?? (dark ? "dark" : "light");
  root.dataset.theme = now === "dark" ? "light" : "dark";
}
