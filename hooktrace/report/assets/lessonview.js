// What the panel of a lesson shows: the beginning, a question, its answer, the end.
import { button, element, eventLink } from "./elements.js";
import { phrase } from "./phrases.js";
import { sentenceOf } from "./sentences.js";
import { excerpt } from "./source.js";

export function lessonView(root, report, lesson) {
  const content = element("div", { class: "lesson-content" });
  const status = element("p", { class: "lesson-status", role: "status", "aria-live": "polite" });
  const rest = element("div", { class: "lesson-rest" });
  root.append(content, status, rest);
  let message = ["", ""]; // class and key of what the status says

  const draw = () => {
    const [above, below] = lesson.stops.length ? lessonPages[lesson.phase](report, lesson) : lessonNone(report);
    content.replaceChildren(...above);
    rest.replaceChildren(...below);
    status.className = `lesson-status ${message[0]}`;
    status.textContent = message[1] ? lessonSign(message[0]) + report.word(message[1]) : "";
  };
  report.on("language", draw);
  report.on("lesson", (what) => {
    message = lessonMessages(lesson)[what] ?? ["", ""];
    draw();
    lessonFocus(root, what);
  });
  report.on("tab", (name) => {
    if (name === "lesson") lessonFocus(root, lesson.phase);
  });
  draw();
}

function lessonMessages(lesson) {
  const shown = lesson.results.given[lesson.place] === "shown";
  return {
    nothing: ["", "lesson_choose"],
    wrong: ["wrong", "lesson_wrong"],
    told: shown ? ["", "lesson_shown"] : ["right", "lesson_right"],
  };
}

const LESSON_MARKS = { right: "lesson_mark_right", wrong: "lesson_mark_wrong" };

function lessonSign(mark) {
  return { right: "✓ ", wrong: "✗ " }[mark] ?? "";
}

/** Put the focus where one goes on. */
function lessonFocus(root, what) {
  const wanted = {
    asking: ".lesson-question",
    chosen: "input:checked",
    nothing: ".lesson-question",
    wrong: ".lesson-question",
    told: "button.main",
    done: "button.main",
    off: "button.main",
  }[what];
  root.querySelector(wanted)?.focus({ preventScroll: what === "chosen" });
  if (what === "asking") root.closest(".panel").scrollTop = 0;
}

function lessonMainButton(report, key, onclick) {
  const made = button(report, key, onclick);
  made.classList.add("main");
  return made;
}

// ---------------------------------------------------------------- the pages: above and below the status

function lessonNone(report) {
  return [[element("p", {}, report.word("lesson_none"))], []];
}

const lessonPages = {
  off(report, lesson) {
    const begun = lesson.results.begun;
    const open = lesson.results.given.includes(null);
    const start = lessonMainButton(report, begun && open ? "lesson_continue" : "lesson_start", () => lesson.start());
    const again = begun && open ? button(report, "lesson_again", () => lesson.again()) : null;
    return [
      [
        element("p", {}, report.word("lesson_intro", { count: lesson.stops.length })),
        begun ? lessonScore(report, lesson) : "",
        element("p", { class: "lesson-buttons" }, start, again),
      ],
      [],
    ];
  },

  asking(report, lesson) {
    return [
      [lessonHead(report, lesson), ...lessonCode(report, lesson), lessonChoices(report, lesson)],
      [
        element(
          "p",
          { class: "lesson-buttons" },
          lessonMainButton(report, "lesson_check", () => lesson.check()),
          button(report, "lesson_show", () => lesson.show("shown")),
          button(report, "lesson_exit", () => lesson.leave()),
        ),
        element("p", { class: "faint" }, report.word("lesson_keys")),
      ],
    ];
  },

  told(report, lesson) {
    const last = lesson.place + 1 === lesson.stops.length;
    return [
      [lessonHead(report, lesson), ...lessonCode(report, lesson), lessonChoices(report, lesson)],
      [
        element("p", { class: "lesson-why" }, ...phrase(report, ...lesson.stop.explanation)),
        element("p", { class: "lesson-now" }, report.word("lesson_proof"), " ", ...lessonEvent(report, lesson.stop.proof)),
        element(
          "p",
          { class: "lesson-buttons" },
          lessonMainButton(report, last ? "lesson_finish" : "lesson_next", () => lesson.next()),
          button(report, "lesson_exit", () => lesson.leave()),
        ),
      ],
    ];
  },

  done(report, lesson) {
    return [
      [
        element("p", {}, report.word("lesson_done")),
        lessonScore(report, lesson),
        element(
          "p",
          { class: "lesson-buttons" },
          lessonMainButton(report, "lesson_exit", () => lesson.leave()),
          button(report, "lesson_again", () => lesson.again()),
        ),
      ],
      [],
    ];
  },
};

function lessonScore(report, lesson) {
  const values = { right: lesson.results.right, count: lesson.stops.length };
  return element("p", { class: "lesson-score" }, report.word("lesson_score", values));
}

function lessonHead(report, lesson) {
  const values = { number: lesson.place + 1, count: lesson.stops.length };
  return element(
    "div",
    { class: "lesson-question", tabindex: -1, id: "lesson-question" },
    element("p", { class: "faint" }, report.word("lesson_place", values)),
    element("p", { class: "lesson-now" }, report.word("lesson_now"), " ", ...lessonEvent(report, lesson.stop.cursor)),
    element("h3", {}, ...phrase(report, ...lesson.stop.question)),
  );
}

/** What happened in an event, with a link to it. */
function lessonEvent(report, seq) {
  return [eventLink(seq), " ", ...sentenceOf(report, report.at(seq))];
}

/** The code of the hook: reading it is how one finds the answer. */
function lessonCode(report, lesson) {
  const sources = report.data.sources;
  const place = lesson.stop.hook === undefined ? null : sources.hooks[lesson.stop.hook]?.defined;
  if (!place || !sources.files[place.file]?.[place.first]) return [];
  return [excerpt(report.word("lesson_code"), place, report, sources, 0)];
}

function lessonChoices(report, lesson) {
  const told = lesson.phase === "told";
  const group = element("div", { class: "lesson-choices", role: "radiogroup", "aria-labelledby": "lesson-question" });
  lesson.stop.choices.forEach((choice, place) => {
    const excluded = lesson.excluded.has(place);
    const mark = told && place === lesson.stop.right ? "right" : excluded ? "wrong" : "";
    const radio = element("input", {
      type: "radio",
      name: "lesson-choice",
      disabled: told || excluded,
      onchange: () => lesson.choose(place),
    });
    radio.checked = place === lesson.chosen;
    const said = element("span", {}, ...phrase(report, ...choice));
    const number = element("kbd", {}, lessonSign(mark).trim() || String(place + 1));
    const words = mark ? element("b", { class: "mark" }, report.word(LESSON_MARKS[mark])) : null;
    group.append(element("label", { class: `lesson-choice ${mark}` }, radio, number, said, words));
  });
  return group;
}
